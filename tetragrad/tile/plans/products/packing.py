"""Pack a block of an operand into a tile, in the order the micro-kernel reads it.

Whatever has to be computed for an operand's element (a cast, a mask, a scale) is
computed here, once for each block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Guard, Select, literal
from tetragrad.tile.ir import Fetch, Map, Statement, Tile, When
from tetragrad.tile.plans.products.contraction import strides_of
from tetragrad.tile.plans.products.operands import Operand, Placed, Run, Window
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    Strip,
    cast,
    fitting_strip,
    loop,
    strips,
)

# Vectors that one packing step moves.
MOST_MOVED = 2
# Sides of a square that is turned: one of 64 bytes takes hundreds of shuffles to write
# out, for which LLVM needs seconds.
WIDEST_TURNED = 16
# Rows between the one that is packed and the one that is fetched meanwhile.
ROWS_AHEAD = 8


def pack(
    operand: Operand, scope: Scope, depth: Placed, side: Placed, tile: Tile
) -> list[Statement]:
    """Write a block of the operand into its tile."""
    return _Packing(operand, depth, side, tile).run(scope)


def clear_overhang(
    operand: Operand, scope: Scope, side: Placed, tile: Tile
) -> list[Statement]:
    """Zero the positions of a tile beyond its block, which packing never writes.

    Micro-tiles multiply them too. Whatever memory held there might be a subnormal
    number, and those take a processor a hundred times as long. What instructions
    multiply in groups has none, or they count as zero.
    """
    if operand.panel or operand.group > 1:
        return []
    kernel, block, lanes = operand.kernel, side.block, operand.lanes
    statements = _zeros(scope.builder, tile, block.size(kernel), lanes)
    if block.is_ragged(kernel):
        is_short = side.start.shift(block.chunk - 1 - kernel.axes[block.chunked])
        everywhere = _zeros(scope.builder, tile, 0, lanes)
        statements.append(When((is_short,), tuple(everywhere)))
    return statements


def _zeros(builder: Builder, tile: Tile, start: int, lanes: int) -> list[Statement]:
    """Zeros at all positions of a tile's side from one on."""
    depth, side = tile.shape[0], tile.shape[1] - start
    along_side = tile.layout.strides[1] == 1
    outer, inner = (depth, side) if along_side else (side, depth)

    def zeros(row: Affine, first: Affine, count: int) -> Statement:
        lane = builder.axis(count)
        place = (row, first + axis_form(lane))
        indices = place if along_side else place[::-1]
        indices = (indices[0], indices[1].shift(start))
        return Map(((lane, count),), tile, indices, literal(0, tile.dtype))

    def row(number: Affine) -> list[Statement]:
        whole, rest = divmod(inner, lanes)
        statements = loop(
            builder, whole, lambda step: [zeros(number, step.scale(lanes), lanes)]
        )
        if rest:
            statements.append(zeros(number, Affine(whole * lanes), rest))
        return statements

    return loop(builder, outer, row) if inner else []


@frozen
class _Position:
    """Where the loops of a packing stand.

    Flat indices into the tile (of the depth by groups, then ``within`` a group), the
    panel, and a guard for the operand's elements to exist; where it fails the tile
    holds zeros.
    """

    depth: Affine = ZERO
    side: Affine = ZERO
    guard: Guard = ()
    panel: Affine | None = None
    within: Affine = ZERO


