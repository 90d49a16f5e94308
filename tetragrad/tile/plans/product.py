"""Build a blocked contraction (Goto and van de Geijn 2008; Low et al. 2016).

    Grid(batch, row block, column block)
      For(depth block)
        pack lhs[k, m]                             elementwise work of the operands
        For(n panel)
          pack rhs[k, n]                           one panel, next to its use
          For(m panel)
            accumulator[m, n] += Σ_k lhs[k, m] * rhs[k, n]        registers
            Store(epilogue of the accumulator)

With more than one depth block the results are gathered in a shared tile, and the
epilogue follows the last block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import ZERO, Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Quotient,
    Remainder,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Grid,
    Map,
    Mma,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    When,
)
from tetragrad.tile.plans.contraction import (
    Block,
    Contraction,
    ContractionPlan,
    hosted_contraction,
    moves_evenly,
)
from tetragrad.tile.plans.packing import Operand, Placed, Window, flat_stride, pack
from tetragrad.tile.plans.rewrite import walk_until
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of, loop

# Space between the rows of a matrix unit's operands, so that eight neighbouring rows
# lie in different banks.
ROW_PADDING_BYTES = 16
# Pairs of operand tiles for a matrix unit: one in use, the others on their way.
STAGES = 3


def build_contraction(builder: Builder, plan: ContractionPlan) -> list[Statement]:
    """The grid of a contraction."""
    contraction = hosted_contraction(builder.kernel)
    assert contraction is not None
    if plan.swap:
        contraction = contraction.swapped()
    return _Product(builder, plan, contraction).grid()


@dataclass(frozen=True)
class _Step:
    """When a depth block is the first of a result's, and when the last."""

    is_first: Guard
    is_last: Guard


@dataclass(frozen=True)
class _Places:
    """The blocks of one grid iteration, and the tile that gathers the results."""

    scope: Scope
    rows: Placed
    columns: Placed
    gathered: Tile | None = None
    step: _Step | None = None


