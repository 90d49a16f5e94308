"""Choose how the operands of a contraction come to the micro-kernel.

Packing an operand copies it into the order in which it is read. One that is read in a
good order already, and lies near or in few long streams, is better read where it is.
"""

from __future__ import annotations

import math

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.contraction import (
    Block,
    Contraction,
    ContractionPlan,
    Supply,
    cut_evenly,
)
from tetragrad.tile.plans.products.kept import converted_load, kept_panels
from tetragrad.tile.plans.products.operands import runs_of, strides_in_place
from tetragrad.tile.plans.traffic import points_in

# Rows of a panel that may lie in the same set of a first-level cache, of which one way
# has so many bytes; two more ways are for columns, and for what is fetched.
MOST_IN_A_SET = 6
WAY_BYTES = 4096


def lhs_supply(
    kernel: Kernel, contraction: Contraction, target: Target, plan: ContractionPlan
) -> Supply:
    """Whether rows are read in place, and if not, whether they are fetched.

    Rows that lie the other way are if all of a block is near.
    """
    value, height = contraction.lhs, plan.micro_rows
    if plan.dot is None and is_inside(kernel, contraction, plan, plan.rows):
        if are_rows_in_place(kernel, value, plan.depth, plan.rows, height):
            return Supply.IN_PLACE
        found = strides_in_place(kernel, plan.depth, plan.rows, value)
        if found is not None and found[1] == 1:
            by_depth = found[0] * value.dtype.itemsize
            if _is_near(kernel, target, plan, by_depth):
                return Supply.IN_PLACE
    return _packed_or_fetched(kernel, target, value)


def are_rows_in_place(
    kernel: Kernel, value: Expression, depth: Block, rows: Block, height: int
) -> bool:
    """Whether rows lie along the depth, such that some can be read side by side.

    Few of them may share sets of the first-level cache.
    """
    found = strides_in_place(kernel, depth, rows, value)
    if found is None or found[0] != 1:
        return False
    apart = max(1, WAY_BYTES // math.gcd(found[1] * value.dtype.itemsize, WAY_BYTES))
    return -(-height // apart) <= MOST_IN_A_SET


def rhs_supply(
    kernel: Kernel, contraction: Contraction, target: Target, plan: ContractionPlan
) -> Supply:
    """Whether columns are read in place: vectors of them, all of which are near."""
    value = contraction.rhs
    if is_kept(kernel, value, plan):
        return Supply.KEPT
    found = strides_in_place(kernel, plan.depth, plan.columns, value)
    if plan.dot is None and found and found[1] == 1:
        by_depth = found[0] * value.dtype.itemsize
        if _is_near(kernel, target, plan, by_depth) and is_inside(
            kernel, contraction, plan, plan.columns
        ):
            return Supply.IN_PLACE
    return _packed_or_fetched(kernel, target, value)


def is_kept(kernel: Kernel, value: Expression, plan: ContractionPlan) -> bool:
    """Whether columns were packed before, in whole panels as wide as a micro-tile."""
    panels, load, columns = kept_panels(value), converted_load(value), plan.columns
    if (
        panels is None
        or load is None
        or columns.axes != (panels.axis,)
        or plan.dot is not None
    ):
        return False
    if panels.width != plan.micro_columns or panels.apart % panels.width:
        return False
    if columns.chunks(kernel) > 1 and columns.chunk % panels.width:
        return False
    runs = runs_of(kernel, plan.depth, value)
    if len(runs) != 1 or panels.rest.coefficient(runs[0].axes[-1]) != panels.width:
        return False
    first, last = panels.rest.range(kernel.axes)
    count = -(-kernel.axes[panels.axis] // panels.width)
    end = last + (count - 1) * panels.apart + panels.width
    return first >= 0 and end <= kernel.slots[load.slot].numel


def is_inside(
    kernel: Kernel, contraction: Contraction, plan: ContractionPlan, side: Block
) -> bool:
    """Whether no block of the depth and no panel of a side goes beyond the end."""
    width = plan.micro_rows if side is plan.rows else plan.micro_columns
    cut = cut_evenly(kernel, contraction, side, width)
    is_ragged = plan.depth.is_ragged(kernel) or side.is_ragged(kernel)
    return cut.is_inside and not is_ragged


def _is_near(
    kernel: Kernel, target: Target, plan: ContractionPlan, by_depth: int
) -> bool:
    """Whether all of a block, so many bytes a step, fits into half of the cache."""
    return plan.depth.size(kernel) * by_depth <= target.cache_bytes // 2


def _packed_or_fetched(kernel: Kernel, target: Target, value: Expression) -> Supply:
    """Whether an operand that is packed waits far away, as a large one does."""
    loads = [entry for entry in walk(value) if isinstance(entry, Load)]
    itemsize = max((entry.dtype.itemsize for entry in loads), default=0)
    nbytes = points_in(kernel, value.free_axes) * itemsize
    return Supply.FETCHED if nbytes > target.cache_bytes else Supply.PACKED
