"""Choose the blocks of a product by roles from sizes, and prove that they fit.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Load
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.prepare.cuts import Cut, apply_cut
from tetragrad.tile.plans.products.choose_contraction import is_worth_packing
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.rewrite import walk_until
from tetragrad.tile.plans.roles.bulk import ALIGNMENT_BYTES, BulkOperand
from tetragrad.tile.plans.roles.cells import box_of, split_radices
from tetragrad.tile.plans.roles.filled import FilledOperand, levels_of
from tetragrad.tile.plans.roles.role_cost import (
    LAUNCH_CYCLES,
    MEMORY_BYTES_PER_CYCLE,
    cycles_of,
)
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    STEP_BYTES,
    Operand,
    RolePlan,
    RoleProduct,
    Sides,
    is_along_rows,
    is_result,
    raster_of,
    role_product,
    sides_of,
    staged_pitch,
)
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
#: Two sets of sums must fit into a thread's registers where steps are summed apart,
#: with room to issue one product while another is added up: 192 columns ran at a third.
MOST_COLUMNS_SUMMED = 128

COLUMNS = (256, 224, 192, 160, 128, 96, 64, 48, 32, 24, 16, 8)
MEMBERS = (2, 1)
MOST_STAGES = 8
#: Shared memory that is left for staged results when stages are counted, and what the
#: channel's barriers take.
STAGING_BYTES = 20 * 1024
BARRIER_BYTES = 1024
CLUSTERS = (1, 2)
#: Bytes of row operands that a group reads again for every column block: so many stay
#: in the second-level cache beside the columns, or four times that if it is all rows.
GROUP_BYTES = 8 << 20

#: Operands that threads can compute, the slots that these have, and the columns of so
#: many members whose sums fit into equal shares of all registers: a kernel begins so.
FILLED = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.int8, dtypes.uint8)
FILLED_STAGES = 3
COLUMNS_BESIDE_FILLING = {1: 192, 2: 128}
#: An operand with fewer neighbours in memory may be computed instead of brought.
FEW_NEIGHBOURS = 64

#: How often elements are read and what is multiplied at least if one side is narrow.
OFTEN = 8
ENOUGH_PRODUCTS = 1 << 24

#: Results for each multiprocessor that are work enough without cutting the depth.
ENOUGH_RESULTS = 128 * 128
#: Parts that a depth is cut into, about.
PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def is_worth_roles(kernel: Kernel, contraction: Contraction) -> bool:
    """Whether operands are used often enough, if only through many windows."""
    if is_worth_packing(kernel, contraction):
        return True
    axes = contraction.reduction.free_axes | set(contraction.reduction.axes)
    read = points_in(kernel, axes)
    elements = sum(
        kernel.slots[entry.slot].numel
        for entry in walk_until({}, contraction.reduction.body)
        if isinstance(entry, Load)
    )
    return read >= OFTEN * elements and read >= ENOUGH_PRODUCTS


def choose_roles(
    kernel: Kernel, contraction: Contraction, target: Target
) -> RolePlan | None:
    """The cheapest plan by roles, or None where the product is not made for them."""
    plans = role_plans(kernel, contraction, target)
    if not plans:
        return None
    return min(plans, key=lambda entry: entry[0])[1]


def role_parts(
    kernel: Kernel, number: int, contraction: Contraction, target: Target
) -> tuple[int, int] | None:
    """An axis of the depth, and the parts to cut it into so that all units have work.

    One part where that is best; None where the product is not made for roles.
    """
    plans = role_plans(kernel, contraction, target)
    if not plans:
        return None
    results = points_in(kernel, contraction.reduction.free_axes)
    if results >= target.units * ENOUGH_RESULTS:
        return (0, 1)
    moved = 2 * results * contraction.reduction.accumulator.itemsize
    best, fewest = (0, 1), min(cycles for cycles, _ in plans)
    for axis, parts in _divisions(kernel, contraction, target):
        adding = 2 * parts * moved / MEMORY_BYTES_PER_CYCLE + LAUNCH_CYCLES
        if adding >= fewest:
            break
        first, _ = apply_cut(kernel, Cut(number, axis, parts))
        inner = hosted_contraction(first, guarded=True)
        if inner is None:
            continue
        plans = role_plans(first, inner, target)
        cycles = adding + min((cycles for cycles, _ in plans), default=math.inf)
        if cycles < fewest:
            best, fewest = (axis, parts), cycles
    return best


def _divisions(
    kernel: Kernel, contraction: Contraction, target: Target
) -> Iterator[tuple[int, int]]:
    """Axes of the depth and parts to divide them into, each of whole steps.

    The last part may be shorter.
    """
    dtype = multiplied_dtype(contraction, target)
    assert dtype is not None, "there are plans"
    product = next(_products(kernel, contraction, dtype))
    step = STEP_BYTES // product.lhs.dtype.itemsize
    depth = contraction.depth
    # What moves furthest through memory: images before lines, not taps of a filter.
    axis = max(depth, key=lambda axis: _reach(product, axis))
    size = kernel.axes[axis]
    unit = step if len(depth) == 1 else 1
    seen = set()
    for wanted in PARTS:
        length = -(-size // (wanted * unit)) * unit
        parts = -(-size // length)
        if parts > 1 and parts not in seen and parts * length - size < length:
            seen.add(parts)
            yield axis, parts


def _reach(product: RoleProduct, axis: int) -> int:
    """How far an axis moves through the operands."""
    return sum(
        abs(operand.load.address.coefficient(axis))
        for operand in (product.lhs, product.rhs)
    )


@functools.lru_cache(maxsize=64)
def role_plans(
    kernel: Kernel, contraction: Contraction, target: Target
) -> tuple[tuple[float, RolePlan], ...]:
    """All plans by roles, with the cycles that the busiest worker takes."""
    dtype = multiplied_dtype(contraction, target)
    if dtype is None:
        return ()
    found = []
    for swap in (False, True):
        chosen = contraction.swapped() if swap else contraction
        for product in _products(kernel, chosen, dtype):
            for plan in _plans(kernel, product, target, swap=swap):
                found.append((cycles_of(kernel, product, plan), plan))
    return tuple(found)


def multiplied_dtype(contraction: Contraction, target: Target) -> DType | None:
    """What the matrix unit multiplies, if it has products of these operands."""
    if "wgmma" not in target.features:
        return None
    lhs, rhs = levels_of(contraction.lhs), levels_of(contraction.rhs)
    accumulator = contraction.reduction.accumulator
    common = [
        dtype
        for dtype in lhs.keys() & rhs.keys()
        if dtype in MULTIPLIED
        and accumulator is (dtypes.int32 if dtype.is_integer else dtypes.float32)
        and (dtype is not dtypes.float32 or "tf32" in target.features)
    ]
    return min(common, key=lambda dtype: dtype.itemsize, default=None)


def _products(
    kernel: Kernel, contraction: Contraction, dtype: DType
) -> Iterator[RoleProduct]:
    """The ways to get operands to the unit: brought where that can be, or computed.

    What has few neighbours in memory wastes most of a box, so it may be computed too.
    """
    for filled in itertools.product((False, True), repeat=2):
        product = role_product(kernel, contraction, dtype, filled)
        if product is None:
            continue
        sides = ((contraction.rows, filled[0]), (contraction.columns, filled[1]))
        if any(filled) and dtype not in FILLED:
            continue
        if all(
            not is_filled or _is_worth_filling(kernel, contraction, dtype, number)
            for number, (_, is_filled) in enumerate(sides)
        ):
            yield product


def _is_worth_filling(
    kernel: Kernel, contraction: Contraction, dtype: DType, number: int
) -> bool:
    """Whether an operand cannot be brought, or only with few neighbours."""
    brought = role_product(kernel, contraction, dtype, (number != 0, number != 1))
    if brought is None:
        return True
    operand = (brought.lhs, brought.rhs)[number]
    return not operand.is_deep and kernel.axes[operand.contiguous] < FEW_NEIGHBOURS


def _plans(
    kernel: Kernel, product: RoleProduct, target: Target, *, swap: bool
) -> Iterator[RolePlan]:
    """Every block size that fits, with its stages and its order of blocks."""
    itemsize = product.lhs.dtype.itemsize
    depth = STEP_BYTES // itemsize
    depth_chunks = _depth_box(kernel, product, depth)
    if depth_chunks is None:
        return
    for rows, columns in _blocks(kernel, product):
        chunks = _side_box(kernel, product.lhs, rows)
        across = _side_box(kernel, product.rhs, columns)
        if chunks is None or across is None:
            continue
        plan = RolePlan(
            swap,
            rows,
            columns,
            depth,
            members=rows // MEMBER_ROWS,
            stages=1,
            piece=0,
            group=1,
            workers=1,
            sums_steps=_is_coarse(product.lhs.dtype),
            row_chunks=chunks,
            column_chunks=across,
            depth_chunks=depth_chunks,
            filled=product.filled,
            dtype=product.lhs.dtype,
        )
        sides = sides_of(kernel, product, plan)
        if _fits(product, sides):
            yield from _filled(kernel, product, plan, sides, target)


def _is_coarse(dtype: dtypes.DType) -> bool:
    """Whether the unit's own sums of products of this dtype are coarse."""
    return dtype.itemsize == 1 and dtype.is_floating_point


