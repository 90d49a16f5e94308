"""What a plan of a contraction in panels costs, in vector operations."""

from __future__ import annotations

import math

from tetragrad.kernel.expression import Expression
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.contraction import (
    Block,
    Contraction,
    ContractionPlan,
    Supply,
    strides_of,
)
from tetragrad.tile.plans.products.operands import runs_of
from tetragrad.tile.plans.traffic import points_in, work_in

# Operations an element of packing takes, where vectors cannot be moved as a whole, and
# operations a vector where they are turned.
SCATTERED_PACKING = 1.0
TURNED_PACKING = 6
# Operations a result of scattering results, each to a line of memory of its own.
SCATTERED_STORING = 20.0
# Operations that a vector takes whose elements may lie outside of an image.
GUARDED_PACKING = 20.0


def cost_of(kernel: Kernel, contraction: Contraction, plan: ContractionPlan) -> float:
    """Vector operations of a plan: products, packing and stores."""
    if plan.swap:
        contraction = contraction.swapped()
    batches = points_in(kernel, contraction.batch)
    row_blocks = blocks_in(kernel, plan.rows)
    column_blocks = blocks_in(kernel, plan.columns)
    tasks = batches * row_blocks * column_blocks
    row_panels = math.ceil(plan.rows.size(kernel) / plan.micro_rows)
    column_panels = math.ceil(plan.columns.size(kernel) / plan.micro_columns)
    depth = points_in(kernel, contraction.depth)
    vectors: float = max(1, plan.micro_columns // plan.lanes)
    # Broadcasts count as for an image, so that the two compare.
    step = max(plan.micro_rows * vectors, plan.micro_rows + vectors)
    step += plan.micro_rows / 2
    speed = 1 if plan.dot is None else plan.dot.speed
    products = tasks * row_panels * column_panels * depth * step / speed
    lhs_size = plan.rows.size(kernel) * depth * tasks
    rhs_size = plan.columns.size(kernel) * depth * tasks
    lhs, rhs = contraction.lhs, contraction.rhs
    packing = 0.0
    if plan.lhs is not Supply.IN_PLACE:
        packing += lhs_size * _packing_cost(kernel, lhs, plan.rows, plan, side=False)
    if plan.rhs not in (Supply.IN_PLACE, Supply.KEPT):
        packing += rhs_size * _packing_cost(kernel, rhs, plan.columns, plan, side=True)
    return products + packing + _storing_cost(kernel, plan)


def _packing_cost(
    kernel: Kernel,
    operand: Expression,
    block: Block,
    plan: ContractionPlan,
    *,
    side: bool,
) -> float:
    """Operations an element: vectors must run along the lanes, or along either.

    Where windows of an image are packed, vectors end with a row of it, and each is
    asked whether it lies inside.
    """
    runs = runs_of(kernel, block, operand)
    depth_runs = runs_of(kernel, plan.depth, operand)
    is_windows = len(runs) > 1
    if not side:
        is_windows |= len(depth_runs) > 1
        runs += depth_runs
    contiguous = [run for run in runs if 1 in strides_of(operand, run.axes[-1])]
    if is_windows:
        longest = max((run.extent for run in contiguous), default=2)
        return GUARDED_PACKING * work_in(operand) / min(plan.lanes, longest)
    if contiguous:
        return 2 / plan.lanes
    turned = any(1 in strides_of(operand, run.axes[-1]) for run in depth_runs)
    return TURNED_PACKING / plan.lanes if turned else SCATTERED_PACKING


def _storing_cost(kernel: Kernel, plan: ContractionPlan) -> float:
    """Operations for all results, by whether lanes are contiguous in the outputs."""
    innermost = plan.columns.axes[-1]
    total = 0.0
    for output in kernel.outputs:
        contiguous = output.address.coefficient(innermost) == 1
        count = points_in(kernel, output.axes)
        total += count * (1 / plan.lanes if contiguous else SCATTERED_STORING)
    return total


def blocks_in(kernel: Kernel, block: Block) -> int:
    """How many blocks cover the axes."""
    return block.chunks(kernel) * points_in(kernel, block.outer)
