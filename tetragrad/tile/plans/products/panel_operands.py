"""The operands of a contraction in panels: where each is packed, and how often.

One that several grid iterations use is packed once, by a grid of its own that runs
before (:class:`Whole`), if memory has room for it. Others are packed by each block, or
read where they are.
"""

from __future__ import annotations

from functools import cached_property

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.kernel.expression import Expression
from tetragrad.tile.ir import Grid, Space, Statement, Tile
from tetragrad.tile.plans.products.contraction import (
    Block,
    Panels,
    Supply,
    cut_evenly,
)
from tetragrad.tile.plans.products.dot_steps import packed_lhs, packed_rhs
from tetragrad.tile.plans.products.kept import kept_panels
from tetragrad.tile.plans.products.micro_tiles import Product
from tetragrad.tile.plans.products.operands import Operand, Placed, Window
from tetragrad.tile.plans.products.packing import pack

# Row panels packed together, where memory runs along the rows: whole cache lines.
LARGEST_GROUP = 8

# The most bytes of an operand that is packed as a whole.
LARGEST_PACKED = 64 << 20


@frozen
class Packed:
    """The operands of a grid iteration, and the tiles they are packed into."""

    lhs: Operand
    rhs: Operand
    lhs_tile: Tile
    rhs_tile: Tile
    gathered: Tile | None
    shifts: Tile | None
    whole_lhs: Whole | None
    whole_rhs: Whole | None


@frozen
class Whole:
    """How the panels of all blocks of an operand lie in one tile.

    Depth blocks come first, then the blocks of the side, each of ``panels`` panels.
    """

    blocks: int
    panels: int

    def first(self, depth: Placed, side: Placed) -> Affine:
        """The number of a block's first panel."""
        return (depth.number.scale(self.blocks) + side.number).scale(self.panels)


