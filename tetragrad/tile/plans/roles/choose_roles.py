"""Choose the blocks of a product by roles from sizes, and prove that they fit.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.products.choose_contraction import is_worth_packing
from tetragrad.tile.plans.products.contraction import Contraction
from tetragrad.tile.plans.roles.bulk import BulkOperand
from tetragrad.tile.plans.roles.cells import box_of
from tetragrad.tile.plans.roles.filled import FilledOperand, levels_of
from tetragrad.tile.plans.roles.role_cost import (
    Block,
    Pricing,
    ordinary_cycles,
)
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
from tetragrad.tile.plans.roles.role_sizes import clusters_of, with_sizes
from tetragrad.tile.plans.roles.split import SHALLOWEST
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

#: How often elements are read and what is multiplied at least if one side is narrow.
OFTEN = 8
ENOUGH_PRODUCTS = 1 << 24


def is_worth_roles(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether operands are used often enough, if only through many windows."""
    if is_worth_packing(kernel, contraction):
        return True
    axes = contraction.reduction.free_axes | set(contraction.reduction.axes)
    read = points_in(kernel, axes)
    elements = sum(
        kernel.slots[entry.slot].numel
        for entry in walk(contraction.reduction.body)
        if isinstance(entry, Load)
    )
    return read >= OFTEN * elements and read >= ENOUGH_PRODUCTS


def choose_roles(
    kernel: Kernel, contraction: Contraction, target: Target
) -> RolePlan | None:
    """The cheapest plan by roles, or None where the product is not made for them."""
    found = best_role_plan(kernel, contraction, target)
    return None if found is None else found[1]


@functools.lru_cache(maxsize=64)
def role_plans(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[tuple[float, RolePlan], ...]:
    """All plans by roles, with the cycles that the busiest worker takes."""
    search = _Search(kernel, target, keeps_all=True)
    search.go_through(contraction)
    return tuple(search.found)


def best_role_plan(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[float, RolePlan] | None:
    """The first of the cheapest plans by roles, with its cycles, if there is one.

    None also where ordinary arithmetic is faster or more exact.
    """
    found = cheapest_plan(kernel, contraction, target)
    if found is None or not is_worth_unit(kernel, contraction, found, target):
        return None
    return found


@functools.lru_cache(maxsize=64)
def cheapest_plan(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[float, RolePlan] | None:
    """The same, also where ordinary arithmetic would be better."""
    search = _Search(kernel, target, keeps_all=False)
    search.go_through(contraction)
    return search.found[-1] if search.found else None


def is_worth_unit(
    kernel: Kernel,
    contraction: Contraction,
    found: tuple[float, RolePlan],
    target: Target,
) -> bool:
    """Whether ordinary arithmetic is neither faster than a plan nor more exact."""
    cycles, plan = found
    if not plan.splits:
        return True
    if points_in(kernel, contraction.depth) < SHALLOWEST:
        return False
    return cycles < ordinary_cycles(kernel, contraction, target)


class _Search:
    """Goes through all blocks of a product for all plans, or for the cheapest one.

    What a plan costs follows from its block. Whether boxes fit, and how many stages
    there is room for, takes longer to find out, and is found out only for blocks that
    would be cheaper than the cheapest one before.
    """

    def __init__(self, kernel: Kernel, target: Target, *, keeps_all: bool) -> None:
        self.kernel = kernel
        self.target = target
        self.keeps_all = keeps_all
        #: The plans, each cheaper than those before it unless all are kept.
        self.found: list[tuple[float, RolePlan]] = []

    def is_wanted(self, cycles: float) -> bool:
        """Whether a plan that takes so long is worth a closer look."""
        return self.keeps_all or not self.found or cycles < self.found[-1][0]

    def go_through(self, contraction: Contraction) -> None:
        """All ways to compute a product, with either factor as the left operand."""
        dtype = multiplied_dtype(contraction, self.target)
        if dtype is None:
            return
        left, right = both_ways(self.kernel, contraction, dtype)
        splits = splits_float32(dtype, self.target)
        if splits:
            left, right = _brought(left), _brought(right)
        for lhs, rhs in itertools.product(left, right):
            self._product(RoleProduct(contraction, lhs, rhs, splits), swap=False)
        turned = contraction.swapped()
        for lhs, rhs in itertools.product(right, left):
            self._product(RoleProduct(turned, lhs, rhs, splits), swap=True)

    def _product(self, product: RoleProduct, *, swap: bool) -> None:
        pricing = Pricing(self.kernel, product, self.target)
        for block in _blocks(self.kernel, product):
            sides = pricing.sides(block)
            sized: RolePlan | None = None
            for cluster in clusters_of(product, sides.columns.extent):
                cycles = pricing.cycles_of(block, cluster)
                if not self.is_wanted(cycles):
                    continue
                sized = sized or self._sized(product, block, sides, swap=swap)
                if sized is None:
                    break
                order = pricing.order(block, sides, cluster)
                plan = replace(
                    sized, cluster=cluster, group=order.group, workers=order.workers
                )
                self.found.append((cycles, plan))

    def _sized(
        self, product: RoleProduct, block: Block, sides: Sides, *, swap: bool
    ) -> RolePlan | None:
        """The plan with a block, without its order; None where it does not fit."""
        if not _fits(product, block, sides):
            return None
        plan = RolePlan(
            swap,
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


def _blocks(kernel: Kernel, product: RoleProduct) -> Iterator[Block]:
    """Every block that the sides and the depth have boxes for."""
    itemsize = product.lhs.dtype.itemsize
    steps = [(STEP_BYTES // itemsize, False)]
    if product.filled == (True, False) and itemsize == 2:
        steps += [(depth, True) for depth in COLUMNS_BESIDE_HELD]
    row_box = functools.cache(functools.partial(_side_box, kernel, product.lhs))
    column_box = functools.cache(functools.partial(_side_box, kernel, product.rhs))
    for depth, is_held in steps:
        deep = _depth_box(kernel, product, depth)
        if deep is None:
            continue
        for rows, columns in _extents(kernel, product, depth if is_held else 0):
            down, across = row_box(rows), column_box(columns)
            if down is not None and across is not None:
                yield Block(rows, columns, depth, down, across, deep, is_held)


def _extents(
    kernel: Kernel, product: RoleProduct, held_depth: int
) -> Iterator[tuple[int, int]]:
    """Rows and columns that a block may have."""
    across = points_in(kernel, product.rhs.side)
    for members in MEMBERS:
        rows, most = members * MEMBER_ROWS, max(COLUMNS)
        if held_depth:
            most = COLUMNS_BESIDE_HELD[held_depth][members]
        elif any(product.filled):
            most = COLUMNS_BESIDE_FILLING[members]
        elif members > MOST_MEMBERS:
            continue
        elif product.splits:
            # More sums and what is added to them would not fit into registers.
            most = COLUMNS_SUMMED
        if rows % product.lhs.side_step:
            continue
        for columns in COLUMNS:
            if columns % product.rhs.side_step:
                continue
            if columns < 2 * max(8, across) and columns <= most:
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
    """Whether both operands have such boxes, and nothing is counted that is not there.

    Beyond the end of an axis of the depth both must be zero, whatever is in memory.
    """
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
    depth = sides.depth
    return all(
        size % chunk == 0
        or (product.lhs.has_plain(axis) and product.rhs.has_plain(axis))
        for axis, size, chunk in zip(depth.axes, depth.sizes, depth.chunks, strict=True)
    )
