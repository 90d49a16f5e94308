"""The ways to compute a product by roles, and the blocks that each of them has.

Either factor may be the left operand, brought by the copy engine or computed by
threads. Whether a block's boxes fit, and how many stages there is room for, is found
out once for each block, also for the product in parts.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Iterator, Sequence

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Expression
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.products.contraction import Contraction
from tetragrad.tile.plans.roles.bulk import BulkOperand
from tetragrad.tile.plans.roles.cells import Cells, box_of
from tetragrad.tile.plans.roles.filled import FilledOperand, levels_of
from tetragrad.tile.plans.roles.role_cost import Block, Pricing
from tetragrad.tile.plans.roles.role_plan import (
    COLUMNS_SUMMED,
    MEMBER_ROWS,
    STEP_BYTES,
    Operand,
    RolePlan,
    RoleProduct,
    Sides,
    role_operand,
)
from tetragrad.tile.plans.roles.role_sizes import clusters_of, most_stages, with_sizes
from tetragrad.tile.plans.traffic import points_in

#: Operands that the unit multiplies. It sums the products of 8-bit ones coarsely.
MULTIPLIED = (
    dtypes.float16,
    dtypes.bfloat16,
    dtypes.float32,
    dtypes.float8_e4m3fn,
    dtypes.float8_e5m2,
    dtypes.int8,
    dtypes.uint8,
)
COLUMNS = (256, 224, 192, 160, 128, 96, 64, 48, 32, 24, 16, 8)
MEMBERS = (4, 2, 1)
MOST_MEMBERS = 2

#: Operands that threads can compute, and the columns of so many members whose sums fit
#: into equal shares of all registers, which a kernel begins with: beside a role that
#: computes operands, and where members hold one operand of so much depth.
FILLED = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.int8, dtypes.uint8)
COLUMNS_BESIDE_FILLING = {1: 192, 2: 128, 4: 16}
COLUMNS_BESIDE_HELD = {64: {1: 256, 2: 256, 4: 64}, 128: {1: 128, 2: 128, 4: 32}}
#: An operand with fewer neighbours in memory may be computed instead of brought.
FEW_NEIGHBOURS = 64

#: Rows and columns of a block, and their boxes.
Shape = tuple[int, int, tuple[int, ...], tuple[int, ...]]


class Way:
    """One of the ways to compute a product: which factor is the left operand, and how.

    What fits is found out once for each block, also for the product in parts.
    """

    def __init__(
        self, kernel: Kernel, product: RoleProduct, target: Target, *, swap: bool
    ) -> None:
        self.kernel = kernel
        self.product = product
        self.target = target
        self.swap = swap
        self.pricing = Pricing(kernel, product, target)
        #: How many neighbours may bring a cell of so many columns together.
        self.clusters = functools.cache(functools.partial(clusters_of, product))
        self._blocks: dict[tuple[int, tuple[int, ...], bool], list[Block]] = {}
        self._sized: dict[tuple[Block, int], RolePlan | None] = {}

    def divided(self, axis: int, parts: int, length: int) -> Way:
        """The same for parts of the depth."""
        way = copy.copy(self)
        way.pricing = self.pricing.divided(axis, parts, length)
        return way

    def blocks(self) -> Iterator[Block]:
        """Every block that the sides and the depth have boxes for."""
        for depth, is_held, shapes in self._shapes:
            deep = _depth_box(self.pricing.within, self.product, depth)
            if deep is None:
                continue
            key = depth, deep, is_held
            if key not in self._blocks:
                self._blocks[key] = [
                    Block(rows, columns, depth, down, across, deep, is_held)
                    for rows, columns, down, across in shapes
                ]
            yield from self._blocks[key]

    @functools.cached_property
    def _shapes(self) -> list[tuple[int, bool, list[Shape]]]:
        """For each depth of a step the rows and columns of blocks, with their boxes."""
        kernel, product = self.kernel, self.product
        itemsize = product.lhs.dtype.itemsize
        steps = [(STEP_BYTES // itemsize, False)]
        if product.filled == (True, False) and itemsize == 2:
            steps += [(depth, True) for depth in COLUMNS_BESIDE_HELD]
        row_box = functools.cache(functools.partial(_side_box, kernel, product.lhs))
        column_box = functools.cache(functools.partial(_side_box, kernel, product.rhs))
        found = []
        for depth, is_held in steps:
            shapes = []
            for rows, columns in _extents(kernel, product, depth if is_held else 0):
                down, across = row_box(rows), column_box(columns)
                if down is not None and across is not None:
                    shapes.append((rows, columns, down, across))
            found.append((depth, is_held, shapes))
        return found

    def sized(self, block: Block, sides: Sides) -> RolePlan | None:
        """The plan with a block, without its order; None where it does not fit."""
        if not _is_whole(self.product, sides.depth):
            return None
        key = block, most_stages(sides.depth)
        if key not in self._sized:
            fits = _fits(self.product, block, sides)
            self._sized[key] = self._with_sizes(block, sides) if fits else None
        return self._sized[key]

    def _with_sizes(self, block: Block, sides: Sides) -> RolePlan | None:
        product = self.product
        plan = RolePlan(
            self.swap,
            block.rows,
            block.columns,
            block.depth,
            members=block.members,
            stages=1,
            piece=0,
            group=1,
            workers=1,
            sums_steps=product.is_coarse,
            splits=product.splits,
            row_chunks=block.row_chunks,
            column_chunks=block.column_chunks,
            depth_chunks=block.depth_chunks,
            filled=product.filled,
            held=block.held,
            dtype=product.lhs.dtype,
        )
        return with_sizes(self.kernel, product, plan, sides, self.target)


def ways_of(kernel: Kernel, contraction: Contraction, target: Target) -> list[Way]:
    """All ways to compute a product, with either factor as the left operand."""
    dtype = multiplied_dtype(contraction, target)
    if dtype is None:
        return []
    left, right = both_ways(kernel, contraction, dtype)
    splits = splits_float32(dtype, target)
    if splits:
        left, right = _brought(left), _brought(right)
    found = [
        Way(kernel, RoleProduct(contraction, lhs, rhs, splits), target, swap=False)
        for lhs, rhs in itertools.product(left, right)
    ]
    turned = contraction.swapped()
    found += [
        Way(kernel, RoleProduct(turned, lhs, rhs, splits), target, swap=True)
        for lhs, rhs in itertools.product(right, left)
    ]
    return found


def multiplied_dtype(contraction: Contraction, target: Target) -> DType | None:
    """What the matrix unit multiplies, if it has products of these operands.

    Those of float32 it has in parts, unless the target allows it to ignore digits.
    """
    if not target.has_roles:
        return None
    lhs, rhs = levels_of(contraction.lhs), levels_of(contraction.rhs)
    accumulator = contraction.reduction.accumulator
    common = [
        dtype
        for dtype in lhs.keys() & rhs.keys()
        if dtype in MULTIPLIED
        and accumulator is (dtypes.int32 if dtype.is_integer else dtypes.float32)
    ]
    return min(common, key=lambda dtype: dtype.itemsize, default=None)


def splits_float32(dtype: DType, target: Target) -> bool:
    """Whether operands are multiplied in parts, as no digit of them may be lost."""
    return dtype is dtypes.float32 and "tf32" not in target.features


def _brought(ways: Sequence[Operand]) -> list[Operand]:
    """Those that nobody computes."""
    return [entry for entry in ways if isinstance(entry, BulkOperand)]


def both_ways(
    kernel: Kernel, contraction: Contraction, dtype: DType
) -> tuple[list[Operand], list[Operand]]:
    """How each factor gets to the unit: brought where that can be, or computed."""
    lhs, rhs = contraction.lhs, contraction.rhs
    return (
        list(_ways(kernel, contraction, lhs, contraction.rows, dtype)),
        list(_ways(kernel, contraction, rhs, contraction.columns, dtype)),
    )


def _ways(
    kernel: Kernel,
    contraction: Contraction,
    value: Expression,
    side: tuple[int, ...],
    dtype: DType,
) -> Iterator[Operand]:
    """An operand that is brought; or computed if it cannot be.

    What has few neighbours in memory wastes most of a box, so it may be computed too.
    """
    depth = contraction.depth
    brought = role_operand(kernel, value, side, depth, dtype, is_filled=False)
    if brought is not None:
        yield brought
        size = kernel.axes[brought.contiguous]
        if brought.is_deep or size >= FEW_NEIGHBOURS:
            return
    if dtype in FILLED:
        filled = role_operand(kernel, value, side, depth, dtype, is_filled=True)
        if filled is not None:
            yield filled


def _extents(
    kernel: Kernel, product: RoleProduct, held_depth: int
) -> Iterator[tuple[int, int]]:
    """Rows and columns that a block may have."""
    across = points_in(kernel, product.rhs.side)
    row_step, column_step = product.lhs.side_step, product.rhs.side_step
    is_filled = any(product.filled)
    for members in MEMBERS:
        rows, most = members * MEMBER_ROWS, max(COLUMNS)
        if held_depth:
            most = COLUMNS_BESIDE_HELD[held_depth][members]
        elif is_filled:
            most = COLUMNS_BESIDE_FILLING[members]
        elif members > MOST_MEMBERS:
            continue
        elif product.splits:
            # More sums and what is added to them would not fit into registers.
            most = COLUMNS_SUMMED
        if rows % row_step:
            continue
        most = min(most, 2 * max(8, across) - 1)
        for columns in COLUMNS:
            if columns <= most and columns % column_step == 0:
                yield rows, columns


def _side_box(kernel: Kernel, operand: Operand, extent: int) -> tuple[int, ...] | None:
    """The box for one side of a block: over all axes, or along neighbours only."""
    sizes = tuple(kernel.axes[axis] for axis in operand.side)
    if len(sizes) == 1 or operand.is_deep or isinstance(operand, FilledOperand):
        stored = [
            number
            for number, axis in enumerate(operand.side)
            if any(entry.address.coefficient(axis) == 1 for entry in kernel.outputs)
        ]
        return box_of(sizes, extent, stored[0] if stored else None)
    panel = panel_of(operand.dtype)
    size = kernel.axes[operand.contiguous]
    boxes = [box for box in range(panel, extent + 1, panel) if extent % box == 0]
    if not boxes:
        return None
    best = min(boxes, key=lambda box: (-(-size // box) * box, -box))
    return tuple(best if axis == operand.contiguous else 1 for axis in operand.side)


def _depth_box(
    kernel: Kernel, product: RoleProduct, extent: int
) -> tuple[int, ...] | None:
    """The box for a step: along neighbours of one operand, or else over all axes."""
    axes = product.depth
    deep = {
        entry.contiguous
        for entry in (product.lhs, product.rhs)
        if entry.is_deep and isinstance(entry, BulkOperand)
    }
    if len(deep) > 1:
        return None
    if deep:
        return tuple(extent if axis in deep else 1 for axis in axes)
    box = box_of(tuple(kernel.axes[axis] for axis in axes), extent)
    return box if box is not None and math.prod(box) == extent else None


def _fits(product: RoleProduct, block: Block, sides: Sides) -> bool:
    """Whether both operands have such boxes."""
    if block.held:
        held = product.lhs
        assert isinstance(held, FilledOperand)
        if not held.can_be_held((sides.depth, sides.rows)):
            return False
    for operand, cells in ((product.lhs, sides.rows), (product.rhs, sides.columns)):
        if not operand.takes(cells) or not operand.takes(sides.depth):
            return False
        moving = cells.moving | sides.depth.moving
        if any(len(entry.index.axes() & moving) > 1 for entry in operand.dimensions):
            return False
    return True


def _is_whole(product: RoleProduct, depth: Cells) -> bool:
    """Whether nothing of the depth is counted that is not there.

    Beyond the end of one of its axes both operands must be zero, whatever is in memory.
    """
    return all(
        size % chunk == 0
        or (product.lhs.has_plain(axis) and product.rhs.has_plain(axis))
        for axis, size, chunk in zip(depth.axes, depth.sizes, depth.chunks, strict=True)
    )