@dataclass(frozen=True)
class _Product:
    builder: Builder
    plan: ContractionPlan
    contraction: Contraction

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @property
    def row_panels(self) -> int:
        return -(-self.plan.rows.size(self.kernel) // self.plan.micro_rows)

    @property
    def column_panels(self) -> int:
        return -(-self.plan.columns.size(self.kernel) // self.plan.micro_columns)

    @property
    def depth_steps(self) -> int:
        """Depth blocks that one result is summed over."""
        steps = self.plan.depth.chunks(self.kernel)
        for axis in self.plan.depth.outer:
            steps *= self.kernel.axes[axis]
        return steps

    # --- loops -------------------------------------------------------------------

    def grid(self) -> list[Statement]:
        """Every batch, row block and column block at once."""
        scope = Scope(self.builder)
        extents: list[Extent] = []
        plan = self.plan
        for axis in (*plan.batch, *plan.rows.outer, *plan.columns.outer):
            position = self.builder.axis(self.kernel.axes[axis])
            extents.append((position, self.kernel.axes[axis]))
            scope = scope.bind(axis, axis_form(position))
        placed = []
        for block in (plan.rows, plan.columns):
            index = self.builder.axis(block.chunks(self.kernel))
            extents.append((index, block.chunks(self.kernel)))
            placed.append(Placed(block, axis_form(index).scale(block.chunk)))
        body = self.block(scope, *placed)
        return [Grid(tuple(extents), tuple(body))]

    def block(self, scope: Scope, rows: Placed, columns: Placed) -> list[Statement]:
        """One block of rows by one of columns."""
        lhs = self.operand("lhs", self.contraction.lhs, rows.block)
        rhs = self.operand("rhs", self.contraction.rhs, columns.block)
        lhs_tile = lhs.tile(self.builder, self.row_panels * self.plan.micro_rows)
        by_panel = self.packs_by_panel(rhs)
        if by_panel:
            rhs_tile = rhs.panel(self.builder, self.plan.micro_columns)
        else:
            all_columns = self.column_panels * self.plan.micro_columns
            rhs_tile = rhs.tile(self.builder, all_columns)
        statements: list[Statement] = [Alloc(lhs_tile), Alloc(rhs_tile)]
        places = _Places(scope, rows, columns)
        if self.depth_steps > 1 and self.row_panels == self.column_panels == 1:
            return statements + self.in_registers(places, lhs, rhs, lhs_tile, rhs_tile)
        if self.depth_steps > 1:
            gathered = self.gathering_tile()
            places = replace(places, gathered=gathered)
            statements.append(Alloc(gathered))

        def depth_block(inner: Scope, depth: Placed) -> list[Statement]:
            steps = pack(lhs, inner, depth, rows, lhs_tile)
            if not by_panel:
                steps += pack(rhs, inner, depth, columns, rhs_tile)

            def before(column: Affine) -> list[Statement]:
                if not by_panel:
                    return []
                window = Window(column, self.plan.micro_columns)
                panel = replace(columns, window=window)
                return pack(rhs, inner, depth, panel, rhs_tile)

            return steps + self.panels(
                lambda row, column: self.micro(
                    replace(places, step=self.step_of(inner, depth)),
                    lhs_tile,
                    rhs_tile,
                    row,
                    column,
                    ZERO if by_panel else column,
                ),
                before,
            )

        return statements + self.depth_loops(scope, self.plan.depth.outer, depth_block)

    def step_of(self, scope: Scope, depth: Placed) -> _Step:
        """Conditions under which a depth block is the first one, and the last one."""
        block = self.plan.depth
        starts = [scope.forms[axis] for axis in block.outer]
        ends = [self.kernel.axes[axis] - 1 for axis in block.outer]
        starts.append(depth.start)
        ends.append((block.chunks(self.kernel) - 1) * block.chunk)
        return _Step(
            tuple(start.scale(-1) for start in starts),
            tuple(start.shift(-end) for start, end in zip(starts, ends, strict=True)),
        )

    def operand(self, name: str, value: Expression, side: Block) -> Operand:
        """How one operand is packed."""
        plan = self.plan
        padding = 0
        if plan.narrow is not None:
            # The matrix unit widens its operands itself.
            value = value.inputs[0]
            padding = ROW_PADDING_BYTES // plan.narrow.itemsize
        return Operand(
            name,
            self.kernel,
            value,
            plan.depth,
            side,
            plan.lanes,
            lanes_along_side=name == "rhs" or plan.at_once,
            at_once=plan.at_once,
            padding=padding,
        )

    def packs_by_panel(self, rhs: Operand) -> bool:
        """Whether columns are packed a panel at a time, just before they are used.

        A panel then lies in the first-level cache, in one piece: columns of a whole
        block lie rows apart, each on another page.
        """
        one_run = len(rhs.side_runs) == 1
        return one_run and self.column_panels > 1 and not self.plan.at_once

    def in_registers(
        self,
        places: _Places,
        lhs: Operand,
        rhs: Operand,
        lhs_tile: Tile,
        rhs_tile: Tile,
    ) -> list[Statement]:
        """A block that is one micro-tile: its sums never leave the registers."""
        if self.plan.narrow is not None and not self.plan.depth.outer:
            return self.overlapped(places, lhs, rhs, lhs_tile, rhs_tile)
        accumulator, statements = self.accumulator()

        def depth_block(inner: Scope, depth: Placed) -> list[Statement]:
            steps = pack(lhs, inner, depth, places.rows, lhs_tile)
            steps += pack(rhs, inner, depth, places.columns, rhs_tile)
            return [*steps, self.product(accumulator, lhs_tile, rhs_tile, ZERO, ZERO)]

        statements += self.depth_loops(places.scope, self.plan.depth.outer, depth_block)
        return statements + self.epilogue(places, accumulator, ZERO, ZERO, ZERO, ZERO)

    def overlapped(
        self,
        places: _Places,
        lhs: Operand,
        rhs: Operand,
        lhs_tile: Tile,
        rhs_tile: Tile,
    ) -> list[Statement]:
        """The same with several pairs of tiles: some are filled while one is used.

        For(round of STAGES steps)
          pack the step that is STAGES - 1 ahead,  multiply the first pair
          pack the step after that,                multiply the second pair, …

        Beyond the end of the depth, zeros are packed and never used.
        """
        depth, chunks = self.plan.depth, self.plan.depth.chunks(self.kernel)
        pairs = [(lhs_tile, rhs_tile)]
        for _ in range(1, STAGES):
            left = lhs.tile(self.builder, self.row_panels * self.plan.micro_rows)
            right = rhs.tile(self.builder, self.column_panels * self.plan.micro_columns)
            pairs.append((left, right))
        accumulator, statements = self.accumulator()
        more = [Alloc(tile) for pair in pairs[1:] for tile in pair]
        statements = [*more, *statements]

        def packed(step: Affine, stage: int) -> list[Statement]:
            left, right = pairs[stage % STAGES]
            place = Placed(depth, step.scale(depth.chunk))
            steps = pack(lhs, places.scope, place, places.rows, left)
            return steps + pack(rhs, places.scope, place, places.columns, right)

        def multiplied(stage: int) -> Statement:
            return self.product(accumulator, *pairs[stage], ZERO, ZERO)

        def one_round(form: Affine) -> list[Statement]:
            body: list[Statement] = []
            for stage in range(STAGES):
                ahead = stage + STAGES - 1
                body += packed(form.scale(STAGES).shift(ahead), ahead)
                body.append(multiplied(stage))
            return body

        for stage in range(STAGES - 1):
            statements += packed(Affine(stage), stage)
        statements += loop(self.builder, chunks // STAGES, one_round)
        statements += [multiplied(stage) for stage in range(chunks % STAGES)]
        return statements + self.epilogue(places, accumulator, ZERO, ZERO, ZERO, ZERO)

    def depth_loops(
        self,
        scope: Scope,
        outer: tuple[int, ...],
        body: Callable[[Scope, Placed], list[Statement]],
    ) -> list[Statement]:
        """Loops over the depth blocks."""
        if outer:
            axis, *others = outer
            return loop(
                self.builder,
                self.kernel.axes[axis],
                lambda form: self.depth_loops(
                    scope.bind(axis, form), tuple(others), body
                ),
            )
        depth = self.plan.depth
        return loop(
            self.builder,
            depth.chunks(self.kernel),
            lambda form: body(scope, Placed(depth, form.scale(depth.chunk))),
        )

    def panels(
        self,
        body: Callable[[Affine, Affine], list[Statement]],
        before: Callable[[Affine], list[Statement]] = lambda column: [],
    ) -> list[Statement]:
        """Loops over the micro-tiles: a panel of columns stays near, rows stream."""

        def panel(number: Affine) -> list[Statement]:
            column = number.scale(self.plan.micro_columns)
            rows = loop(
                self.builder,
                self.row_panels,
                lambda row: body(row.scale(self.plan.micro_rows), column),
            )
            return before(column) + rows

        return loop(self.builder, self.column_panels, panel)

    # --- micro-tiles -------------------------------------------------------------

    def gathering_tile(self) -> Tile:
        """A shared tile for a whole block of results."""
        rows = self.row_panels * self.plan.micro_rows
        columns = self.column_panels * self.plan.micro_columns
        dtype = self.contraction.reduction.accumulator
        return self.builder.tile("gathered", (rows, columns), dtype, Space.SHARED)

    def micro_axes(
        self, row: Affine, column: Affine
    ) -> tuple[tuple[Extent, Extent], tuple[Affine, Affine]]:
        """Collective axes over a micro-tile, and the flat indices in its block."""
        rows, columns = self.plan.micro_rows, self.plan.micro_columns
        first = (self.builder.axis(rows), rows)
        second = (self.builder.axis(columns), columns)
        indices = (row + axis_form(first[0]), column + axis_form(second[0]))
        return (first, second), indices

    def micro(
        self,
        places: _Places,
        lhs: Tile,
        rhs: Tile,
        row: Affine,
        column: Affine,
        rhs_column: Affine,
    ) -> list[Statement]:
        """One micro-tile for one depth block."""
        gathered, step = places.gathered, places.step
        if gathered is None or step is None:
            tile, statements = self.accumulator()
            statements.append(self.product(tile, lhs, rhs, row, rhs_column))
            if self.is_staged():
                tile, more = self.staged(tile)
                statements += more
            return statements + self.epilogue(places, tile, row, column, ZERO, ZERO)
        tile, (alloc, clear) = self.accumulator()
        extents, indices = self.micro_axes(row, column)
        resume = Map(extents, tile, indices_of(extents), TileLoad(gathered, indices))
        kept, places_kept = self.micro_axes(row, column)
        keep = Map(kept, gathered, places_kept, TileLoad(tile, indices_of(kept)))
        finish = self.epilogue(places, gathered, row, column, row, column)
        return [
            alloc,
            When(step.is_first, (clear,), (resume,)),
            self.product(tile, lhs, rhs, row, rhs_column),
            keep,
            When(step.is_last, tuple(finish)),
        ]

    def is_staged(self) -> bool:
        """Whether sums leave the registers before something is made of them.

        What is made of registers is written out for each of them, and again for the
        edge: long text, unless it is no more than a store.
        """
        reduction = self.contraction.reduction
        makes_more = any(
            isinstance(entry, Compute) and entry.op is not Cast
            for output in self.kernel.outputs
            for entry in walk_until({reduction: reduction}, output.value)
        )
        return makes_more and not self.plan.at_once

    def staged(self, accumulator: Tile) -> tuple[Tile, list[Statement]]:
        """The sums of a micro-tile in memory, where a loop can run over them."""
        shape, dtype = accumulator.shape, accumulator.dtype
        tile = self.builder.tile("sums", shape, dtype, Space.SHARED)
        extents, _ = self.micro_axes(ZERO, ZERO)
        value = TileLoad(accumulator, indices_of(extents))
        return tile, [Alloc(tile), Map(extents, tile, indices_of(extents), value)]

    def accumulator(self) -> tuple[Tile, list[Statement]]:
        """A micro-tile of registers, holding zero."""
        dtype = self.contraction.reduction.accumulator
        shape = (self.plan.micro_rows, self.plan.micro_columns)
        tile = self.builder.tile("accumulator", shape, dtype)
        extents, _ = self.micro_axes(ZERO, ZERO)
        zero = literal(0, dtype)
        return tile, [Alloc(tile), Map(extents, tile, indices_of(extents), zero)]

    def product(
        self, tile: Tile, lhs: Tile, rhs: Tile, row: Affine, column: Affine
    ) -> Statement:
        """One depth block's contribution to a micro-tile."""
        plan = self.plan
        return Mma(
            tile,
            lhs,
            rhs,
            plan.micro_rows,
            plan.micro_columns,
            plan.depth.size(self.kernel),
            (ZERO, row),
            (ZERO, column),
        )

    def epilogue(
        self,
        places: _Places,
        tile: Tile,
        row: Affine,
        column: Affine,
        tile_row: Affine,
        tile_column: Affine,
    ) -> list[Statement]:
        """Store what the outputs make of a micro-tile of sums.

        ``row`` and ``column`` are its place in the block, ``tile_row`` and
        ``tile_column`` its place in the tile. Micro-tiles that overhang the block's
        edge take a path of their own, with guards.
        """
        extents, indices = self.micro_axes(row, column)
        within = (
            tile_row + axis_form(extents[0][0]),
            tile_column + axis_form(extents[1][0]),
        )
        total = cast(TileLoad(tile, within), self.contraction.reduction.dtype)
        scope = places.scope.with_collective(*extents)
        scope = self.unflatten(scope, places.rows, indices[0])
        scope = self.unflatten(scope, places.columns, indices[1])
        scope = scope.with_values({self.contraction.reduction: total})
        guards = [
            *self.inside(places.rows, indices[0]),
            *self.inside(places.columns, indices[1]),
        ]
        guarded = scope.with_guard(*guards)
        unguarded = [self.store(output, scope) for output in self.kernel.outputs]
        if not guarded.guard:
            return list(unguarded)
        last = {axis: Affine(extent - 1) for axis, extent in extents}
        whole = tuple(form.substitute(last) for form in guarded.guard)
        edge = tuple(self.store(output, guarded) for output in self.kernel.outputs)
        if any(form.range(self.builder.extents)[1] < 0 for form in whole):
            return list(edge)
        return [When(whole, tuple(unguarded), edge)]

    def inside(self, placed: Placed, index: Affine) -> list[Affine]:
        """Conditions for a flat index to be in the block and in the kernel."""
        block = placed.block
        inner = block.inner_size(self.kernel)
        size = self.kernel.axes[block.chunked]
        conditions = [index.scale(-1).shift(block.size(self.kernel) - 1)]
        if block.is_ragged(self.kernel):
            beyond = (placed.start.scale(inner) + index).scale(-1)
            conditions.append(beyond.shift(size * inner - 1))
        return conditions

    def store(self, output: Output, scope: Scope) -> Statement:
        """Store one output at the points of a micro-tile."""
        rewriter = scope.rewriter()
        address = rewriter.form(output.address)
        guard = scope.guard + rewriter.guards(output.guard)
        value = rewriter(output.value)
        return Store(scope.collective, output.slot, address, value, guard)

    # --- flat indices ------------------------------------------------------------

    def unflatten(self, scope: Scope, placed: Placed, index: Affine) -> Scope:
        """Bind the axes of a block from a flat index.

        Where the outputs' addresses move evenly along the flat index the innermost
        axis takes it all; else the axes are quotients and remainders of it.
        """
        block = placed.block
        axes = block.moving
        if axes == block.inner:
            scope = scope.bind(block.chunked, placed.start)
            start = ZERO
        else:
            start = placed.start.scale(block.inner_size(self.kernel))
        if moves_evenly(self.kernel, self.contraction, axes):
            for axis in axes[:-1]:
                scope = scope.bind(axis, ZERO)
            return scope.bind(axes[-1], start + index)
        for axis in axes:
            scope = scope.bind(axis, self.coordinate(placed, axis, index))
        return scope

    def coordinate(self, placed: Placed, axis: int, index: Affine) -> Affine:
        """One axis of a block from a flat index, by division."""
        block = placed.block
        stride = flat_stride(self.kernel, block, axis)
        if axis == block.chunked:
            # Beyond the block's edge it is more, but there a guard fails.
            return placed.start + of_atom(Quotient(index, stride, block.chunk))
        limit = self.padded(block) // stride + 1
        form = index if stride == 1 else of_atom(Quotient(index, stride, limit))
        size = self.kernel.axes[axis]
        return form if limit <= size else of_atom(Remainder(form, size))

    def padded(self, block: Block) -> int:
        """Flat positions of a block, with those that overhang its edge."""
        if block is self.plan.rows:
            return self.row_panels * self.plan.micro_rows
        return self.column_panels * self.plan.micro_columns