@frozen
class _Packing:
    operand: Operand
    depth: Placed
    side: Placed
    tile: Tile

    def run(self, scope: Scope) -> list[Statement]:
        """Loops over all runs of the block, vectors along the best one."""
        vector = self.operand.vector_run
        runs = [
            run
            for run in self.operand.depth_runs + self.operand.side_runs
            if run is not vector
        ]
        # Walk memory in order: large steps outside.
        runs.sort(key=self._step, reverse=True)
        return self._loops(runs, scope, _Position())

    def _step(self, run: Run) -> int:
        steps = strides_of(self.operand.value, run.axes[-1])
        return max((abs(step) for step in steps), default=0)

    def _loops(
        self, runs: Sequence[Run], scope: Scope, position: _Position
    ) -> list[Statement]:
        vector = self.operand.vector_run
        run, *others = runs or (vector,)
        if self._is_cut(run) and position.panel is None:
            return self._panels(runs, scope, position)
        if not runs:
            return self._strips(vector, scope, position, self._store)
        if self._is_turned and self._is_cut(run):
            return self._strips(
                run, scope, position, lambda *place: self._loops(others, *place)
            )

        def step(offset: Affine) -> list[Statement]:
            statements = self._loops(others, *self._bind(run, offset, scope, position))
            return self._fetches(run, others, offset, scope, position) + statements

        count = self._steps(run, position)
        if not self.operand.at_once:
            return loop(scope.builder, count, step, unroll=True)
        axis = scope.builder.axis(count)
        wider = scope.with_collective((axis, count))
        return self._loops(others, *self._bind(run, axis_form(axis), wider, position))

    def _fetches(
        self,
        run: Run,
        others: Sequence[Run],
        offset: Affine,
        scope: Scope,
        position: _Position,
    ) -> list[Statement]:
        """Ask for a row that is packed soon, where memory runs along the side.

        Rows are short pieces of memory on pages of their own, which a processor does
        not fetch ahead by itself.
        """
        load, vector = self.operand.only_load, self.operand.vector_run
        is_row = not others and run in self.operand.depth_runs
        is_row = is_row and vector in self.operand.side_runs
        if load is None or not is_row or not self.operand.fetches:
            return []
        ahead = offset.shift(max(1, ROWS_AHEAD // self.operand.group))
        scope, position = self._bind(run, ahead, scope, position)
        scope, _ = self._bind(vector, ZERO, scope, position)
        first = {axis: ZERO for axis, _ in scope.collective}
        address = scope.rewriter().form(load.address)
        count = self._count(vector, position)
        within = position.within.axes()
        return [
            Fetch(
                load.slot,
                address.substitute(first | dict.fromkeys(within, Affine(place))),
                count,
            )
            for place in range(self.operand.group)
        ]

    def _is_cut(self, run: Run) -> bool:
        """Whether a run is walked in panels."""
        return bool(self.operand.panel) and self._placed(run) is self.side

    @property
    def _is_turned(self) -> bool:
        """Whether vectors of memory lie across the tile: squares of both are moved."""
        along_depth = self.operand.vector_run in self.operand.depth_runs
        return along_depth and not self.operand.is_by_depth

    def _panels(
        self, runs: Sequence[Run], scope: Scope, position: _Position
    ) -> list[Statement]:
        """A loop over the panels of the side."""
        cut = self.operand.cut
        assert cut is not None
        window = self.side.window or Window(ZERO, cut.count)

        def panel(number: Affine) -> list[Statement]:
            statements = self._loops(runs, scope, replace(position, panel=number))
            exists = (window.first + number).scale(-1).shift(cut.count - 1)
            if scope.builder.always(exists):
                return statements
            return [When((exists,), tuple(statements))]

        return loop(scope.builder, window.panels, panel)

    def _strips(
        self,
        run: Run,
        scope: Scope,
        position: _Position,
        body: Callable[[Scope, _Position], list[Statement]],
    ) -> list[Statement]:
        """Vectors along one run: a strip gives the offset, then the run is bound."""
        axis = run.axes[-1]
        count = self._steps(run, position)
        lanes = self.operand.lanes
        if self._is_turned or self._is_grouped(run):
            lanes //= self.operand.group
        if self._is_turned:
            lanes = min(lanes, WIDEST_TURNED)
        if self.operand.group > 1 and self._is_cut(run):
            # Whole vectors of a panel: rows that are woven together have no rest.
            lanes = min(lanes, count & -count)
        strip = fitting_strip(axis, count, lanes, 1 if self._is_turned else MOST_MOVED)
        if self._is_cut(run) and count < lanes:
            strip = Strip(axis, count)

        def one(inner: Scope) -> list[Statement]:
            return body(*self._bind(run, inner.forms[axis], inner, position))

        return strips(scope, strip, ZERO, count, one)

    def _start(self, run: Run, position: _Position) -> Affine:
        """The first position of a run to visit."""
        cut, window = self.operand.cut, self.side.window
        if cut is None or not self._is_cut(run):
            return ZERO
        first = ZERO if window is None else window.first
        return cut.start(first + (position.panel or ZERO))

    def _count(self, run: Run, position: _Position) -> int:
        """How many positions of a run to visit."""
        cut, window = self.operand.cut, self.side.window
        if cut is None or not self._is_cut(run):
            return run.extent
        if position.panel is not None:
            return cut.width
        return run.extent if window is None else window.panels * cut.width

    def _is_grouped(self, run: Run) -> bool:
        """Whether a run is walked a group at a time."""
        return self.operand.group > 1 and run in self.operand.depth_runs

    def _steps(self, run: Run, position: _Position) -> int:
        """How many positions of a run to visit, or groups of them."""
        count = self._count(run, position)
        return count // self.operand.group if self._is_grouped(run) else count

    def _placed(self, run: Run) -> Placed:
        along_depth = run.axes[-1] in self.operand.depth.axes
        return self.depth if along_depth else self.side

    def _flat(self, run: Run, offset: Affine, position: _Position) -> Affine:
        """The position in the kernel of an offset into what is visited of a run."""
        placed = self._placed(run)
        flat = offset + self._start(run, position)
        if run.is_chunked:
            flat = flat + placed.start.scale(run.extent // placed.block.chunk)
        return flat

    def _bind(
        self, run: Run, offset: Affine, scope: Scope, position: _Position
    ) -> tuple[Scope, _Position]:
        """Move along a run: the form of its axes, its place in the tile, its guard."""
        step = offset.scale(run.stride)
        if self._is_grouped(run):
            group = self.operand.group
            within = scope.builder.axis(group)
            scope = scope.with_collective((within, group))
            position = replace(position, within=axis_form(within))
            offset = offset.scale(group) + axis_form(within)
        flat = self._flat(run, offset, position)
        for axis in run.axes[:-1]:
            scope = scope.bind(axis, ZERO)
        scope = scope.bind(run.axes[-1], flat)
        exists = flat.scale(-1).shift(run.size - 1)
        if self._placed(run) is self.side:
            position = replace(position, side=position.side + step)
            if not self.operand.panel:
                return scope.with_guard(exists), position
        else:
            position = replace(position, depth=position.depth + step)
        if not scope.builder.always(exists):
            position = replace(position, guard=(*position.guard, exists))
        return scope, position

    def _store(self, scope: Scope, position: _Position) -> list[Statement]:
        """Move some vectors; where elements might not exist, ask for all at once."""
        if not position.guard or self.operand.at_once:
            return [self._move(scope, position)]
        last = {axis: Affine(extent - 1) for axis, extent in scope.collective}
        whole = tuple(form.substitute(last) for form in position.guard)
        if any(scope.builder.never(form) for form in whole):
            return [self._move(scope, position)]
        moved = self._move(scope, replace(position, guard=()))
        return [When(whole, (moved,), (self._move(scope, position),))]

    def _move(self, scope: Scope, position: _Position) -> Statement:
        """Vectors into the tile, zero where elements do not exist."""
        needed = position.guard
        value = scope.with_guard(*needed).value(self.operand.value)
        value = cast(value, self.tile.dtype)
        if needed:
            value = Select(needed, value, literal(0, self.tile.dtype))
        depth = position.depth
        if position.panel is not None and not self.operand.is_by_depth:
            into = self.side.window.into if self.side.window is not None else ZERO
            depth = depth + (position.panel + into).scale(self.operand.panel_steps)
        indices: tuple[Affine, ...] = (depth, position.side)
        if self.operand.group > 1:
            indices = (*indices, position.within)
        return Map(scope.collective, self.tile, indices, value, scope.guard)
