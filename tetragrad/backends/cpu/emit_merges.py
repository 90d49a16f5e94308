"""Fewer, longer axes: what memory cannot tell apart becomes one axis of a statement.

    Map(tile[4*i + j] = source[4*i + j]) over i < 16, j < 4   ->   … over j < 64

Vectors then run along all of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tetragrad.backends.cpu.emit_expressions import direct_forms, tile_form
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import walk
from tetragrad.tile.ir import Extent, Map, Store, TileLoad
from tetragrad.tile.plans.rewrite import Rewriter

Moves = TypeVar("Moves", Map, Store)


def merged(statement: Moves) -> Moves:
    """The statement with its last axes merged, as far as all forms allow.

    An index may then go beyond its dimension of the tile, into the next row of it.
    """
    if len(statement.axes) < 2:
        return statement
    forms = _forms_of(statement)
    if not all(form.is_pure() for form in forms):
        return statement
    while len(statement.axes) > 1:
        (outer, count), (inner, extent) = statement.axes[-2:]
        if any(
            form.coefficient(outer) != form.coefficient(inner) * extent
            for form in forms
        ):
            break
        longer = (*statement.axes[:-2], (inner, count * extent))
        statement = _without(statement, outer, longer)
        forms = _forms_of(statement)
    return statement


def _without(statement: Moves, axis: int, axes: tuple[Extent, ...]) -> Moves:
    """The statement over other axes, at the start of one that is not among them."""
    first = {axis: Affine(0)}
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
