"""Running values: carried step by step, or combined by lanes that share the steps.

Where hardware hands out iterations, a row's running values are computed by all lanes
of an iteration, a chunk at a time, and only what a chunk ends with is carried on:

    Alloc(carry[], register); Map(carry[] = 0)
    For(chunk)
      Running(running[lane] = running sum from carry of x[row, chunk*1024 + lane])
      Store(y[row, chunk*1024 + lane] = running[lane])

A reduction over running values is done at each step, over all of them side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, literal
from tetragrad.tile.ir import Alloc, Extent, Fold, Map, Running, Statement, Tile
from tetragrad.tile.plans.nests.reductions import VectorChoice, compute_reductions
from tetragrad.tile.plans.scope import (
    Body,
    Scope,
    cast,
    fitting_strip,
    indices_of,
    load_of,
    loop,
    shape_of,
)


@frozen
class Carry:
    """Running reductions along one axis, and the reductions done at each step."""

    scans: tuple[Expression, ...]
    steps: tuple[Expression, ...]
    axis: int
    choice: VectorChoice

    @property
    def reverse(self) -> bool:
        """Whether values run from the end: all of one loop do, or none."""
        return bool(self.scans[0].reverse)

    @property
    def step_axes(self) -> tuple[int, ...]:
        """What is reduced at each step."""
        return tuple(dict.fromkeys(entry.axes[0] for entry in self.steps))

    # --- one step after the other ----------------------------------------------------

    def one_by_one(self, scope: Scope, body: Body) -> list[Statement]:
        """A loop over all steps, with what comes after each of them."""
        beside = scope
        for other in self.step_axes:
            size = scope.size(other)
            strip = fitting_strip(other, size, self.choice.lanes, size)
            beside = replace(strip, vectors=-(-size // strip.lanes)).bind(
                beside, Affine(0), size
            )
        carried = [Carried.along(beside, scan) for scan in self.scans]
        last = scope.size(self.axis) - 1

        def step(form: Affine) -> list[Statement]:
            form = form.scale(-1).shift(last) if self.reverse else form
            inner = beside.bind(self.axis, form)
            statements: list[Statement] = []
            for entry in carried:
                more, inner = entry.advance(inner, self.choice)
                statements += more
            return statements + self._then(scope.bind(self.axis, form), inner, body)

        starts = [statement for entry in carried for statement in entry.start(scope)]
        return starts + loop(scope.builder, scope.size(self.axis), step)

    def _then(self, here: Scope, inner: Scope, body: Body) -> list[Statement]:
        """What is done with the running values, which the inner scope knows."""
        statements: list[Statement] = []
        known: dict[Expression, Expression]
        known = {scan: inner.values[scan] for scan in self.scans}
        for reduction in self.steps:
            more, value = reduce_beside(reduction, inner, here, self.choice)
            statements += more
            known[reduction] = value
        return statements + body(here.with_values(known))

    # --- a chunk by all lanes -------------------------------------------------------

    def by_lanes(self, scope: Scope, body: Body) -> list[Statement]:
        """A loop over chunks, of which each lane has one step."""
        builder, size = scope.builder, scope.size(self.axis)
        chunks = -(-size // self.choice.lanes)
        beside = scope
        for other in self.step_axes:
            position = builder.axis(scope.size(other))
            beside = beside.bind(other, axis_form(position))
            beside = beside.with_collective((position, scope.size(other)))
        carried = [Carried.along(beside, scan) for scan in self.scans]

        def chunk(number: Affine) -> list[Statement]:
            number = number.scale(-1).shift(chunks - 1) if self.reverse else number
            lane = builder.axis(self.choice.lanes)
            here = self._chunk(scope, number, lane)
            inner = self._chunk(beside, number, lane)
            statements: list[Statement] = []
            for entry in carried:
                more, inner = entry.advance_lanes(inner, self.choice)
                statements += more
            return statements + self._then(here, inner, body)

        starts = [statement for entry in carried for statement in entry.start(scope)]
        return starts + loop(builder, chunks, chunk)

    def _chunk(self, scope: Scope, number: Affine, lane: int) -> Scope:
        """The scope in which each lane has a step of a chunk."""
        lanes, size = self.choice.lanes, scope.size(self.axis)
        form = number.scale(lanes) + axis_form(lane)
        bound = scope.bind(self.axis, form).with_collective((lane, lanes))
        bound = bound.with_guard(form.scale(-1).shift(size - 1))
        return replace(bound, strip=(Affine(0), axis_form(lane)))


@frozen
class Carried:
    """A running reduction and the tile that holds its value so far."""

    scan: Expression
    tile: Tile
    extents: tuple[Extent, ...]

    @classmethod
    def along(cls, scope: Scope, scan: Expression) -> Carried:
        """A register tile with a place for each collective point."""
        extents = scope.collective_axes_of(scan.body.free_axes)
        tile = scope.builder.tile("running", shape_of(extents), scan.accumulator)
        return cls(scan, tile, extents)

    def start(self, scope: Scope) -> list[Statement]:
        """Bring the tile into being, holding the identity."""
        identity = literal(self.scan.op.identity(self.scan.dtype), self.tile.dtype)
        fill = tuple((scope.builder.axis(size), size) for _, size in self.extents)
        return [Alloc(self.tile), Map(fill, self.tile, indices_of(fill), identity)]

    def advance(
        self, scope: Scope, choice: VectorChoice
    ) -> tuple[list[Statement], Scope]:
        """Take in this step's value; the scope in which the running one is known."""
        scan, tile, extents = self.scan, self.tile, self.extents
        statements, scope = compute_reductions([scan.body], scope, choice)
        value = cast(scope.value(scan.body), tile.dtype)
        guard = guard_of(scope, extents)
        fold = Fold(extents, tile, indices_of(extents), scan.op, value, guard)
        current = cast(load_of(tile, extents), scan.dtype)
        return [*statements, fold], scope.with_values({scan: current})

    def advance_lanes(
        self, scope: Scope, choice: VectorChoice
    ) -> tuple[list[Statement], Scope]:
        """Take in the values of all lanes; the scope in which each one's is known."""
        scan = self.scan
        statements, scope = compute_reductions([scan.body], scope, choice)
        extents = scope.collective_axes_of(scan.free_axes)
        dtype = self.tile.dtype
        tile = scope.builder.tile("lanes", shape_of(extents), dtype)
        running = Running(
            extents,
            tile,
            indices_of(extents),
            scan.op,
            cast(scope.value(scan.body), dtype),
            self.tile,
            guard_of(scope, extents),
            scan.reverse,
        )
        current = cast(load_of(tile, extents), scan.dtype)
        more = [*statements, Alloc(tile), running]
        return more, scope.with_values({scan: current})


def reduce_beside(
    reduction: Expression, inner: Scope, outer: Scope, choice: VectorChoice
) -> tuple[list[Statement], Expression]:
    """Reduce over axes that are collective in the inner scope and not in the outer."""
    statements, inner = compute_reductions([reduction.body], inner, choice)
    kept = outer.collective_axes_of(reduction.free_axes)
    used = {*reduction.free_axes, *reduction.axes}
    extents = inner.collective_axes_of(used)
    tile = inner.builder.tile("step", shape_of(kept), reduction.accumulator)
    identity = literal(reduction.op.identity(reduction.dtype), tile.dtype)
    value = cast(inner.value(reduction.body), tile.dtype)
    guard = guard_of(inner, extents)
    statements += [
        Alloc(tile),
        Map(kept, tile, indices_of(kept), identity),
        Fold(extents, tile, indices_of(kept), reduction.op, value, guard),
    ]
    return statements, cast(load_of(tile, kept), reduction.dtype)


def guard_of(scope: Scope, extents: Sequence[Extent]) -> tuple[Affine, ...]:
    """The conditions of the scope that concern some collective axes."""
    used = {axis for axis, _ in extents}
    return tuple(form for form in scope.guard if form.axes() & used)
