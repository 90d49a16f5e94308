"""Fewer, longer axes: what memory cannot tell apart becomes one axis of a statement.

    Map(tile[4*i + j] = source[4*i + j]) over i < 16, j < 4   ->   … over j < 64

Vectors then run along all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import overload

from tetragrad.backends.cpu.emit.expressions import direct_forms, tile_form
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import walk
from tetragrad.tile.ir import Extent, Map, Store, TileLoad
from tetragrad.tile.plans.rewrite import Rewriter


@overload
def merged(statement: Map) -> Map: ...


@overload
def merged(statement: Store) -> Store: ...


def merged(statement: Map | Store) -> Map | Store:
    """The statement with its last axes merged, as far as all forms allow.

    An index may then go beyond its dimension of the tile, into the next row of it.
    """
    axes = statement.axes
    if len(axes) < 2:
        return statement
    forms = _forms_of(statement)
    own = [axis for axis, _ in axes]
    if not all(form.moves_evenly(own) for form in forms):
        return statement
    merged_axes = []
    while len(axes) > 1 and _follow(forms, *axes[-2:]):
        (outer, count), (inner, extent) = axes[-2:]
        axes = (*axes[:-2], (inner, count * extent))
        merged_axes.append(outer)
    return _without(statement, merged_axes, axes) if merged_axes else statement


def _follow(forms: Iterable[Affine], outer: Extent, inner: Extent) -> bool:
    """Whether a step of the outer axis goes on where the inner axis ends."""
    inner_axis, extent = inner
    return all(
        form.coefficient(outer[0]) == form.coefficient(inner_axis) * extent
        for form in forms
    )


def _without(
    statement: Map | Store, merged_axes: Iterable[int], axes: tuple[Extent, ...]
) -> Map | Store:
    """The statement over other axes, at the start of those that are gone."""
    first = dict.fromkeys(merged_axes, Affine(0))
    value = Rewriter(first, {})(statement.value)
    guard = tuple(form.substitute(first) for form in statement.guard)
    if isinstance(statement, Store):
        address = statement.address.substitute(first)
        return replace(statement, axes=axes, address=address, value=value, guard=guard)
    indices = tuple(form.substitute(first) for form in statement.indices)
    return replace(statement, axes=axes, indices=indices, value=value, guard=guard)


def _forms_of(statement: Map | Store) -> list[Affine]:
    """The addresses and guards of a statement; one that is not pure, if unsure."""
    if isinstance(statement, Store):
        forms = [statement.address, *statement.guard]
    else:
        forms = [tile_form(statement.tile, statement.indices), *statement.guard]
    for entry in walk(statement.value):
        if isinstance(entry, TileLoad):
            forms.append(tile_form(entry.tile, entry.indices))
        else:
            forms += direct_forms(entry)
    return forms
