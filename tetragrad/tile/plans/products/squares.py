"""Build a contraction whose grid iterations compute one square of results each.

    Grid(batch, row block, column block)
      For(depth block)
        pack lhs[k, m], pack rhs[k, n]             all threads together
        accumulator[m, n] += Σ_k lhs[k, m] * rhs[k, n]            registers
      Store(epilogue of the accumulator)

For hardware that runs thousands of iterations at a time and has no cache to share.
"""

from __future__ import annotations

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression
from tetragrad.tile.ir import Alloc, Statement, Tile
from tetragrad.tile.plans.products.contraction import Block, ContractionPlan
from tetragrad.tile.plans.products.micro_tiles import Corner, Places, Product, Region
from tetragrad.tile.plans.products.operands import Operand, Placed
from tetragrad.tile.plans.products.packing import pack
from tetragrad.tile.plans.scope import Builder, Scope, loop

# Space between the rows of a matrix unit's operands, so that eight neighbouring rows
# lie in different banks.
ROW_PADDING_BYTES = 16
# Pairs of operand tiles for a matrix unit: one in use, the others on their way.
STAGES = 3


def build_square(builder: Builder, plan: ContractionPlan) -> list[Statement]:
    """The grid of a contraction in squares."""
    return _Square(builder, plan).grid()


@frozen
class _Square(Product):
    """All sums of a grid iteration stay in registers."""

    def block(self, places: Places) -> list[Statement]:
        """One block of rows by one of columns."""
        lhs = self.operand("lhs", self.contraction.lhs, places.rows.block)
        rhs = self.operand("rhs", self.contraction.rhs, places.columns.block)
        pair = self.tiles(lhs, rhs)
        allocs: list[Statement] = [Alloc(tile) for tile in pair]
        is_overlapped = self.plan.narrow is not None or self.plan.overlaps
        if is_overlapped and not self.plan.depth.outer:
            return allocs + self.overlapped(places, lhs, rhs, pair)
        accumulator, statements = self.accumulator()

        def depth_block(inner: Scope, depth: Placed) -> list[Statement]:
            steps = pack(lhs, inner, depth, places.rows, pair[0])
            steps += pack(rhs, inner, depth, places.columns, pair[1])
            return [*steps, self.multiplied(accumulator, pair)]

        statements += self.depth_loops(places.scope, self.plan.depth.outer, depth_block)
        return allocs + statements + self.results(places, accumulator)

    def tiles(self, lhs: Operand, rhs: Operand) -> tuple[Tile, Tile]:
        """Tiles for both packed operands."""
        return (
            lhs.tile(self.builder, self.row_panels * self.plan.micro_rows),
            rhs.tile(self.builder, self.column_panels * self.plan.micro_columns),
        )

    def multiplied(self, accumulator: Tile, pair: tuple[Tile, Tile]) -> Statement:
        """Add the product of two packed blocks."""
        lhs, rhs = pair
        return self.product(accumulator, Region(lhs), Region(rhs))

    def results(self, places: Places, accumulator: Tile) -> list[Statement]:
        """Store what becomes of the sums."""
        return self.epilogue(places, accumulator, Corner(), Corner())

    def operand(self, name: str, value: Expression, side: Block) -> Operand:
        """How one operand is packed."""
        plan = self.plan
        padding = ROW_PADDING_BYTES // value.dtype.itemsize if plan.overlaps else 0
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
            lanes_along_side=True,
            at_once=True,
            padding=padding,
            turns=plan.overlaps,
        )

    def overlapped(
        self, places: Places, lhs: Operand, rhs: Operand, first: tuple[Tile, Tile]
    ) -> list[Statement]:
        """The same with several pairs of tiles: some are filled while one is used.

        For(round of STAGES steps)
          pack the step that is STAGES - 1 ahead,  multiply the first pair
          pack the step after that,                multiply the second pair, …

        Beyond the end of the depth, zeros are packed and never used.
        """
        depth, chunks = self.plan.depth, self.plan.depth.chunks(self.kernel)
        pairs = [first, *(self.tiles(lhs, rhs) for _ in range(1, STAGES))]
        accumulator, statements = self.accumulator()
        more = [Alloc(tile) for pair in pairs[1:] for tile in pair]
        statements = [*more, *statements]

        def packed(step: Affine, stage: int) -> list[Statement]:
            left, right = pairs[stage % STAGES]
            place = Placed(depth, step.scale(depth.chunk))
            steps = pack(lhs, places.scope, place, places.rows, left)
            return steps + pack(rhs, places.scope, place, places.columns, right)

        def one_round(form: Affine) -> list[Statement]:
            body: list[Statement] = []
            for stage in range(STAGES):
                ahead = stage + STAGES - 1
                body += packed(form.scale(STAGES).shift(ahead), ahead)
                body.append(self.multiplied(accumulator, pairs[stage]))
            return body

        for stage in range(STAGES - 1):
            statements += packed(Affine(stage), stage)
        statements += loop(self.builder, chunks // STAGES, one_round)
        for stage in range(chunks % STAGES):
            statements.append(self.multiplied(accumulator, pairs[stage]))
        return statements + self.results(places, accumulator)
