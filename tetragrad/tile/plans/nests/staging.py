"""Short rows through shared memory: moved side by side, computed a thread each.

A thread for each row is the shortest way to reduce rows of a few elements. But what
neighbouring threads read then lies a row apart, so a grid iteration first copies all
of its rows, which lie together, and stores its results the same way:

    Map(rows[i] = x[block*R*n + i])               memory in order, i < R*n
    Fold(sum[row] += rows[row*n + k])             one thread for each row
    Map(results[row*n + k] = rows[row*n + k] / sum[row])
    Store(y[block*R*n + i] = results[i])

Plans write such statements with loads and stores; :func:`staged` puts tiles in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard, Load, walk
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fold,
    For,
    Map,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import Builder

#: Positions of loops that become collective, so that nothing waits between them.
MOST_SPREAD = 64
#: Elements that a thread moves at once, at most.
LONGEST_RUN = 16


def staged(
    builder: Builder, body: Sequence[Statement], lane: Extent, count: int
) -> list[Statement]:
    """The body of a grid iteration over ``count`` rows, with tiles for its rows.

    ``lane`` is the axis of the rows.
    """
    spread = [entry for statement in body for entry in _spread_out(builder, statement)]
    inside = {axis for entry in _collectives(spread) for axis, _ in entry.axes}
    rows = _Rows(builder, lane[0], count, frozenset(inside | _loops(spread)))
    tiles = rows.loaded(spread)
    results = rows.stored(spread)
    moved = [rows.moved(entry, tiles, results) for entry in spread]
    before = [step for region in tiles for step in rows.fill(region, tiles[region])]
    after = [step for region in results for step in rows.empty(region, results[region])]
    room = [Alloc(tile, once=True) for tile in results.values()]
    return [*before, *room, *moved, *after]


# --- loops ---------------------------------------------------------------------------


def _spread_out(builder: Builder, statement: Statement) -> list[Statement]:
    """A short loop of statements that need not wait for each other, as statements."""
    if not isinstance(statement, For) or statement.guard:
        return [statement]
    body = [entry for part in statement.body for entry in _spread_out(builder, part)]
    if statement.extent > MOST_SPREAD or not _are_independent(body):
        return [replace(statement, body=tuple(body))]
    loop = (statement.axis, statement.extent)
    return [_along(builder, entry, loop) for entry in body]


def _are_independent(body: Sequence[Statement]) -> bool:
    """Whether all points of one statement may come before those of the next."""
    written = {entry.tile for entry in body if isinstance(entry, Map | Fold)}
    return all(
        isinstance(entry, Map | Fold | Store)
        and math.prod(size for _, size in entry.axes) > 0
        and not any(
            isinstance(part, TileLoad) and part.tile in written
            for part in walk(entry.value)
        )
        for entry in body
    )


def _along(builder: Builder, statement: Statement, loop: Extent) -> Statement:
    """A statement at all positions of a loop, on an axis of its own."""
    assert isinstance(statement, Map | Fold | Store)
    axis = builder.axis(loop[1])
    form = {loop[0]: axis_form(axis)}
    rewriter = Rewriter(form, {})
    axes = ((axis, loop[1]), *statement.axes)
    value, guard = rewriter(statement.value), rewriter.guards(statement.guard)
    if isinstance(statement, Store):
        address = rewriter.form(statement.address)
        return replace(statement, axes=axes, address=address, value=value, guard=guard)
    indices = rewriter.guards(statement.indices)
    return replace(statement, axes=axes, indices=indices, value=value, guard=guard)


def _collectives(body: Sequence[Statement]) -> Iterator[Map | Fold | Store]:
    for statement in body:
        if isinstance(statement, Map | Fold | Store):
            yield statement
        yield from _collectives(getattr(statement, "body", ()))


def _loops(body: Sequence[Statement]) -> set[int]:
    found: set[int] = set()
    for statement in body:
        if isinstance(statement, For):
            found |= {statement.axis} | _loops(statement.body)
    return found


# --- rows ----------------------------------------------------------------------------


@frozen
class Region:
    """The elements of a slot that one grid iteration touches: a piece of memory.

    ``step`` is how far apart rows are; each point of the iteration adds its own
    position to ``start``.
    """

    slot: int
    start: Affine
    step: int


@frozen
class _Rows:
    """What lies where in the memory of one grid iteration's rows."""

    builder: Builder
    lane: int
    count: int
    inside: frozenset[int]

    def loaded(self, body: Sequence[Statement]) -> dict[Region, Tile]:
        """Tiles for what is loaded a row apart, if half of each row is."""
        found: dict[Region, Tile] = {}
        points: dict[Region, int] = {}
        for statement in _collectives(body):
            for load in _loads(statement):
                region = self.region(load.slot, load.address)
                if region is None or not self.is_ruled(load.guard):
                    continue
                points[region] = points.get(region, 0) + self.points(load.free_axes)
                found.setdefault(region, self.tile("rows", region, load.dtype))
        return {
            region: tile
            for region, tile in found.items()
            if 2 * points[region] >= region.step
        }

    def stored(self, body: Sequence[Statement]) -> dict[Region, Tile]:
        """Tiles for what is stored a row apart, as a whole."""
        found: dict[Region, Tile] = {}
        points: dict[Region, int] = {}
        for statement in _collectives(body):
            if not isinstance(statement, Store) or statement.mode is not Mode.STORE:
                continue
            region = self.region(statement.slot, statement.address)
            if region is None or not self.is_ruled(statement.guard):
                continue
            axes = {axis for axis, _ in statement.axes}
            points[region] = points.get(region, 0) + self.points(axes)
            dtype = self.builder.kernel.slots[region.slot].dtype
            found.setdefault(region, self.tile("results", region, dtype))
        return {
            region: tile
            for region, tile in found.items()
            if points[region] == region.step
        }

    def points(self, axes: AbstractSet[int]) -> int:
        """How many elements of a row some axes go to."""
        inner = (axes & self.inside) - {self.lane}
        return math.prod(self.builder.extents[axis] for axis in inner)

    def region(self, slot: int, address: Affine) -> Region | None:
        """The region of an address; None unless it goes from row to row."""
        step = address.coefficient(self.lane)
        if step <= 1 or not address.is_pure():
            return None
        inner = self._inner(address)
        low, high = inner.range(self.builder.extents)  # type: ignore[arg-type]
        start = self._outer(address)
        numel = self.builder.kernel.slots[slot].numel
        are_whole_rows = all(part % step == 0 for _, part in start.terms)
        if low < 0 or high >= step or numel % step or not are_whole_rows:
            return None
        return Region(slot, start, step)

    def _outer(self, address: Affine) -> Affine:
        terms = tuple(term for term in address.terms if term[0] not in self.inside)
        constant = address.constant - address.constant % address.coefficient(self.lane)
        return Affine(constant, terms)

    def _inner(self, address: Affine) -> Affine:
        """The position within a row."""
        step = axis_form(self.lane).scale(address.coefficient(self.lane))
        return address - self._outer(address) - step

    def is_ruled(self, guard: Guard) -> bool:
        """Whether a guard says no more than which rows there are."""
        limit = axis_form(self.lane).scale(-1).shift(self.count - 1)
        return all(form == limit for form in guard)

    def tile(self, name: str, region: Region, dtype: DType) -> Tile:
        """Room for all rows of the lanes, also those that there are not."""
        size = self.builder.extents[self.lane] * region.step
        return self.builder.tile(name, (size,), dtype, Space.SHARED)

    def fill(self, region: Region, tile: Tile) -> list[Statement]:
        """Copy the rows that there are."""
        statements: list[Statement] = [Alloc(tile, once=True)]
        for extent, position in self.all_of(region):
            load = Load(region.slot, region.start + position, (), tile.dtype)
            statements.append(Map((extent,), tile, (position,), load))
        return statements

    def empty(self, region: Region, tile: Tile) -> list[Statement]:
        """Store the results that there are."""
        return [
            Store(
                (extent,),
                region.slot,
                region.start + position,
                TileLoad(tile, (position,)),
            )
            for extent, position in self.all_of(region)
        ]

    def all_of(self, region: Region) -> Iterator[tuple[Extent, Affine]]:
        """Axes over all elements of a region: whole runs, then what remains."""
        size = self.count * region.step
        rest = size % LONGEST_RUN
        for start, count in ((0, size - rest), (size - rest, rest)):
            if count:
                axis = self.builder.axis(count)
                yield (axis, count), axis_form(axis).shift(start)

    def moved(
        self,
        statement: Statement,
        tiles: Mapping[Region, Tile],
        results: Mapping[Region, Tile],
    ) -> Statement:
        """A statement that reads and writes tiles where there are some."""
        if isinstance(statement, For):
            body = [self.moved(entry, tiles, results) for entry in statement.body]
            return replace(statement, body=tuple(body))
        if not isinstance(statement, Map | Fold | Store):
            return statement
        loads: dict[Expression, Expression] = {}
        for load in _loads(statement):
            region = self.region(load.slot, load.address)
            if region is None or region not in tiles:
                continue
            if self.is_ruled(load.guard):
                place = load.address - region.start
                loads[load] = TileLoad(tiles[region], (place,))
        value = Rewriter({}, loads)(statement.value) if loads else statement.value
        if isinstance(statement, Store):
            region = self.region(statement.slot, statement.address)
            if region is not None and region in results:
                place = statement.address - region.start
                guard = statement.guard
                return Map(statement.axes, results[region], (place,), value, guard)
        return replace(statement, value=value)


def _loads(statement: Map | Fold | Store) -> Iterator[Load]:
    for entry in walk(statement.value):
        if isinstance(entry, Load):
            yield entry
