"""Choose the blocks of a product by roles from sizes, and prove that they fit.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import replace

from tetragrad.core import dtypes
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.prepare.cuts import Cut, apply_cut
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.roles.bulk import ALIGNMENT_BYTES, BulkOperand, plain_load
from tetragrad.tile.plans.roles.cells import box_of, split_radices
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    RolePlan,
    RoleProduct,
    Sides,
    is_along_rows,
    is_result,
    raster_of,
    role_product,
    sides_of,
    skipped_dimensions,
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
STEP_BYTES = 128
MOST_STAGES = 8
#: Shared memory that is left for staged results when stages are counted, and what the
#: channel's barriers take.
STAGING_BYTES = 20 * 1024
BARRIER_BYTES = 1024
CLUSTERS = (1, 2)
#: Bytes of row operands that a group reads again for every column block: so many stay
#: in the second-level cache beside the columns, or four times that if it is all rows.
GROUP_BYTES = 8 << 20

#: Results for each multiprocessor that are work enough without cutting the depth.
ENOUGH_RESULTS = 128 * 128
#: Parts that a depth is cut into, about, what a second launch takes, and what moves
#: through memory in a cycle, on the whole device.
PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
LAUNCH_CYCLES = 4000
MEMORY_BYTES_PER_CYCLE = 2400

MULTIPLICATIONS_PER_CYCLE = 2048
#: Bytes in a cycle, of one multiprocessor: to and from its shared memory, and from the
#: second-level cache; so much longer where rows begin in the middle of its lines.
SHARED_BYTES_PER_CYCLE = 128
CACHE_BYTES_PER_CYCLE = 48
LINE_BYTES = 128
UNALIGNED = 1.75
STORED_PER_CYCLE = 24
#: What a step takes at least where only one member multiplies: nobody else does while
#: it waits (64 x 128 blocks took as long as 128 x 128 ones).
ALONE_CYCLES = 580
#: What every block takes to begin, and what neighbours take to find one another.
BLOCK_CYCLES = 600
CLUSTER_CYCLES = 2500


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
    for axis, parts in _divisions(kernel, contraction):
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


def _divisions(kernel: Kernel, contraction: Contraction) -> Iterator[tuple[int, int]]:
    """Axes of the depth and parts to divide them into, each of whole steps.

    The last part may be shorter.
    """
    product = role_product(kernel, contraction)
    assert product is not None, "there are plans"
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
    if not multiplies(contraction, target):
        return ()
    found = []
    for swap in (False, True):
        chosen = contraction.swapped() if swap else contraction
        product = role_product(kernel, chosen)
        if product is None:
            return ()
        for plan in _plans(kernel, product, target, swap=swap):
            found.append((_cycles(kernel, product, plan), plan))
    return tuple(found)


def multiplies(contraction: Contraction, target: Target) -> bool:
    """Whether the matrix unit has products of these operands, summed so."""
    if "wgmma" not in target.features:
        return False
    loads = [plain_load(operand) for operand in (contraction.lhs, contraction.rhs)]
    if None in loads:
        return False
    dtype, other = (load.dtype for load in loads if load is not None)
    if dtype is dtypes.float32 and "tf32" not in target.features:
        return False
    total = dtypes.int32 if dtype.is_integer else dtypes.float32
    is_summed = contraction.reduction.accumulator is total
    return is_summed and dtype is other and dtype in MULTIPLIED


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
            yield rows, columns


def _side_box(
    kernel: Kernel, operand: BulkOperand, extent: int
) -> tuple[int, ...] | None:
    """The box for one side of a block: over all axes, or along neighbours only."""
    sizes = tuple(kernel.axes[axis] for axis in operand.side)
    if len(sizes) == 1 or operand.is_deep:
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
    deep = {entry.contiguous for entry in (product.lhs, product.rhs) if entry.is_deep}
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
    slot = (plan.rows + plan.columns) * STEP_BYTES
    free = target.shared_bytes - BARRIER_BYTES
    steps = sides.depth.blocks
    stages = min(MOST_STAGES, (free - STAGING_BYTES) // slot, max(2, steps))
    plan = replace(plan, stages=stages)
    piece = _piece(kernel, product, plan, sides, free - stages * slot)
    if not piece:
        return
    for cluster in CLUSTERS:
        if sides.columns.extent % (cluster * product.rhs.side_step):
            continue
        sized = replace(plan, piece=piece, cluster=cluster)
        yield _in_order(kernel, product, sized, sides, target)


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


def _cycles(kernel: Kernel, product: RoleProduct, plan: RolePlan) -> float:
    """How long the busiest worker takes."""
    sides = sides_of(kernel, product, plan)
    raster = raster_of(product.contraction, kernel, sides, plan)
    turns = -(-raster.blocks // plan.workers)
    steps = sides.depth.blocks * _live_part(kernel, product, plan, sides)
    storing = plan.rows * plan.columns * len(kernel.outputs) / STORED_PER_CYCLE
    if any(is_along_rows(output, product) for output in kernel.outputs):
        storing *= 1.25
    block = steps * _step_cycles(kernel, product, plan) + storing + BLOCK_CYCLES
    # However it is cut, every operand must come from memory. Of plans that wait for
    # memory alike, those are better that do less besides.
    memory = (product.lhs.nbytes + product.rhs.nbytes) / MEMORY_BYTES_PER_CYCLE
    slowest = max(turns * block, memory) + turns * block / 16
    return slowest + (CLUSTER_CYCLES if plan.cluster > 1 else 0)


def _live_part(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides
) -> float:
    """The part of all steps that is not skipped because it would bring zeros."""
    part = 1.0
    for dimension in skipped_dimensions(kernel, product, sides, plan):
        axes = sorted(dimension.index.axes())
        ranges = (range(kernel.axes[axis]) for axis in axes)
        steps = [dimension.index.coefficient(axis) for axis in axes]
        indices = [
            dimension.index.constant + sum(map(operator.mul, steps, place))
            for place in itertools.product(*ranges)
        ]
        inside = sum(0 <= index < dimension.size for index in indices)
        part *= inside / len(indices)
    return part


def _step_cycles(kernel: Kernel, product: RoleProduct, plan: RolePlan) -> float:
    """The slowest part of a step: products, shared memory, or the cache."""
    rate = MULTIPLICATIONS_PER_CYCLE * 2 / product.lhs.dtype.itemsize
    multiplying = plan.rows * max(plan.columns, 32) * plan.depth / rate
    # Every 64 rows read the columns again; all that is read was written before.
    parts = plan.rows // MEMBER_ROWS
    touched = parts * (MEMBER_ROWS + plan.columns) + plan.rows + plan.columns
    sharing = touched * STEP_BYTES / SHARED_BYTES_PER_CYCLE
    brought = plan.rows * _line_cost(product.lhs)
    brought += plan.columns / plan.cluster * _line_cost(product.rhs)
    bringing = brought * STEP_BYTES / CACHE_BYTES_PER_CYCLE
    is_alone = plan.members == 1 and points_in(kernel, product.lhs.side) > plan.rows
    waiting = ALONE_CYCLES if is_alone else 0
    return max(multiplying, sharing, bringing, waiting)


def _line_cost(operand: BulkOperand) -> float:
    """How much longer an operand takes than one whose rows begin with a line."""
    begins = all(pitch % LINE_BYTES == 0 for pitch in operand.pitches)
    return 1.0 if begins else UNALIGNED
