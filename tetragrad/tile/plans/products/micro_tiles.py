"""What every blocked contraction does: its grid, its sums in registers, its results.

    Grid(batch, row block, column block)
      block                                        pack, multiply: squares.py, panels.py
        Store(epilogue of the accumulator)

How a block's operands are packed and in which order its products are taken is what the
plans differ in.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import (
    ZERO,
    Affine,
    SplitAxis,
    axis_form,
    divide,
    of_atom,
)
from tetragrad.kernel.expression import Quotient, Remainder, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.ir import (
    Ahead,
    Alloc,
    Extent,
    Grid,
    Map,
    Mma,
    Statement,
    Store,
    Tile,
    TileLoad,
    When,
)
from tetragrad.tile.plans.products.contraction import (
    Block,
    Contraction,
    ContractionPlan,
    Panels,
    even_run,
    hosted_contraction,
    moves_evenly,
)
from tetragrad.tile.plans.products.operands import Placed, flat_stride
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of, loop


@frozen
class Places:
    """The blocks of one grid iteration."""

    scope: Scope
    rows: Placed
    columns: Placed


@frozen
class Walk:
    """Grid axes that were opened, what they bind, and the number of each point."""

    scope: Scope
    extents: tuple[Extent, ...] = ()
    number: Affine = ZERO

    def opened(self, size: int) -> tuple[Walk, Affine]:
        """One more grid axis."""
        position = self.scope.builder.axis(size)
        form = axis_form(position)
        extents = (*self.extents, (position, size))
        return Walk(self.scope, extents, self.number.scale(size) + form), form

    def along(self, axis: int) -> Walk:
        """A grid axis for each position of a kernel axis."""
        walk, form = self.opened(self.scope.size(axis))
        return replace(walk, scope=walk.scope.bind(axis, form))

    def over_blocks(self, block: Block) -> tuple[Walk, Placed]:
        """Grid axes for all blocks of some axes, and where and which one it is."""
        walk = self
        for axis in block.outer:
            walk = walk.along(axis)
        walk, form = walk.opened(block.chunks(self.scope.builder.kernel))
        placed = Placed(block, form.scale(block.chunk), number=walk.number)
        return walk, placed


@frozen
class Corner:
    """Where a micro-tile begins: its row and its column."""

    row: Affine = ZERO
    column: Affine = ZERO


@frozen
class Region:
    """Where a micro-tile's part of a packed operand begins."""

    tile: Tile
    depth: Affine = ZERO
    side: Affine = ZERO

    @property
    def start(self) -> Affine:
        """Where it begins in memory."""
        by_depth, by_side, *_ = self.tile.layout.strides
        return self.depth.scale(by_depth) + self.side.scale(by_side)


