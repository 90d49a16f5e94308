"""Choose when an iteration goes over several short rows, dealt out as they lie.

One thread goes over several rows that read a part which is the same in all. A
normalised image reads a few numbers for each channel beside each pixel. In float32
they are several times what a half-width pixel is, and all of them would come through
the first-level cache for every pixel; a thread that meets the same channels in several
rows loads them once.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Load
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.nests.nest import NestPlan, reductions_of, scans_of
from tetragrad.tile.plans.traffic import points_in, points_of

# Elements of a grid iteration that goes over several rows.
FLAT_ELEMENTS = 1024
# Rows that share what they read, and the elements for each piece of a large kernel
# from which on that is worth it.
ROWS_SHARED = 8
ENOUGH_TO_SHARE = 1 << 11


def choose_flat(
    kernel: Kernel,
    group: tuple[int, ...],
    grid: Sequence[int],
    ranked: Sequence[int],
    target: Target,
) -> NestPlan | None:
    """Several short rows for each iteration, where nothing is reduced."""
    outputs = [kernel.outputs[number] for number in group]
    if not ranked or scans_of(outputs) or reductions_of(outputs):
        return None
    along = ranked[0]
    others = [axis for axis in grid if axis != along]
    if along not in grid or not others:
        return None
    row = kernel.axes[along]
    longest = max(others, key=lambda axis: kernel.axes[axis])
    shared = rows_that_share(kernel, outputs, along, longest, target)
    is_short = row <= FLAT_ELEMENTS // 2 or shared > 1
    if not is_short or any(output.mode is not Mode.STORE for output in outputs):
        return None
    rows = min(kernel.axes[longest], max(1, FLAT_ELEMENTS // row) * shared)
    before = tuple(axis for axis in others if axis != longest)
    return NestPlan(group, (*before, longest), (along,), row, 1, rows, rows)


def rows_that_share(
    kernel: Kernel, outputs: Sequence[Output], along: int, across: int, target: Target
) -> int:
    """How many rows along an axis each thread should go over; 1: as many as come.

    A thread meets the same places in all rows if they fit its block, or it them.
    """
    row = kernel.axes[along]
    fits = FLAT_ELEMENTS % row == 0 or row % FLAT_ELEMENTS == 0
    points = points_in(kernel, outputs[0].axes)
    if not fits or points < ENOUGH_TO_SHARE * target.pieces:
        return 1
    entries = {point.expression for point in points_of(outputs)}
    loads = [entry for entry in entries if isinstance(entry, Load)]
    streamed = [load for load in loads if load.address.depends_on(across)]
    repeated = [
        load
        for load in loads
        if load.address.depends_on(along) and not load.address.depends_on(across)
    ]
    return ROWS_SHARED if _itemsizes(repeated) > _itemsizes(streamed) else 1


def _itemsizes(loads: Sequence[Load]) -> int:
    return sum(load.dtype.itemsize for load in loads)
