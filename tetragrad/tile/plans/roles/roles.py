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

Operands that the copy engine cannot bring as they are multiplied are computed by a role
between the two; ``role_operands.py`` shows which channels there are then.

A worker computes one block after the other, so that the next block's operands are on
their way while results are stored. Blocks that are computed at the same time lie in a
group of neighbouring rows: together they read little that is not in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Select, literal, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import (
    Alloc,
    Dimension,
    Fold,
    Grid,
    Map,
    Mma,
    Release,
    Role,
    Statement,
    Tile,
    TileLoad,
    Wait,
    When,
    ends_of,
    every_statement,
)
from tetragrad.tile.plans.products.contraction import hosted_contraction
from tetragrad.tile.plans.roles.role_operands import (
    Place,
    RoleOperands,
    role_operands,
)
from tetragrad.tile.plans.roles.role_plan import (
    FILLING_WARPS,
    LOADING_WARPS,
    WARPS,
    Raster,
    RolePlan,
    RoleProduct,
    Sides,
    raster_of,
    role_product,
    sides_of,
    skipped_dimensions,
)
from tetragrad.tile.plans.roles.role_results import BlockPlace, Piece, RoleResults
from tetragrad.tile.plans.scope import Builder, indices_of, loop

#: Conditions of a load beyond which its instructions take as long as memory does.
MOST_CONDITIONS = 2

StepBody = Callable[[dict[int, Affine]], list[Statement]]
"""What is done at a step, by where the axes of the depth start."""
Bodies = tuple[StepBody, StepBody]
"""The first step and the others."""


def build_roles(builder: Builder, plan: RolePlan) -> list[Statement]:
    """The grid of a product by roles."""
    contraction = hosted_contraction(builder.kernel, guarded=True)
    assert contraction is not None
    if plan.swap:
        contraction = contraction.swapped()
    product = role_product(builder.kernel, contraction, plan.dtype, plan.filled)
    assert product is not None
    product = replace(product, splits=plan.splits)
    return _Roles(builder, plan, product).grid()


@frozen
class _Worker:
    """The axes that say which worker this is, and which of its neighbours."""

    axis: int
    neighbour: int


@frozen
class _Steps:
    """What is done at each step, from which one on; whether the first stands apart."""

    body: StepBody
    first: int
    apart: bool


