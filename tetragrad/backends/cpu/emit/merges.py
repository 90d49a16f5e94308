"""Fewer, longer axes: what memory cannot tell apart becomes one axis of a statement.

    Map(tile[4*i + j] = source[4*i + j]) over i < 16, j < 4   ->   … over j < 64

Vectors then run along all of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from tetragrad.backends.cpu.emit.expressions import tile_form
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import walk
from tetragrad.tile.ir import Extent, Map, Store, TileLoad


def merged(statement: Map | Store) -> tuple[tuple[Extent, ...], tuple[int, ...]]:
    """The statement's axes as far as all forms allow, and those that stay at 0.

    An index may then go beyond its dimension of the tile, into the next row of it.
    """
    axes = statement.axes
    gone: list[int] = []
    if len(axes) < 2 or not _follow([_target_of(statement)], *axes[-2:]):
        return axes, ()
    forms = _forms_of(statement)
    own = [axis for axis, _ in axes]
    if not all(form.moves_evenly(own) for form in forms):
        return axes, ()
    while len(axes) > 1 and _follow(forms, *axes[-2:]):
        (outer, count), (inner, extent) = axes[-2:]
        axes = (*axes[:-2], (inner, count * extent))
        gone.append(outer)
    return axes, tuple(gone)


def _follow(forms: Iterable[Affine], outer: Extent, inner: Extent) -> bool:
    """Whether a step of the outer axis goes on where the inner axis ends."""
    inner_axis, extent = inner
    return all(
        form.coefficient(outer[0]) == form.coefficient(inner_axis) * extent
        for form in forms
    )


def _target_of(statement: Map | Store) -> Affine:
    """Where a statement writes."""
    if isinstance(statement, Store):
        return statement.address
    return tile_form(statement.tile, statement.indices)


def _forms_of(statement: Map | Store) -> list[Affine]:
    """The addresses and guards of a statement; one that is not pure, if unsure."""
    forms = [_target_of(statement), *statement.guard]
    for entry in walk(statement.value):
        if isinstance(entry, TileLoad):
            forms.append(tile_form(entry.tile, entry.indices))
        else:
            forms += entry.forms
    return forms
