"""The rest of a plan for a product by roles: stages, neighbours, pieces, the order.

``choose_roles.py`` chooses blocks; here they get what shared memory has room for.
"""

from __future__ import annotations

from collections.abc import Iterator

from tetragrad.core import dtypes
from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.roles.bulk import ALIGNMENT_BYTES, BulkOperand
from tetragrad.tile.plans.roles.cells import split_radices
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    WARPS,
    RolePlan,
    RoleProduct,
    Sides,
    is_along_rows,
    is_result,
    raster_of,
    staged_pitch,
)
from tetragrad.tile.plans.traffic import points_in

MOST_STAGES = 8
#: Shared memory that is left for staged results when stages are counted, and what the
#: channel's barriers take.
STAGING_BYTES = 20 * 1024
BARRIER_BYTES = 1024
CLUSTERS = (1, 2)
#: Bytes of row operands that a group reads again for every column block: so many stay
#: in the second-level cache beside the columns, or four times that if it is all rows.
GROUP_BYTES = 8 << 20
#: Slots of operands that threads compute.
FILLED_STAGES = 3


def sized_plans(
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
    step = plan.depth * product.lhs.dtype.itemsize
    for operand, cells, extent in (
        (product.lhs, sides.rows, plan.rows),
        (product.rhs, sides.columns, plan.columns),
    ):
        if isinstance(operand, BulkOperand):
            copied += extent * step
            continue
        if not plan.held:
            computed += extent * step
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
        if not (_is_lane_wise(piece) or _begin_evenly(kernel, product)):
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


def _is_lane_wise(piece: int) -> bool:
    """Whether a member's threads can write rows that begin anywhere side by side.

    Of longer rows each would write neighbours, one by one, which took 4.6 times as long
    for 2074 x 4821 x 50.
    """
    return not piece & (piece - 1) and piece <= 32 * WARPS


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