@frozen
class PanelOperands(Product):
    """A product whose operands lie in panels, or where they are."""

    def cut(self, block: Block, width: int) -> Panels:
        if block is self.plan.columns and self.plan.rhs is Supply.KEPT:
            # They lie where they were packed, and none begins inside of another.
            return Panels(block.size(self.kernel), width)
        return cut_evenly(self.kernel, self.contraction, block, width)

    # --- operands ----------------------------------------------------------------

    @cached_property
    def packed(self) -> Packed:
        """How both operands are packed, and where to."""
        plan, contraction = self.plan, self.contraction
        lhs = self.operand("lhs", contraction.lhs, self.row_cut, plan.lhs)
        rhs = self.operand("rhs", contraction.rhs, self.column_cut, plan.rhs)
        whole_lhs = self.whole(lhs, self.row_panels, plan.columns)
        whole_rhs = self.whole(rhs, self.column_panels, plan.rows)
        lhs_panels = self.group_of(lhs)
        return Packed(
            lhs,
            rhs,
            self.operand_tile(lhs, whole_lhs, lhs_panels * plan.micro_rows),
            self.operand_tile(rhs, whole_rhs, self.column_panels * plan.micro_columns),
            self.gathering_tile(),
            self.shifts_tile(),
            whole_lhs,
            whole_rhs,
        )

    def whole(self, operand: Operand, panels: int, others: Block) -> Whole | None:
        """How all of an operand is packed, if that is worth it.

        It is if there are several blocks of the other side, each of which would pack
        it again. Where memory runs along the depth as panels do, packing them again
        is faster than reading them from far away.
        """
        count = others.chunks(self.kernel)
        for axis in others.outer:
            count *= self.kernel.axes[axis]
        if count == 1 or not operand.panel or operand.is_by_depth or operand.kept:
            return None
        blocks = operand.side.chunks(self.kernel)
        for axis in (*self.plan.batch, *operand.side.outer):
            blocks *= self.kernel.axes[axis]
        group = self.packing_group(operand, panels)
        whole = Whole(blocks, -(-panels // group) * group)
        elements = self.depth_steps * blocks * whole.panels * operand.panel
        elements *= self.plan.depth.size(self.kernel)
        too_large = elements * operand.value.dtype.itemsize > LARGEST_PACKED
        return None if too_large else whole

    def operand_tile(self, operand: Operand, whole: Whole | None, side: int) -> Tile:
        """The tile for what is packed of an operand at a time, or for all of it."""
        if self.is_in_place(operand):
            return operand.view(self.builder)
        if whole is None:
            return operand.tile(self.builder, side)
        panels = self.depth_steps * whole.blocks * whole.panels
        tile = operand.tile(self.builder, panels * operand.panel, Space.GLOBAL)
        self.builder.scratch.append(tile)
        return tile

    def is_in_place(self, operand: Operand) -> bool:
        """Whether an operand is read where it is."""
        supply = self.plan.lhs if operand.name == "lhs" else self.plan.rhs
        return supply in (Supply.IN_PLACE, Supply.KEPT)

    def packing_group(self, operand: Operand, panels: int) -> int:
        """Panels that one iteration packs: as many as share lines of memory."""
        return min(LARGEST_GROUP, panels)

    def packing_grid(
        self, operand: Operand, tile: Tile, whole: Whole
    ) -> list[Statement]:
        """The grid that packs all blocks of an operand."""
        walk, side = self.batches().over_blocks(operand.side)
        walk, depth = replace(walk, number=ZERO).over_blocks(self.plan.depth)
        size = self.packing_group(operand, whole.panels)
        walk, group = walk.opened(whole.panels // size)
        first = group.scale(size)
        into = whole.first(depth, side) + first
        window = Window(first, size, into)
        side = replace(side, window=window)
        body = pack(operand, walk.scope, depth, side, tile)
        return [Grid(walk.extents, tuple(body))]

    def operand(
        self, name: str, value: Expression, cut: Panels, supply: Supply
    ) -> Operand:
        """How one operand is packed: in panels, if its positions are one run."""
        plan = self.plan
        side = plan.rows if name == "lhs" else plan.columns
        if plan.dot is not None:
            packed = packed_lhs if name == "lhs" else packed_rhs
            value = packed(value, plan.dot)
        whole = Operand(
            name,
            self.kernel,
            value,
            plan.depth,
            side,
            plan.lanes * plan.group,
            lanes_along_side=name == "rhs",
            group=plan.group,
            fetches=supply is Supply.FETCHED,
            by_depth=plan.dot is not None and plan.dot.is_by_tiles,
        )
        if supply is Supply.IN_PLACE:
            return whole
        if supply is Supply.KEPT:
            return replace(whole, cut=cut, kept=kept_panels(value))
        return replace(whole, cut=cut) if len(whole.side_runs) == 1 else whole

    def group_of(self, lhs: Operand) -> int:
        """Row panels that are packed together.

        Where memory runs along the depth one panel is enough; where it runs along
        the rows, some at once use whole cache lines.
        """
        if not lhs.panel:
            return self.row_panels
        if lhs.is_by_depth:
            return 1
        return largest_divisor(self.row_panels, LARGEST_GROUP)

    def gathering_tile(self) -> Tile | None:
        """A tile for a block of results, one micro-tile after the other.

        With a single block of the depth, in parts, they all use the same place.
        """
        if self.depth_steps == self.plan.parts == 1:
            return None
        rows = self.plan.micro_rows
        if self.depth_steps > 1:
            rows *= self.row_panels * self.column_panels
        dtype = self.contraction.reduction.accumulator
        shape = (rows, self.plan.micro_columns)
        return self.builder.tile("gathered", shape, dtype, Space.SHARED)

    def shifts_tile(self) -> Tile | None:
        """A tile for what the sums of each column start from, if rows are moved up."""
        dot = self.plan.dot
        if dot is None or not dot.is_shifted:
            return None
        shape = (self.column_panels, self.plan.micro_columns)
        return self.builder.tile("shifts", shape, dot.step.total, Space.SHARED)


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor up to a limit."""
    return max(part for part in range(1, most + 1) if number % part == 0)