@frozen
class Product(ABC):
    """A contraction that is being written as a tile program."""

    builder: Builder
    plan: ContractionPlan

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @cached_property
    def contraction(self) -> Contraction:
        """The kernel's contraction, its operands as the plan wants them."""
        found = hosted_contraction(self.kernel)
        assert found is not None
        return found.swapped() if self.plan.swap else found

    @cached_property
    def row_cut(self) -> Panels:
        """How the rows of a block are cut."""
        return self.cut(self.plan.rows, self.plan.micro_rows)

    @cached_property
    def column_cut(self) -> Panels:
        """How the columns of a block are cut."""
        return self.cut(self.plan.columns, self.plan.micro_columns)

    def cut(self, block: Block, width: int) -> Panels:
        """The panels of one side; where positions are found by division, plain ones."""
        return Panels(block.size(self.kernel), width)

    @property
    def row_panels(self) -> int:
        return self.row_cut.count

    @property
    def column_panels(self) -> int:
        return self.column_cut.count

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
        batch = self.batches()
        walk, rows = batch.over_blocks(self.plan.rows)
        walk, columns = replace(walk, number=batch.number).over_blocks(
            self.plan.columns
        )
        body = self.block(Places(walk.scope, rows, columns))
        return [Grid(walk.extents, tuple(body))]

    def batches(self) -> Walk:
        """Grid axes over the batch."""
        walk = Walk(Scope(self.builder))
        for axis in self.plan.batch:
            walk = walk.along(axis)
        return walk

    @abstractmethod
    def block(self, places: Places) -> list[Statement]:
        """One block of rows by one of columns."""

    def depth_loops(
        self,
        scope: Scope,
        outer: tuple[int, ...],
        body: Callable[[Scope, Placed], list[Statement]],
        number: Affine = ZERO,
    ) -> list[Statement]:
        """Loops over the depth blocks, which are numbered."""
        if outer:
            axis, *others = outer
            size = self.kernel.axes[axis]
            return loop(
                self.builder,
                size,
                lambda form: self.depth_loops(
                    scope.bind(axis, form),
                    tuple(others),
                    body,
                    number.scale(size) + form,
                ),
            )
        depth = self.plan.depth
        chunks = depth.chunks(self.kernel)

        def block(form: Affine) -> list[Statement]:
            which = number.scale(chunks) + form
            placed = Placed(depth, form.scale(depth.chunk), number=which)
            return body(scope, placed)

        return loop(self.builder, chunks, block)

    # --- micro-tiles -------------------------------------------------------------

    def micro_axes(
        self, corner: Corner
    ) -> tuple[tuple[Extent, Extent], tuple[Affine, Affine]]:
        """Collective axes over a micro-tile, and the indices that they stand for."""
        first, second = self.builder.axes(
            (self.plan.micro_rows, self.plan.micro_columns)
        )
        row, column = indices_of((first, second))
        return (first, second), (corner.row + row, corner.column + column)

    def accumulator(self) -> tuple[Tile, list[Statement]]:
        """A micro-tile of registers, holding zero."""
        tile = self.registers(self.plan.micro_rows)
        return tile, self.cleared(tile)

    def registers(self, rows: int) -> Tile:
        """A tile of registers for some rows of a micro-tile."""
        dtype = self.contraction.reduction.accumulator
        return self.builder.tile("accumulator", (rows, self.plan.micro_columns), dtype)

    def cleared(self, tile: Tile) -> list[Statement]:
        """Bring a tile into being, holding zero."""
        extents = self.builder.axes(tile.shape)
        zero = literal(0, tile.dtype)
        return [Alloc(tile), Map(extents, tile, indices_of(extents), zero)]

    def product(
        self, total: Tile, lhs: Region, rhs: Region, ahead: Ahead | None = None
    ) -> Statement:
        """One depth block's contribution to a micro-tile."""
        plan = self.plan
        return Mma(
            total,
            lhs.tile,
            rhs.tile,
            total.shape[0],
            plan.micro_columns,
            plan.depth.size(self.kernel) // plan.group // plan.parts,
            (lhs.depth, lhs.side),
            (rhs.depth, rhs.side),
            ahead=ahead,
        )

    def epilogue(
        self, places: Places, tile: Tile, corner: Corner, within: Corner
    ) -> list[Statement]:
        """Store what the outputs make of a micro-tile of sums.

        ``corner`` is its place in the block, ``within`` its place in the tile.
        Micro-tiles that overhang the block's edge take a path of their own, with
        guards.
        """
        extents, (row, column) = self.result_axes()
        in_tile = (within.row + row, within.column + column)
        indices = (corner.row + row, corner.column + column)
        total = cast(TileLoad(tile, in_tile), self.contraction.reduction.dtype)
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
        if any(self.builder.never(form) for form in whole):
            return list(edge)
        return [When(whole, tuple(unguarded), edge)]

    def result_axes(self) -> tuple[tuple[Extent, ...], tuple[Affine, Affine]]:
        """Collective axes over results, and the row and column they stand for.

        Where positions of columns are found by division, those that are neighbours in
        the outputs have an axis of their own, so that they are stored as vectors.
        """
        rows, columns = self.plan.micro_rows, self.plan.micro_columns
        run = even_run(self.kernel, self.contraction, self.plan.columns)
        lanes = columns if run is None else math.gcd(columns, run, self.plan.lanes)
        if lanes in (1, columns):
            extents, indices = self.micro_axes(Corner())
            return extents, indices
        axes = self.builder.axes((rows, columns // lanes, lanes))
        row, group, lane = indices_of(axes)
        return axes, (row, group.scale(lanes) + lane)

    def inside(self, placed: Placed, index: Affine) -> list[Affine]:
        """Conditions for a flat index to be in the block and in the kernel."""
        block = placed.block
        inner = block.inner_size(self.kernel)
        size = self.kernel.axes[block.chunked]
        conditions = [index.scale(-1).shift(block.size(self.kernel) - 1)]
        if block.is_ragged(self.kernel):
            beyond = (placed.start.scale(inner) + index).scale(-1)
            conditions.append(beyond.shift(size * inner - 1))
        return [self.for_all_lanes(condition) for condition in conditions]

    def for_all_lanes(self, condition: Affine) -> Affine:
        """The same condition without the lanes, if it holds for all of them or none.

        2·i + lane <= 171 with lanes 0 and 1 is i <= 85.
        """
        lanes = [axis for axis, part in condition.terms if part == -1]
        if len(lanes) != 1 or not condition.is_pure():
            return condition
        rest = condition.substitute({lanes[0]: ZERO})
        step = math.gcd(*[part for _, part in rest.terms])
        last = self.builder.extents[lanes[0]] - 1
        over = rest.constant % step if step else 0
        return rest.shift(-over) if last <= over else condition

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
            return placed.start + self.divided(index, stride, block.chunk)[0]
        limit = self.padded(block) // stride + 1
        form, _ = self.divided(index, stride, limit)
        size = self.kernel.axes[axis]
        return form if limit <= size else self.divided(form, size, limit)[1]

    def divided(self, form: Affine, divisor: int, limit: int) -> tuple[Affine, Affine]:
        """The quotient, below a limit, and the remainder: affine if terms allow it."""
        if divisor == 1:
            return form, ZERO
        try:
            found = divide(form, divisor, self.builder.extents)  # type: ignore[arg-type]
        except SplitAxis:
            found = None
        if found is not None:
            return found
        quotient, remainder = Quotient(form, divisor, limit), Remainder(form, divisor)
        return of_atom(quotient), of_atom(remainder)

    def padded(self, block: Block) -> int:
        """Flat positions of a block, with those that overhang its edge."""
        if block is self.plan.rows:
            return self.row_panels * self.plan.micro_rows
        return self.column_panels * self.plan.micro_columns
