"""Choose how running values are computed where hardware hands out iterations.

A long row is combined by the lanes of an iteration, a chunk at a time. Where memory
runs along another axis, each lane carries a column of its own, step after step, unless
there are so few columns that waiting for each step takes longer than reading far apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Expression, Load, Reduction, walk, walk_until
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.nests.nest import (
    NestPlan,
    is_step_of,
    roots_of,
    scans_of,
)
from tetragrad.tile.plans.prepare.cuts import Cut
from tetragrad.tile.plans.traffic import points_in, points_of

# Shorter rows are carried by a thread each.
SHORTEST_ROW = 9
# Bytes that a thread takes at once, and the fewest elements.
RUN_BYTES, FEWEST_ELEMENTS = 16, 4
# Threads of an iteration: for a row of a few elements, for most, and where there are
# fewer rows than units. And how many times each of them takes its elements.
FEWEST_THREADS, ROW_THREADS, MOST_THREADS = 4, 256, 1024
SWEEPS = 4
# Points beside the row that a thread combines at each step: they fill its registers.
MOST_BESIDE = 16
# Seconds that a step of a column takes where few are under way, that a chunk takes
# which is read far apart, and that two more kernels take.
STEP_SECONDS, CHUNK_SECONDS, KERNEL_SECONDS = 5e-8, 4e-6, 8e-6
FLOAT_BYTES = 4
# Rows from which on it pays to divide them, and the shortest part; steps of a part of
# a column at least, and the columns that parts should give on each unit.
LONGEST_WHOLE, SHORTEST_PART = 1 << 16, 1 << 12
COLUMN_PART, COLUMNS_A_UNIT = 32, 512
# Parts that one iteration combines.
MOST_PARTS = 1 << 12


def choose_running(
    kernel: Kernel, group: tuple[int, ...], grid: Sequence[int], target: Target
) -> NestPlan | None:
    """A plan in which the lanes of an iteration share a row, if that is best."""
    outputs = [kernel.outputs[number] for number in group]
    scans = scans_of(outputs)
    axes = {entry.axis for entry in scans}
    if not target.has_free_iterations or len(axes) != 1:
        return None
    (axis,) = axes
    beside = _step_axes(kernel, outputs, scans)
    if beside is None or any({*output.axes} != {*grid, axis} for output in outputs):
        return None
    if kernel.axes[axis] < SHORTEST_ROW or points_in(kernel, beside) > MOST_BESIDE:
        return None
    results = points_in(kernel, grid)
    if not runs_along(outputs, axis):
        steps = kernel.axes[axis]
        if _seconds_apart(steps, results, target) > _seconds_of_steps(steps):
            return None
    threads, lanes = _threads_and_lanes(kernel, outputs, axis, results, target)
    if beside:
        lanes = min(lanes, threads * FEWEST_ELEMENTS)
    return NestPlan(group, tuple(grid), (axis,), lanes, threads=threads)


def choose_parts(
    kernel: Kernel, number: int, scan: Expression, target: Target
) -> Cut | None:
    """How a running value is divided where there are too few rows, if it should be."""
    outputs = kernel.outputs
    size = kernel.axes[scan.axis]
    if not target.has_free_iterations or _step_axes(kernel, outputs, [scan]) != ():
        return None
    results = points_in(kernel, scan.free_axes - {scan.axis})
    if runs_along(outputs, scan.axis):
        if size < LONGEST_WHOLE or results >= 2 * target.units:
            return None
        length = max(SHORTEST_PART, size * results // target.pieces, size // MOST_PARTS)
        length = -(-length // SHORTEST_PART) * SHORTEST_PART
    else:
        apart = _seconds_apart(size, results, target)
        length = -(-size * results // (target.units * COLUMNS_A_UNIT))
        length = max(COLUMN_PART, length, size // MOST_PARTS)
        length = -(-size // _even_parts(size, -(-size // length)))
        # All is read twice and written once, instead of once each.
        moved = 3 * size * results * FLOAT_BYTES / target.memory_bandwidth
        divided = KERNEL_SECONDS + max(moved, 2 * _seconds_of_steps(length))
        if divided > min(apart, max(2 * moved / 3, _seconds_of_steps(size))):
            return None
    parts = -(-size // length)
    return Cut(number, scan.axis, parts, length) if parts > 1 else None


def _even_parts(size: int, parts: int) -> int:
    """So many parts, or a little fewer that are all of one length."""
    for fewer in range(parts, parts * 3 // 4, -1):
        if size % fewer == 0:
            return fewer
    return parts


def runs_along(outputs: Sequence[Output], axis: int) -> bool:
    """Whether neighbours along an axis are neighbours in what is loaded, or stored."""
    loads = [
        point.expression
        for point in points_of(outputs)
        if isinstance(point.expression, Load) and axis in point.expression.free_axes
    ]
    if loads:
        return any(abs(entry.address.coefficient(axis)) == 1 for entry in loads)
    return any(abs(output.address.coefficient(axis)) == 1 for output in outputs)


def _step_axes(
    kernel: Kernel, outputs: Sequence[Output], scans: Sequence[Expression]
) -> tuple[int, ...] | None:
    """The axes that are reduced over at each step; None if others depend on them."""
    roots = [point.expression for point in points_of(outputs)]
    reductions = [entry for entry in {*roots} if isinstance(entry, Reduction)]
    steps = [entry for entry in reductions if is_step_of(entry, scans)]
    axes = tuple(dict.fromkeys(entry.axes[0] for entry in steps))
    inside = set(walk(*steps))
    alone = walk_until(dict.fromkeys(steps, scans[0]), *roots_of(outputs))
    is_used_apart = any(scan in alone and scan in inside for scan in scans)
    return None if is_used_apart else axes


def _seconds_of_steps(steps: int) -> float:
    """How long a lane takes to carry a column, at least."""
    return steps * STEP_SECONDS


def _seconds_apart(steps: int, columns: int, target: Target) -> float:
    """How long iterations take that read columns, whose elements lie far apart."""
    chunks = -(-steps // (MOST_THREADS * FEWEST_ELEMENTS))
    return chunks * CHUNK_SECONDS * max(1.0, columns / (2 * target.units))


def _threads_and_lanes(
    kernel: Kernel,
    outputs: Sequence[Output],
    axis: int,
    results: int,
    target: Target,
) -> tuple[int, int]:
    """Threads that share a row, and the lanes of a chunk."""
    row = kernel.axes[axis]
    itemsize = max(
        (
            kernel.slots[point.expression.slot].dtype.itemsize
            for point in points_of(outputs)
            if isinstance(point.expression, Load)
            and abs(point.expression.address.coefficient(axis)) == 1
        ),
        default=4,
    )
    width = max(FEWEST_ELEMENTS, RUN_BYTES // itemsize)
    most = ROW_THREADS if results >= target.units else MOST_THREADS
    threads = FEWEST_THREADS
    while threads < most and threads * width < row:
        threads *= 2
    sweeps = max(1, min(SWEEPS, -(-row // (threads * width))))
    return threads, threads * width * sweeps
