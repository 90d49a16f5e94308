"""Build a product by roles: one brings operands through a channel, others multiply.

    Grid(worker)
      Role(load)
        For(turn)  When(there is such a block)
          For(step along the depth)
            Acquire(operands)
            Copy(lhs = a box)   Copy(rhs = a box)
            Commit(operands)
      Role(multiply), members with 64 rows of a block each
        For(turn)  When(there is such a block)
          For(step along the depth)
            Wait(operands)
            accumulator += lhs x rhs
            Release(operands)
          for each piece of the columns
            Map(staged = what the outputs make of the accumulator)
            Store(staged)

A worker computes one block after the other, so that the next block's operands are on
their way while results are stored. Blocks that are computed at the same time lie in a
group of neighbouring rows: together they read little that is not in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form, of_atom
from tetragrad.kernel.expression import Quotient, Remainder, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Extent,
    Fold,
    Grid,
    Layout,
    Map,
    Mma,
    Release,
    Role,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    Wait,
    When,
)
from tetragrad.tile.plans.bulk import BulkOperand, bulk_operand
from tetragrad.tile.plans.contraction import Contraction, hosted_contraction
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of, loop

WARPS = 4
#: Rows that one matrix instruction of four warps computes.
MEMBER_ROWS = 64
#: Space between the rows of staged results, so that neighbours lie in other banks.
STAGED_PADDING_BYTES = 16


@frozen
class RolePlan:
    """Sizes of a product by roles.

    ``rows`` and ``columns`` of a block, ``depth`` of a step; the channel has
    ``stages`` steps; results are staged ``piece`` columns at a time. ``workers`` run
    side by side; ``group`` is the number of row blocks that are visited before the
    next column block is. A worker is a ``cluster`` of so many neighbours, with a
    block of rows each, that bring the columns together. ``sums_steps`` adds the
    products of each step up in float32, where the matrix unit's own sums are coarse.
    """

    swap: bool
    rows: int
    columns: int
    depth: int
    members: int
    stages: int
    piece: int
    group: int
    workers: int
    cluster: int = 1
    sums_steps: bool = False

    @property
    def member_rows(self) -> int:
        return self.rows // self.members


@frozen
class RoleProduct:
    """A contraction over single axes, whose operands can be copied in bulk."""

    contraction: Contraction
    lhs: BulkOperand
    rhs: BulkOperand

    @property
    def row(self) -> int:
        return self.contraction.rows[0]

    @property
    def column(self) -> int:
        return self.contraction.columns[0]

    @property
    def depth(self) -> int:
        return self.contraction.depth[0]


def role_product(kernel: Kernel, contraction: Contraction) -> RoleProduct | None:
    """The contraction as roles compute it, if they can."""
    sides = (contraction.rows, contraction.columns, contraction.depth)
    if any(len(axes) != 1 for axes in sides):
        return None
    (row,), (column,), (depth,) = sides
    batch = contraction.batch
    lhs = bulk_operand(kernel, contraction.lhs, row, depth, batch)
    rhs = bulk_operand(kernel, contraction.rhs, column, depth, batch)
    if lhs is None or rhs is None:
        return None
    return RoleProduct(contraction, lhs, rhs)


def build_roles(builder: Builder, plan: RolePlan) -> list[Statement]:
    """The grid of a product by roles."""
    contraction = hosted_contraction(builder.kernel)
    assert contraction is not None
    if plan.swap:
        contraction = contraction.swapped()
    product = role_product(builder.kernel, contraction)
    assert product is not None
    return _Roles(builder, plan, product).grid()


@frozen
class Raster:
    """The order in which blocks are visited: rows of a group, columns, groups."""

    rows: int
    columns: int
    group: int
    batches: tuple[int, ...]

    @property
    def groups(self) -> int:
        return -(-self.rows // self.group)

    @property
    def blocks(self) -> int:
        """All blocks, with the rows that the last group overhangs by."""
        return self.group * self.columns * self.groups * math.prod(self.batches)

    def place(self, number: Affine) -> tuple[Affine, Affine, list[Affine]]:
        """Row block, column block and batch positions of block ``number``."""
        sizes = (self.group, self.columns, self.groups, *reversed(self.batches))
        digits, stride = [], 1
        for size in sizes:
            digits.append(self._digit(number, stride, size))
            stride *= size
        within, column, group, *batches = digits
        return group.scale(self.group) + within, column, batches[::-1]

    def _digit(self, number: Affine, stride: int, size: int) -> Affine:
        if size == 1:
            return ZERO
        limit = self.blocks // stride
        rest = number
        if stride > 1:
            rest = of_atom(Quotient(number, stride, limit))
        return rest if limit == size else of_atom(Remainder(rest, size))


@frozen
class _Worker:
    """The axes that say which worker this is, and which of its neighbours."""

    axis: int
    neighbour: int


@frozen
class _Block:
    """Where the block that a worker computes starts, and its batch."""

    row: Affine
    column: Affine
    batch: Mapping[int, Affine]


@frozen
class _Roles:
    builder: Builder
    plan: RolePlan
    product: RoleProduct

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @property
    def raster(self) -> Raster:
        sizes, plan = self.kernel.axes, self.plan
        return Raster(
            -(-sizes[self.product.row] // (plan.rows * plan.cluster)),
            -(-sizes[self.product.column] // plan.columns),
            plan.group,
            tuple(sizes[axis] for axis in self.product.contraction.batch),
        )

    @property
    def steps(self) -> int:
        return -(-self.kernel.axes[self.product.depth] // self.plan.depth)

    def grid(self) -> list[Statement]:
        """One role that copies, and one that multiplies."""
        plan, builder = self.plan, self.builder
        worker = _Worker(builder.axis(plan.workers), builder.axis(plan.cluster))
        lhs = self.product.lhs.tile(builder, "lhs", plan.depth, plan.rows)
        rhs = self.product.rhs.tile(builder, "rhs", plan.depth, plan.columns)
        channel = Channel("operands", (lhs, rhs), plan.stages)
        member = builder.axis(plan.members)
        first_row = axis_form(member).scale(plan.member_rows)
        load = Role("load", WARPS, tuple(self.load(worker, channel)))
        multiply = Role(
            "multiply",
            WARPS,
            tuple(self.multiply(worker, channel, first_row)),
            (member, plan.members),
        )
        extents = ((worker.axis, plan.workers), (worker.neighbour, plan.cluster))
        cluster = worker.neighbour if plan.cluster > 1 else None
        return [Grid(extents, (load, multiply), cluster)]

    def each_block(
        self, worker: _Worker, body: Callable[[_Block], list[Statement]]
    ) -> list[Statement]:
        """The body for every block of a worker."""
        raster, workers = self.raster, self.plan.workers
        batch = self.product.contraction.batch

        def turn(form: Affine) -> list[Statement]:
            number = form.scale(workers) + axis_form(worker.axis)
            row, column, batches = raster.place(number)
            block_row = row.scale(self.plan.cluster) + axis_form(worker.neighbour)
            statements = body(
                _Block(
                    block_row.scale(self.plan.rows),
                    column.scale(self.plan.columns),
                    dict(zip(batch, batches, strict=True)),
                )
            )
            exists = (
                number.scale(-1).shift(raster.blocks - 1),
                row.scale(-1).shift(raster.rows - 1),
            )
            needed = tuple(form for form in exists if not self.builder.always(form))
            return [When(needed, tuple(statements))] if needed else statements

        return loop(self.builder, -(-raster.blocks // workers), turn)

    # --- the role that copies ----------------------------------------------------

    def load(self, worker: _Worker, channel: Channel) -> list[Statement]:
        """Bring the operands of every step of every block."""

        def block(place: _Block) -> list[Statement]:
            return loop(
                self.builder, self.steps, lambda step: self.bring(place, channel, step)
            )

        return self.each_block(worker, block)

    def bring(self, place: _Block, channel: Channel, step: Affine) -> list[Statement]:
        """Fill one slot of the channel."""
        product, (lhs, rhs) = self.product, channel.tiles
        starts = {
            **place.batch,
            product.row: place.row,
            product.column: place.column,
            product.depth: step.scale(self.plan.depth),
        }
        return [
            Acquire(channel),
            product.lhs.copy(self.builder, lhs, channel, starts),
            product.rhs.copy(self.builder, rhs, channel, starts),
            Commit(channel),
        ]

    # --- the role that multiplies ------------------------------------------------

    def multiply(
        self, worker: _Worker, channel: Channel, first_row: Affine
    ) -> list[Statement]:
        """Sum the products of a member's rows, and store what becomes of them."""
        plan = self.plan
        shape = (plan.member_rows, plan.columns)
        dtype = self.product.contraction.reduction.accumulator
        total = self.builder.tile("accumulator", shape, dtype)
        staged = [self.staged(output) for output in self.kernel.outputs]

        def block(place: _Block) -> list[Statement]:
            statements = self.summed(channel, total, first_row)
            for column in range(0, plan.columns, plan.piece):
                for output, tile in zip(self.kernel.outputs, staged, strict=True):
                    statements += self.finish(
                        output, tile, total, place, first_row, column
                    )
            return statements

        allocated = [Alloc(tile) for tile in (total, *staged)]
        return allocated + self.each_block(worker, block)

    def summed(
        self, channel: Channel, total: Tile, first_row: Affine
    ) -> list[Statement]:
        """The products of all steps, in the total."""

        def step(tile: Tile, *, starts: bool) -> list[Statement]:
            return self.step(channel, tile, first_row, starts=starts)

        if not self.plan.sums_steps:
            others = loop(
                self.builder, self.steps - 1, lambda _: step(total, starts=False)
            )
            return step(total, starts=True) + others
        part = self.builder.tile("part", total.shape, total.dtype)
        extents = tuple((self.builder.axis(size), size) for size in total.shape)
        indices = indices_of(extents)
        clear = Map(extents, total, indices, literal(0, total.dtype))
        add = Fold(extents, total, indices, Sum, TileLoad(part, indices))
        steps = loop(
            self.builder, self.steps, lambda _: [*step(part, starts=True), add]
        )
        return [Alloc(part), clear, *steps]

    def step(
        self, channel: Channel, total: Tile, first_row: Affine, *, starts: bool
    ) -> list[Statement]:
        """Use one slot of the channel."""
        lhs, rhs = channel.tiles
        rows, columns = total.shape
        product = Mma(
            total,
            lhs,
            rhs,
            rows,
            columns,
            self.plan.depth,
            (ZERO, first_row),
            (ZERO, ZERO),
            starts,
        )
        return [Wait(channel), product, Release(channel)]

    def staged(self, output: Output) -> Tile:
        """A shared tile for a piece of results, contiguous as the output is."""
        plan = self.plan
        dtype = self.kernel.slots[output.slot].dtype
        along_rows = is_along_rows(output, self.product)
        pitch = staged_pitch(plan, dtype.itemsize, along_rows=along_rows)
        layout = Layout((1, pitch) if along_rows else (pitch, 1))
        shape = (plan.member_rows, plan.piece)
        return self.builder.tile("staged", shape, dtype, Space.SHARED, layout)

    def finish(
        self,
        output: Output,
        staged: Tile,
        total: Tile,
        place: _Block,
        first_row: Affine,
        column: int,
    ) -> list[Statement]:
        """Compute one piece of an output, then store it as memory likes it."""
        extents, scope = self.piece_scope(place, first_row, column)
        indices = indices_of(extents)
        held = TileLoad(total, (indices[0], indices[1].shift(column)))
        reduction = self.product.contraction.reduction
        value = scope.with_values({reduction: cast(held, reduction.dtype)})
        # Beyond the edge nothing is loaded, and what is computed there is not stored.
        compute = Map(extents, staged, indices, value.value(output.value))
        rewriter = scope.rewriter()
        order = extents[::-1] if staged.layout.strides[0] == 1 else extents
        store = Store(
            order,
            output.slot,
            rewriter.form(output.address),
            TileLoad(staged, indices),
            scope.guard + rewriter.guards(output.guard),
        )
        return [compute, store]

    def piece_scope(
        self, place: _Block, first_row: Affine, column: int
    ) -> tuple[tuple[Extent, Extent], Scope]:
        """Collective axes over a piece, and the kernel's axes at its points."""
        plan, product, sizes = self.plan, self.product, self.kernel.axes
        row_extent = (self.builder.axis(plan.member_rows), plan.member_rows)
        column_extent = (self.builder.axis(plan.piece), plan.piece)
        row = place.row + first_row + axis_form(row_extent[0])
        across = place.column.shift(column) + axis_form(column_extent[0])
        scope = Scope(self.builder).with_collective(row_extent, column_extent)
        for axis, form in place.batch.items():
            scope = scope.bind(axis, form)
        scope = scope.bind(product.row, row).bind(product.column, across)
        guarded = scope.with_guard(
            row.scale(-1).shift(sizes[product.row] - 1),
            across.scale(-1).shift(sizes[product.column] - 1),
        )
        return (row_extent, column_extent), guarded


def is_along_rows(output: Output, product: RoleProduct) -> bool:
    """Whether neighbouring rows, and not columns, are next to one another."""
    address = output.address
    rows, columns = (address.coefficient(a) for a in (product.row, product.column))
    return bool(rows == 1 and columns != 1)


def staged_pitch(plan: RolePlan, itemsize: int, *, along_rows: bool) -> int:
    """Elements from one contiguous run of staged results to the next."""
    length = plan.member_rows if along_rows else plan.piece
    return length + max(STAGED_PADDING_BYTES, 8 * itemsize) // itemsize
