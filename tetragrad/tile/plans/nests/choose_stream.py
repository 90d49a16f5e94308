"""Choose when a reduction streams its matrix, and in which blocks."""

from __future__ import annotations

from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.expression import Compute, Load, Reduction, Scan, walk
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.nests.choose_nest import choose_chunk
from tetragrad.tile.plans.nests.nest import NestPlan, roots_of
from tetragrad.tile.plans.nests.stream import StreamPlan
from tetragrad.tile.plans.traffic import lane_bytes, points_in

# Elements of a matrix from which on the order of reading it matters.
SMALLEST_MATRIX = 1 << 16
# Rows beside each other; with more of them, packing the matrix costs little.
MOST_BESIDE = 12
# Vectors side by side in registers, and the most for one row.
MOST_VECTORS = 4
# Rows of the matrix that are read side by side: processors follow so many streams.
DEPTH = 8
# Bytes of a row that are read before the next one: a processor fetches ahead within
# pages of 4 KB, so the beginning of every run waits.
RUN_BYTES = 8192


def choose_stream(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> StreamPlan | None:
    """A plan, if outputs need nothing but one reduction down a large matrix."""
    outputs = [kernel.outputs[number] for number in group]
    reduction = _only_reduction(kernel, outputs)
    if reduction is None or target.has_free_iterations:
        return None
    (depth,) = reduction.axes
    column = _column(kernel, outputs[0], reduction)
    if column is None:
        return None
    matrices = _matrices(reduction, depth, column)
    moving = {axis for load in matrices for axis in load.free_axes}
    others = [axis for axis in outputs[0].axes if axis != column]
    beside = tuple(axis for axis in others if axis not in moving)
    rows = points_in(kernel, beside)
    sizes = (kernel.axes[depth], kernel.axes[column])
    lanes = target.vector_lanes(lane_bytes(outputs))
    if rows > MOST_BESIDE or sizes[0] < 2 * DEPTH or sizes[1] < 2 * lanes:
        return None
    if sizes[0] * sizes[1] < SMALLEST_MATRIX:
        return None
    grid = tuple(axis for axis in others if axis in moving)
    vectors = MOST_VECTORS
    while vectors > 1 and vectors * rows > target.registers - 4:
        vectors //= 2
    width = vectors * lanes
    run = RUN_BYTES // min(load.dtype.itemsize for load in matrices)
    chunk = _chunk(kernel, target, grid, sizes[1], (rows, width, run))
    itemsize = max(load.dtype.itemsize for load in matrices)
    fetches = sizes[0] * sizes[1] * itemsize > target.cache_bytes
    return StreamPlan(
        group, grid, beside, column, lanes, vectors, chunk, DEPTH, fetches
    )


def choose_row_stream(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> NestPlan | None:
    """A plan, if a large matrix lies along the reduction, for a few results a row.

    Rows of the matrix are read side by side from beginning to end, each by a vector of
    its own, and multiplied with everything that shares them.
    """
    outputs = [kernel.outputs[number] for number in group]
    reduction = _only_reduction(kernel, outputs)
    if reduction is None or target.has_free_iterations:
        return None
    (depth,) = reduction.axes
    axes = outputs[0].axes
    loads = [entry for entry in walk(reduction.body) if isinstance(entry, Load)]
    if not _is_contiguous([load for load in loads if depth in load.free_axes], depth):
        return None
    sizes = {load: points_in(kernel, load.free_axes) for load in loads}
    matrix = max(loads, key=lambda load: sizes[load])
    beside = tuple(axis for axis in axes if axis not in matrix.free_axes)
    inside = [axis for axis in axes if axis in matrix.free_axes]
    rows = points_in(kernel, beside)
    if not inside or rows > MOST_BESIDE or sizes[matrix] < SMALLEST_MATRIX:
        return None
    row = max(inside, key=lambda axis: kernel.axes[axis])
    lanes = target.vector_lanes(lane_bytes(outputs))
    if kernel.axes[depth] < 2 * lanes:
        return None
    grid = (*(axis for axis in inside if axis != row), row)
    streams = min(DEPTH, kernel.axes[row], max(1, 3 * target.registers // 4 // rows))
    chunk = choose_chunk(kernel, outputs, grid, streams, target)
    return NestPlan(group, grid, (depth,), lanes, 1, chunk, streams, beside)


def _chunk(
    kernel: Kernel,
    target: Target,
    grid: tuple[int, ...],
    columns: int,
    sizes: tuple[int, int, int],
) -> int:
    """Columns of a grid iteration: near totals, and enough for every thread.

    ``sizes`` are the rows, the columns of a step, and those of a run that is long
    enough; long runs are worth more than that threads end at the same time.
    """
    rows, width, run = sizes
    # Totals may leave the first-level cache: long runs of memory are worth more.
    nearest = 2 * target.shared_bytes // (4 * rows)
    wanted = 2 * target.units if target.units > 1 else 1
    pieces = -(-wanted // points_in(kernel, grid))
    each = -(-columns // max(1, pieces // 2))
    chunk = min(nearest, max(-(-columns // pieces), min(run, each)))
    return max(width, -(-chunk // width) * width)


def _only_reduction(kernel: Kernel, outputs: list[Output]) -> Reduction | None:
    """The reduction, if it is the only one and all outputs are over its free axes."""
    found = {
        entry
        for entry in walk(*roots_of(outputs))
        if isinstance(entry, Reduction | Scan)
    }
    if len(found) != 1:
        return None
    (reduction,) = found
    if not isinstance(reduction, Reduction) or len(reduction.axes) != 1:
        return None
    axes = tuple(sorted(reduction.free_axes))
    fits = all(entry.axes == axes and entry.mode is Mode.STORE for entry in outputs)
    heavy = any(
        isinstance(entry, Compute) and issubclass(entry.op, Transcendental)
        for entry in walk(reduction.body)
    )
    return reduction if fits and not heavy else None


def _column(kernel: Kernel, output: Output, reduction: Reduction) -> int | None:
    """The longest axis along which every matrix is contiguous, if there is one."""
    (depth,) = reduction.axes
    found = [
        axis
        for axis in output.axes
        if _is_contiguous(_matrices(reduction, depth, axis), axis)
    ]
    return max(found, key=lambda axis: kernel.axes[axis], default=None)


def _is_contiguous(matrices: list[Load], axis: int) -> bool:
    return bool(matrices) and all(
        load.address.is_pure() and load.address.coefficient(axis) == 1
        for load in matrices
    )


def _matrices(reduction: Reduction, depth: int, column: int) -> list[Load]:
    """Loads that move along the depth and along the columns."""
    return [
        entry
        for entry in walk(reduction.body)
        if isinstance(entry, Load) and {depth, column} <= entry.free_axes
    ]