@frozen
class _Roles:
    builder: Builder
    plan: RolePlan
    product: RoleProduct

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @cached_property
    def sides(self) -> Sides:
        return sides_of(self.kernel, self.product, self.plan)

    @cached_property
    def raster(self) -> Raster:
        contraction = self.product.contraction
        return raster_of(contraction, self.kernel, self.sides, self.plan)

    @cached_property
    def skipped(self) -> tuple[Dimension, ...]:
        cluster = self.plan.cluster
        return skipped_dimensions(self.kernel, self.product, self.sides, cluster)

    @property
    def row_blocks(self) -> int:
        """Row blocks, with those that the last group overhangs by."""
        return self.raster.groups * self.raster.group * self.plan.cluster

    @property
    def steps(self) -> int:
        return self.sides.depth.blocks

    @cached_property
    def operands(self) -> RoleOperands:
        return role_operands(self.builder, self.plan, self.product, self.sides)

    @cached_property
    def results(self) -> RoleResults:
        blocks = (self.row_blocks, self.raster.columns)
        return RoleResults(self.builder, self.plan, self.product, self.sides, blocks)

    def grid(self) -> list[Statement]:
        """A role that copies, one that computes operands if need be, one multiplies."""
        plan, builder = self.plan, self.builder
        worker = _Worker(builder.axis(plan.workers), builder.axis(plan.cluster))
        roles = []
        if self.operands.copied:
            bring = self.operands.bring
            roles.append(Role("load", WARPS, tuple(self.operate(worker, bring))))
        if self.operands.filled is not None:
            fill = self.operands.fill
            body = tuple(self.operate(worker, fill))
            roles.append(self.filling(body))
        member = builder.axis(plan.members)
        body = tuple(self.multiply(worker, axis_form(member)))
        roles.append(Role("multiply", WARPS, body, (member, plan.members)))
        extents = ((worker.axis, plan.workers), (worker.neighbour, plan.cluster))
        cluster = worker.neighbour if plan.cluster > 1 else None
        return [Grid(extents, tuple(roles), cluster)]

    def filling(self, body: tuple[Statement, ...]) -> Role:
        """The role that computes operands, or what is left of split ones.

        Where it waits for nothing but memory, its warps are teams, each at a step.
        """
        if self.plan.splits:
            return Role("fill", WARPS, body)
        if self.operands.narrow is not None or is_conditional(body):
            return Role("fill", FILLING_WARPS, body)
        is_large = self.plan.members > 1 or bool(self.operands.copied)
        warps = FILLING_WARPS if is_large else LOADING_WARPS
        return Role("fill", warps, body, teams=warps // WARPS)

    def each_block(
        self, worker: _Worker, body: Callable[[BlockPlace], list[Statement]]
    ) -> list[Statement]:
        """The body for every block of a worker."""
        raster, workers = self.raster, self.plan.workers
        batch = self.product.contraction.batch

        def turn(form: Affine) -> list[Statement]:
            number = form.scale(workers) + axis_form(worker.axis)
            row, column, batches = raster.place(number)
            block_row = row.scale(self.plan.cluster) + axis_form(worker.neighbour)
            places = dict(zip(batch, batches, strict=True))
            statements = body(BlockPlace(block_row, column, places))
            exists = (
                number.scale(-1).shift(raster.blocks - 1),
                row.scale(-1).shift(raster.rows - 1),
            )
            needed = tuple(form for form in exists if not self.builder.always(form))
            return [When(needed, tuple(statements))] if needed else statements

        return loop(self.builder, -(-raster.blocks // workers), turn)

    # --- the roles that bring operands -------------------------------------------

    def operate(
        self, worker: _Worker, make: Callable[[Place], list[Statement]]
    ) -> list[Statement]:
        """Do something about the operands of every step of every block."""

        def block(place: BlockPlace) -> list[Statement]:
            return self.each_step(place, lambda starts: make(self.place(place, starts)))

        return self.each_block(worker, block)

    def place(self, block: BlockPlace, starts: Mapping[int, Affine]) -> Place:
        """A step of a block."""
        row = (block.row, self.row_blocks)
        column = (block.column, self.raster.columns)
        return Place(row, column, block.batch, starts)

    def each_step(self, place: BlockPlace, body: StepBody) -> list[Statement]:
        """The body for every cell of the depth that matters, nearest axis inside."""
        last = len(self.sides.depth.axes) - 1
        return self.some(place, last, {}, _Steps(body, 0, apart=False))

    def first_apart(
        self, place: BlockPlace, level: int, starts: dict[int, Affine], bodies: Bodies
    ) -> list[Statement]:
        """The same with another body for the very first step, which always matters.

        Of the others too, the first of a run stands apart: a product is under way then
        when the loop over the rest begins.
        """
        first, other = bodies
        if level < 0:
            return first(starts)
        axis = self.sides.depth.axes[level]
        begun = self.first_apart(place, level - 1, starts | {axis: ZERO}, bodies)
        # The first run is begun already.
        rest = _Steps(other, 1, apart=level > 0)
        return begun + self.some(place, level, starts, rest)

    def some(
        self, place: BlockPlace, level: int, starts: dict[int, Affine], steps: _Steps
    ) -> list[Statement]:
        """The steps of one axis, and of those inside it."""
        if level < 0:
            return steps.body(starts)
        depth, inner = self.sides.depth, replace(steps, first=0)
        axis, chunk = depth.axes[level], depth.chunks[level]

        def step(number: Affine) -> list[Statement]:
            there = starts | {axis: number.shift(steps.first).scale(chunk)}
            statements = self.some(place, level - 1, there, inner)
            needed = self.conditions(place, axis, there)
            return [When(needed, tuple(statements))] if needed else statements

        count = depth.steps[level] - steps.first
        if level or not steps.apart:
            return loop(self.builder, count, step)
        others = loop(self.builder, count - 1, lambda number: step(number.shift(1)))
        return step(ZERO) + others

    def conditions(
        self, place: BlockPlace, axis: int, starts: Mapping[int, Affine]
    ) -> tuple[Affine, ...]:
        """When the steps at this position of an axis bring more than zeros."""
        sides, places = self.sides, {**place.batch, **starts}
        for cells, block, blocks in (
            (sides.rows, place.row, self.row_blocks),
            (sides.columns, place.column, self.raster.columns),
        ):
            places |= cells.starts(block, ZERO, blocks)
        forms = []
        for dimension in self.skipped:
            inside = dimension.index.axes() & set(sides.depth.axes)
            if axis in inside and inside <= starts.keys():
                forms += [form.substitute(places) for form in ends_of(dimension)]
        return tuple(form for form in forms if not self.builder.always(form))

    # --- the role that multiplies ------------------------------------------------

    def multiply(self, worker: _Worker, member: Affine) -> list[Statement]:
        """Sum the products of a member's rows, and store what becomes of them."""
        plan = self.plan
        shape = (plan.member_rows, plan.columns // plan.sums)
        dtype = self.product.contraction.reduction.accumulator
        totals = [
            self.builder.tile("accumulator", shape, dtype) for _ in range(plan.sums)
        ]
        results, outputs = self.results, self.kernel.outputs
        staged = [results.staged(output) for output in outputs]

        def block(place: BlockPlace) -> list[Statement]:
            statements = self.summed(place, totals, member)
            for piece in range(plan.columns // plan.piece):
                some = Piece(place, member, piece)
                for output, tile in zip(outputs, staged, strict=True):
                    statements += results.finish(output, tile, totals, some)
            return statements

        tiles = (*totals, *filter(None, (self.operands.held, *staged)))
        allocated = [Alloc(tile) for tile in tiles]
        return allocated + self.each_block(worker, block)

    def summed(
        self, place: BlockPlace, totals: Sequence[Tile], member: Affine
    ) -> list[Statement]:
        """The products of all steps, in the total, or in those of some columns each."""
        total = totals[0]

        def step(
            tile: Tile, starts: Mapping[int, Affine], *, is_first: bool
        ) -> list[Statement]:
            where = self.place(place, starts)
            return self.step(tile, where, member, is_first=is_first)

        if self.skipped or self.plan.held:
            assert not self.plan.sums_steps, "one sum"
            bodies = (
                lambda starts: step(total, starts, is_first=True),
                lambda starts: step(total, starts, is_first=False),
            )
            last = len(self.sides.depth.axes) - 1
            return self.first_apart(place, last, {}, bodies)
        if not self.plan.sums_steps:
            others = loop(
                self.builder, self.steps - 1, lambda _: step(total, {}, is_first=False)
            )
            return step(total, {}, is_first=True) + others
        return self.summed_apart(totals, member)

    def summed_apart(self, totals: Sequence[Tile], member: Affine) -> list[Statement]:
        """The same where each step is summed for itself, so many columns at a time."""
        part = self.builder.tile("part", totals[0].shape, totals[0].dtype)
        extents = self.builder.axes(part.shape)
        indices = indices_of(extents)
        channels = self.operands.multiplied

        def step(_: Affine) -> list[Statement]:
            statements: list[Statement] = [Wait(channel) for channel in channels]
            for number, total in enumerate(totals):
                first = number * part.shape[1]
                statements += self.products_of(part, member, first, is_first=True)
                if total == totals[-1]:
                    statements += [Release(channel) for channel in channels]
                added = TileLoad(part, indices)
                statements.append(Fold(extents, total, indices, Sum, added))
            return statements

        zero = literal(0, part.dtype)
        clear = [Map(extents, total, indices, zero) for total in totals]
        return [Alloc(part), *clear, *loop(self.builder, self.steps, step)]

    def step(
        self, total: Tile, place: Place, member: Affine, *, is_first: bool
    ) -> list[Statement]:
        """Use one slot of each channel that holds what is multiplied."""
        (product,) = self.products_of(total, member, 0, is_first=is_first)
        channels = self.operands.multiplied
        waits: list[Statement] = [Wait(channel) for channel in channels]
        held = self.operands.hold(place, member)
        return [*waits, *held, product, *(Release(entry) for entry in channels)]

    def products_of(
        self, total: Tile, member: Affine, first_column: int, *, is_first: bool
    ) -> list[Mma]:
        """What lies in slots, multiplied: a member's rows and some columns."""
        first_row = member.scale(self.plan.member_rows)
        if self.operands.held is not None:
            first_row = ZERO
        rows, columns = total.shape
        return [
            Mma(
                total,
                lhs,
                rhs,
                rows,
                columns,
                self.plan.depth,
                (ZERO, first_row),
                (ZERO, Affine(first_column)),
                is_first and number == 0,
            )
            for number, (lhs, rhs) in enumerate(self.operands.pairs)
        ]


def is_conditional(body: Sequence[Statement]) -> bool:
    """Whether conditions take much of what loads cost: instructions, and registers."""
    values = [entry.value for entry in every_statement(body) if isinstance(entry, Map)]
    guards = [
        entry.guard
        for value in values
        for entry in walk(value)
        if isinstance(entry, Select)
    ]
    return any(len(guard) > MOST_CONDITIONS for guard in guards)