def _blocks(kernel: Kernel, product: RoleProduct) -> Iterator[tuple[int, int]]:
    """Rows and columns that a block may have."""
    across = points_in(kernel, product.rhs.side)
    for members in MEMBERS:
        rows = members * MEMBER_ROWS
        for columns in COLUMNS:
            if rows % product.lhs.side_step or columns % product.rhs.side_step:
                continue
            if columns >= 2 * max(8, across):
                continue
            if _is_coarse(product.lhs.dtype) and columns > MOST_COLUMNS_SUMMED:
                continue
            if any(product.filled) and columns > COLUMNS_BESIDE_FILLING[members]:
                continue
            yield rows, columns


def _side_box(kernel: Kernel, operand: Operand, extent: int) -> tuple[int, ...] | None:
    """The box for one side of a block: over all axes, or along neighbours only."""
    sizes = tuple(kernel.axes[axis] for axis in operand.side)
    if len(sizes) == 1 or operand.is_deep or isinstance(operand, FilledOperand):
        return box_of(sizes, extent)
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


def _fits(product: RoleProduct, sides: Sides) -> bool:
    """Whether both operands have such boxes, and nothing is counted that is not there.

    Beyond the end of an axis of the depth both must be zero, whatever is in memory.
    """
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


def _filled(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides, target: Target
) -> Iterator[RolePlan]:
    """The plan with as many stages as fit, alone and with neighbours."""
    copied, computed = slot_bytes(product, plan, sides)
    free = target.shared_bytes - BARRIER_BYTES
    if computed:
        plan = replace(plan, filled_stages=FILLED_STAGES)
        free -= FILLED_STAGES * computed
    steps = sides.depth.blocks
    stages = min(MOST_STAGES, max(2, steps))
    if copied:
        stages = min(stages, (free - STAGING_BYTES) // copied)
        free -= stages * copied
    if stages < 1:
        return
    plan = replace(plan, stages=stages)
    piece = _piece(kernel, product, plan, sides, free)
    if not piece:
        return
    for cluster in CLUSTERS:
        if sides.columns.extent % (cluster * product.rhs.side_step):
            continue
        if cluster > 1 and any(product.filled):
            # Each would compute the columns for itself.
            continue
        sized = replace(plan, piece=piece, cluster=cluster)
        yield _in_order(kernel, product, sized, sides, target)


def slot_bytes(product: RoleProduct, plan: RolePlan, sides: Sides) -> tuple[int, int]:
    """Bytes of a step that the copy engine brings, and that threads compute."""
    copied = computed = 0
    for operand, cells, extent in (
        (product.lhs, sides.rows, plan.rows),
        (product.rhs, sides.columns, plan.columns),
    ):
        if isinstance(operand, BulkOperand):
            copied += extent * STEP_BYTES
            continue
        computed += extent * STEP_BYTES
        if operand.narrow is not None and operand.brings((sides.depth, cells)):
            copied += extent * plan.depth * operand.narrow.dtype.itemsize
    return copied, computed


def _piece(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides, free: int
) -> int:
    """The most columns of results that can be staged at once."""
    if split_radices(sides.rows.radices, MEMBER_ROWS) is None:
        return 0
    for count in range(1, plan.columns // 8 + 1):
        piece, rest = divmod(plan.columns, count)
        if rest or piece % 8 or split_radices(sides.columns.radices, piece) is None:
            continue
        if piece & (piece - 1) and not _begin_evenly(kernel, product):
            # Threads write such rows one element each, side by side.
            continue
        sized = replace(plan, piece=piece)
        needed = sum(
            _staged_bytes(
                sized,
                kernel.slots[output.slot].dtype,
                along_rows=is_along_rows(output, product),
            )
            for output in kernel.outputs
            if is_result(output, product)
        )
        if needed <= free:
            return piece
    return 0


def _begin_evenly(kernel: Kernel, product: RoleProduct) -> bool:
    """Whether all results begin where memory takes several elements at once."""
    for output in kernel.outputs:
        unit = ALIGNMENT_BYTES // kernel.slots[output.slot].dtype.itemsize
        steps = [
            abs(output.address.coefficient(axis))
            for axis in (*product.lhs.side, *product.rhs.side)
        ]
        if any(step % unit for step in steps if step != 1):
            return False
    return True


def _staged_bytes(plan: RolePlan, dtype: dtypes.DType, *, along_rows: bool) -> int:
    pitch = staged_pitch(plan, dtype.itemsize, along_rows=along_rows)
    runs = plan.piece if along_rows else plan.member_rows
    return plan.members * runs * pitch * dtype.itemsize


def _in_order(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides, target: Target
) -> RolePlan:
    """The plan with groups of rows and as many workers as there is work for."""
    depth = points_in(kernel, product.depth) * product.lhs.dtype.itemsize
    raster = raster_of(product.contraction, kernel, sides, plan)
    group = group_of(raster.rows, plan.rows * depth)
    raster = replace(raster, group=group)
    workers = min(target.units // plan.cluster, raster.blocks)
    return replace(plan, group=group, workers=workers)


def group_of(rows: int, nbytes: int) -> int:
    """Row blocks of a group, of so many bytes each: all of them, or what stays near.

    The last group should overhang by few.
    """
    if rows * nbytes <= 4 * GROUP_BYTES:
        return rows
    most = min(rows, max(2, GROUP_BYTES // nbytes))
    least = max(1, most // 2)
    return min(range(most, least - 1, -1), key=lambda group: -(-rows // group) * group)
