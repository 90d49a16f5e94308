"""Choose the blocks of a product by roles from sizes, and prove that they fit.

Times are in cycles of one multiprocessor. The figures are those of NVIDIA's Hopper
architecture; for another one they belong into its ``Target``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace

from tetragrad.core import dtypes
from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.expression import Compute
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.bulk import BulkOperand
from tetragrad.tile.plans.contraction import (
    Contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.cuts import Cut, apply_cut
from tetragrad.tile.plans.roles import (
    MEMBER_ROWS,
    Raster,
    RolePlan,
    RoleProduct,
    is_along_rows,
    role_product,
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
#: Parts that a depth is cut into at most, what a second launch takes, and what moves
#: through memory in a cycle, on the whole device.
MOST_PARTS = 64
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
) -> int:
    """Into how many parts to cut the depth, so that all multiprocessors have work.

    0 where the product is not made for roles.
    """
    plans = role_plans(kernel, contraction, target)
    if not plans:
        return 0
    (depth,) = contraction.depth
    size = kernel.axes[depth]
    results = points_in(kernel, contraction.reduction.free_axes)
    if results >= target.units * ENOUGH_RESULTS:
        return 1
    product = role_product(kernel, contraction)
    assert product is not None, "there are plans"
    step = STEP_BYTES // product.lhs.dtype.itemsize
    best, fewest = 1, min(cycles for cycles, _ in plans)
    parts = 2
    while size % parts == 0 and size // parts % step == 0 and parts <= MOST_PARTS:
        first, _ = apply_cut(kernel, Cut(number, depth, parts))
        inner = hosted_contraction(first)
        assert inner is not None, "a part of a product is a product"
        plans = role_plans(first, inner, target)
        moved = 2 * parts * results * inner.reduction.dtype.itemsize
        cycles = min((cycles for cycles, _ in plans), default=fewest)
        cycles += 2 * moved / MEMORY_BYTES_PER_CYCLE + LAUNCH_CYCLES
        if cycles < fewest:
            best, fewest = parts, cycles
        parts *= 2
    return best


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
    """Whether the matrix unit has products of these operands, summed in float32."""
    if "wgmma" not in target.features:
        return False
    if contraction.reduction.accumulator is not dtypes.float32:
        return False
    dtype, other = (
        operand.inputs[0].dtype
        if isinstance(operand, Compute) and operand.op is Cast
        else operand.dtype
        for operand in (contraction.lhs, contraction.rhs)
    )
    if dtype is dtypes.float32 and "tf32" not in target.features:
        return False
    return dtype is other and dtype in MULTIPLIED


def _plans(
    kernel: Kernel, product: RoleProduct, target: Target, *, swap: bool
) -> Iterator[RolePlan]:
    """Every block size that fits, with its stages and its order of blocks."""
    itemsize = product.lhs.dtype.itemsize
    depth = STEP_BYTES // itemsize
    steps = -(-kernel.axes[product.depth] // depth)
    for members in MEMBERS:
        rows = members * MEMBER_ROWS
        for columns in COLUMNS:
            if rows % product.lhs.side_step or columns % product.rhs.side_step:
                continue
            if columns >= 2 * max(8, kernel.axes[product.column]):
                continue
            if itemsize == 1 and columns > MOST_COLUMNS_SUMMED:
                continue
            slot = (rows + columns) * STEP_BYTES
            free = target.shared_bytes - BARRIER_BYTES
            stages = min(MOST_STAGES, (free - STAGING_BYTES) // slot, max(2, steps))
            plan = RolePlan(swap, rows, columns, depth, members, stages, 0, 1, 1)
            piece = _piece(kernel, product, plan, free - stages * slot)
            for cluster in CLUSTERS if piece else ():
                if columns % (cluster * product.rhs.side_step):
                    continue
                sized = replace(
                    plan, piece=piece, cluster=cluster, sums_steps=itemsize == 1
                )
                yield _in_order(kernel, product, sized, target)


def _piece(kernel: Kernel, product: RoleProduct, plan: RolePlan, free: int) -> int:
    """The most columns of results that can be staged at once."""
    for count in range(1, plan.columns // 8 + 1):
        piece, rest = divmod(plan.columns, count)
        if rest or piece % 8:
            continue
        sized = replace(plan, piece=piece)
        needed = sum(
            _staged_bytes(
                sized,
                kernel.slots[output.slot].dtype,
                along_rows=is_along_rows(output, product),
            )
            for output in kernel.outputs
        )
        if needed <= free:
            return piece
    return 0


def _staged_bytes(plan: RolePlan, dtype: dtypes.DType, *, along_rows: bool) -> int:
    pitch = staged_pitch(plan, dtype.itemsize, along_rows=along_rows)
    runs = plan.piece if along_rows else plan.member_rows
    return plan.members * runs * pitch * dtype.itemsize


def _in_order(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, target: Target
) -> RolePlan:
    """The plan with groups of rows and as many workers as there is work for."""
    depth = kernel.axes[product.depth] * product.lhs.dtype.itemsize
    raster = _raster(kernel, product, plan)
    group = group_of(raster.rows, plan.rows * depth)
    raster = replace(raster, group=group)
    workers = min(target.units // plan.cluster, raster.blocks)
    return replace(plan, group=group, workers=workers)


def _raster(kernel: Kernel, product: RoleProduct, plan: RolePlan) -> Raster:
    return Raster(
        -(-kernel.axes[product.row] // (plan.rows * plan.cluster)),
        -(-kernel.axes[product.column] // plan.columns),
        plan.group,
        tuple(kernel.axes[axis] for axis in product.contraction.batch),
    )


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
    raster = _raster(kernel, product, plan)
    turns = -(-raster.blocks // plan.workers)
    steps = -(-kernel.axes[product.depth] // plan.depth)
    storing = plan.rows * plan.columns / STORED_PER_CYCLE
    if any(is_along_rows(output, product) for output in kernel.outputs):
        storing *= 1.25
    block = steps * _step_cycles(product, plan) + storing + BLOCK_CYCLES
    # However it is cut, every operand must come from memory. Of plans that wait for
    # memory alike, those are better that do less besides.
    memory = _operand_bytes(kernel, product) / MEMORY_BYTES_PER_CYCLE
    slowest = max(turns * block, memory) + turns * block / 16
    return slowest + (CLUSTER_CYCLES if plan.cluster > 1 else 0)


def _operand_bytes(kernel: Kernel, product: RoleProduct) -> int:
    """What both operands take in memory."""
    return sum(
        math.prod(kernel.axes[axis] for axis in operand.axes_in_order())
        * operand.dtype.itemsize
        for operand in (product.lhs, product.rhs)
    )


def _step_cycles(product: RoleProduct, plan: RolePlan) -> float:
    """The slowest part of a step: products, shared memory, or the cache."""
    rate = MULTIPLICATIONS_PER_CYCLE * 2 / product.lhs.dtype.itemsize
    multiplying = plan.rows * max(plan.columns, 32) * plan.depth / rate
    # Every 64 rows read the columns again; all that is read was written before.
    parts = plan.rows // MEMBER_ROWS
    touched = parts * (MEMBER_ROWS + plan.columns) + plan.rows + plan.columns
    sharing = touched * STEP_BYTES / SHARED_BYTES_PER_CYCLE
    brought = plan.rows * _line_cost(product.lhs)
    brought += plan.columns / plan.cluster * _line_cost(product.rhs)
    return max(multiplying, sharing, brought * STEP_BYTES / CACHE_BYTES_PER_CYCLE)


def _line_cost(operand: BulkOperand) -> float:
    """How much longer an operand takes than one whose rows begin with a line."""
    pitch = operand.stride(operand.axes_in_order()[1]) * operand.dtype.itemsize
    return 1.0 if pitch % LINE_BYTES == 0 else UNALIGNED
