"""Choose when an iteration computes several rows, though each is long enough alone.

Random numbers come in pairs, of which one is half a row behind the other: what both
are made of is computed once, if one thread has both. And rows that are copied from
places which are data wait for those places: the more are under way, the better.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Compute, Load, Reduction
from tetragrad.kernel.ir import Kernel, Output, combines
from tetragrad.tile.plans.nests.nest import NestPlan, scans_of
from tetragrad.tile.plans.traffic import operation_cost, points_in, points_of

# Positions of a short axis that are computed together, if they need so many operations
# on the same values.
MOST_TOGETHER, WORTH_IT = 4, 16
# Threads of an iteration, and the bytes that each one moves at once.
THREADS, WARP, RUN_BYTES = 128, 32, 16
# Kinds of sums over the same elements, at most, and the elements of each thread.
MOST_KINDS, COUNTED_EACH = 16, 16
# Bytes of rows from places that are data for one iteration, and of one such row.
PLACED_BYTES, LONGEST_PLACED = 1 << 13, 1 << 12


def choose_together(
    kernel: Kernel, group: tuple[int, ...], grid: Sequence[int], ranked: Sequence[int]
) -> NestPlan | None:
    """A plan in which each thread has all positions of a short axis."""
    outputs = [kernel.outputs[number] for number in group]
    if not ranked or ranked[0] not in grid or scans_of(outputs):
        return None
    if combines(outputs):
        return None
    row = ranked[0]
    width = RUN_BYTES // _widest(kernel, outputs, row)
    threads = max(WARP, min(THREADS, kernel.axes[row] // width))
    lanes = threads * width
    beside: tuple[int, ...] = ()
    for axis in grid:
        count = points_in(kernel, (*beside, axis))
        is_short = axis != row and kernel.axes[axis] > 1 and count <= MOST_TOGETHER
        if is_short and _shared_operations(outputs, axis) >= WORTH_IT:
            beside = (*beside, axis)
    if not beside:
        return None
    others = tuple(entry for entry in grid if entry not in (*beside, row))
    return NestPlan(
        group,
        (*others, row),
        (row,),
        lanes,
        chunk=lanes,
        beside=beside,
        threads=threads,
    )


def choose_counted(
    kernel: Kernel, group: tuple[int, ...], grid: Sequence[int], target: Target
) -> NestPlan | None:
    """Sums of several kinds over what is loaded once, as the counts of digits are."""
    outputs = [kernel.outputs[number] for number in group]
    if scans_of(outputs) or combines(outputs):
        return None
    entries = {point.expression for point in points_of(outputs)}
    reductions = [entry for entry in entries if isinstance(entry, Reduction)]
    loads = [entry for entry in entries if isinstance(entry, Load)]
    if len(reductions) != 1 or len(reductions[0].axes) != 1 or not loads:
        return None
    (row,) = reductions[0].axes
    kinds = [
        axis
        for axis in grid
        if not any(axis in load.free_axes for load in loads)
        and 1 < kernel.axes[axis] <= MOST_KINDS
    ]
    others = tuple(axis for axis in grid if axis not in kinds)
    is_even = all(load.address.coefficient(row) == 1 for load in loads)
    if len(kinds) != 1 or not is_even or points_in(kernel, others) < target.units:
        return None
    width = max(1, RUN_BYTES // max(load.dtype.itemsize for load in loads))
    threads = WARP
    while threads < THREADS and threads * COUNTED_EACH < kernel.axes[row]:
        threads *= 2
    return NestPlan(
        group,
        others,
        (row,),
        threads * width,
        beside=(kinds[0],),
        threads=threads,
    )


def choose_placed(
    kernel: Kernel, group: tuple[int, ...], grid: Sequence[int], ranked: Sequence[int]
) -> NestPlan | None:
    """Several rows that are copied from places which are data."""
    outputs = [kernel.outputs[number] for number in group]
    others = [axis for axis in grid if not ranked or axis != ranked[0]]
    if not ranked or ranked[0] not in grid or not others or scans_of(outputs):
        return None
    if combines(outputs):
        return None
    row = ranked[0]
    nbytes = kernel.axes[row] * _widest(kernel, outputs, row)
    if nbytes > LONGEST_PLACED or not _is_placed(outputs, row):
        return None
    longest = max(others, key=lambda axis: kernel.axes[axis])
    most = max(1, min(kernel.axes[longest], PLACED_BYTES // nbytes))
    even = [
        rows
        for rows in range(most // 2 + 1, most + 1)
        if kernel.axes[longest] % rows == 0
    ]
    rows = max(even, default=most)
    before = tuple(axis for axis in others if axis != longest)
    length = kernel.axes[row]
    return NestPlan(group, (*before, longest), (row,), length, 1, rows, rows)


def _is_placed(outputs: Sequence[Output], axis: int) -> bool:
    """Whether whole rows along an axis are loaded from places that are data."""
    expressions = {point.expression for point in points_of(outputs)}
    if any(isinstance(entry, Reduction) for entry in expressions):
        return False
    return any(
        isinstance(entry, Load)
        and entry.address.coefficient(axis) == 1
        and not entry.address.is_pure()
        and all(
            isinstance(atom, int) or axis not in atom.free_axes
            for atom, _ in entry.address.terms
        )
        for entry in expressions
    )


def _shared_operations(outputs: Sequence[Output], axis: int) -> int:
    """Operations on values that are the same along an axis, and not everywhere."""
    expressions = {point.expression for point in points_of(outputs)}
    if any(isinstance(entry, Reduction) for entry in expressions):
        return 0
    return sum(
        operation_cost(entry)
        for entry in expressions
        if isinstance(entry, Compute)
        and entry.free_axes
        and axis not in entry.free_axes
    )


def _widest(kernel: Kernel, outputs: Sequence[Output], axis: int) -> int:
    """The bytes of the largest element that moves along an axis."""
    sizes = [kernel.slots[output.slot].dtype.itemsize for output in outputs]
    sizes += [
        kernel.slots[point.expression.slot].dtype.itemsize
        for point in points_of(outputs)
        if isinstance(point.expression, Load)
        and point.expression.address.coefficient(axis) == 1
    ]
    return max(sizes)
