"""Fewer, longer axes: what memory cannot tell apart becomes one axis of a statement.

    Map(tile[4*i + j] = source[4*i + j]) over i < 16, j < 4   ->   … over j < 64

Vectors then run along all of it. Where a vector is long to write, a row of several is
cut again, into as many rows of one, for a loop to go over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tetragrad.backends.cpu.emit.expressions import tile_form
from tetragrad.core.frozen import replace
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Load, walk
from tetragrad.tile.ir import Extent, Map, Space, Store, TileLoad
from tetragrad.tile.plans.rewrite import Rewriter

Collective = TypeVar("Collective", Map, Store)


def merged(statement: Collective) -> tuple[Collective, tuple[int, ...]]:
    """The statement with as few axes as its forms allow, and those that stay at 0.

    An index may then go beyond its dimension of the tile, into the next row of it.
    """
    axes: tuple[Extent, ...] = statement.axes
    gone: list[int] = []
    if len(axes) < 2 or not _follow([target_of(statement)], *axes[-2:]):
        return statement, ()
    forms = _forms_of(statement)
    own = [axis for axis, _ in axes]
    if not all(form.moves_evenly(own) for form in forms):
        return statement, ()
    while len(axes) > 1 and _follow(forms, *axes[-2:]):
        if _ends_inside_vectors(statement, axes[-1][1]):
            break
        (outer, count), (inner, extent) = axes[-2:]
        axes = (*axes[:-2], (inner, count * extent))
        gone.append(outer)
    return replace(statement, axes=axes), tuple(gone)


def _ends_inside_vectors(statement: Map | Store, length: int) -> bool:
    """Whether rows of registers would be divided elsewhere than where they are made.

    Rows of 48 lanes that are read 64 at a time would have to stay in memory.
    """
    values = [e.tile for e in walk(statement.value) if isinstance(e, TileLoad)]
    tiles = [statement.tile, *values] if isinstance(statement, Map) else values
    is_power_of_two = length & (length - 1) == 0
    return not is_power_of_two and any(tile.space is Space.REGISTER for tile in tiles)


def with_short_rows(statement: Collective, lanes: int, new_axis: int) -> Collective:
    """Rows of vectors as rows of one vector: axis i as lanes * new_axis + i.

    The statement as it is, where its rows are no longer, or it reads what it writes.
    """
    *outer, (axis, extent) = statement.axes
    if extent <= lanes or extent % lanes or reads_itself(statement):
        return statement
    form = axis_form(new_axis).scale(lanes) + axis_form(axis)
    rewriter = Rewriter({axis: form}, {})
    axes = (*outer, (new_axis, extent // lanes), (axis, lanes))
    value, guard = rewriter(statement.value), rewriter.guards(statement.guard)
    short = replace(statement, axes=axes, value=value, guard=guard)
    if isinstance(short, Store):
        return replace(short, address=rewriter.form(short.address))
    return replace(short, indices=rewriter.guards(short.indices))


def reads_itself(statement: Map | Store) -> bool:
    """Whether a statement reads what it writes to."""
    for entry in walk(statement.value):
        if isinstance(statement, Store):
            if isinstance(entry, Load) and entry.slot == statement.slot:
                return True
        elif isinstance(entry, TileLoad) and entry.tile is statement.tile:
            return True
    return False


def _follow(forms: Iterable[Affine], outer: Extent, inner: Extent) -> bool:
    """Whether a step of the outer axis goes on where the inner axis ends."""
    inner_axis, extent = inner
    return all(
        form.coefficient(outer[0]) == form.coefficient(inner_axis) * extent
        for form in forms
    )


def target_of(statement: Map | Store) -> Affine:
    """Where a statement writes."""
    if isinstance(statement, Store):
        return statement.address
    return tile_form(statement.tile, statement.indices)


def _forms_of(statement: Map | Store) -> list[Affine]:
    """The addresses and guards of a statement; one that is not pure, if unsure."""
    forms = [target_of(statement), *statement.guard]
    for entry in walk(statement.value):
        if isinstance(entry, TileLoad):
            forms.append(tile_form(entry.tile, entry.indices))
        else:
            forms += entry.forms
    return forms
