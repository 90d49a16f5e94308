"""The rest of a plan for a product by roles: stages, neighbours, pieces, the order.

``choose_roles.py`` chooses blocks; here they get what shared memory has room for.
"""

from __future__ import annotations

from tetragrad.core import dtypes
from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.roles.bulk import ALIGNMENT_BYTES, BulkOperand
from tetragrad.tile.plans.roles.cells import Cells, split_radices
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    WARPS,
    RolePlan,
    RoleProduct,
    Sides,
    is_along_rows,
    is_result,
    staged_pitch,
)

MOST_STAGES = 8
#: Shared memory that is left for staged results when stages are counted, and what the
#: channel's barriers take, or the barriers of all channels if some operand is computed.
STAGING_BYTES = 20 * 1024
BARRIER_BYTES = 1024
MORE_BARRIER_BYTES = 1280
CLUSTERS = (1, 2)
#: Slots of operands that threads compute, of what is left of split ones, and where a
#: slot is filled from memory: each team is at work on one.
FILLED_STAGES = 3
REST_STAGES = 2
LOADED_STAGES = 5


def with_sizes(
    kernel: Kernel, product: RoleProduct, plan: RolePlan, sides: Sides, target: Target
) -> RolePlan | None:
    """The plan with as many stages and staged columns as there is room for."""
    copied, computed = slot_bytes(product, plan, sides)
    free = target.shared_bytes - BARRIER_BYTES
    filled_stages = 0
    if computed:
        filled_stages = REST_STAGES if plan.splits else FILLED_STAGES
        free -= filled_stages * computed + MORE_BARRIER_BYTES
    stages = most_stages(sides.depth)
    if copied:
        stages = min(stages, (free - STAGING_BYTES) // copied)
        free -= stages * copied
    if stages < 1:
        return None
    piece = _piece(kernel, product, plan, sides, free)
    if not piece:
        return None
    if computed and not copied:
        more = min(LOADED_STAGES, most_stages(sides.depth)) - filled_stages
        while (
            more > 0
            and _piece(kernel, product, plan, sides, free - more * computed) != piece
        ):
            more -= 1
        filled_stages += max(0, more)
    return replace(plan, stages=stages, filled_stages=filled_stages, piece=piece)


def most_stages(depth: Cells) -> int:
    """The stages that so many steps have a use for."""
    return min(MOST_STAGES, max(2, depth.blocks))


def clusters_of(product: RoleProduct, columns: int) -> list[int]:
    """How many neighbours may bring a cell of so many columns together."""
    unit = product.rhs.side_step
    found = [count for count in CLUSTERS if columns % (count * unit) == 0]
    # What threads compute each would compute for itself.
    return [1] if found and any(product.filled) else found


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
            computed += extent * step if plan.splits else 0
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
    results = [
        (kernel.slots[output.slot].dtype, is_along_rows(output, product))
        for output in kernel.outputs
        if is_result(output, product)
    ]
    for count in range(1, plan.columns // 8 + 1):
        piece, rest = divmod(plan.columns, count)
        if rest or piece % 8 or plan.columns // plan.sums % piece:
            continue
        if split_radices(sides.columns.radices, piece) is None:
            continue
        if not (_is_lane_wise(piece) or _begin_evenly(kernel, product)):
            continue
        sized = replace(plan, piece=piece)
        needed = sum(
            _staged_bytes(sized, dtype, along_rows=along_rows)
            for dtype, along_rows in results
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
