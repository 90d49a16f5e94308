"""Choose how a loop nest is spread: its grid, its lanes, vectors and chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Compute, Expression, Load, Reduction, walk
from tetragrad.kernel.ir import Kernel, Mode, Output, combines
from tetragrad.tile.plans.nests.choose_flat import choose_flat
from tetragrad.tile.plans.nests.choose_running import choose_running
from tetragrad.tile.plans.nests.choose_together import (
    choose_counted,
    choose_placed,
    choose_together,
)
from tetragrad.tile.plans.nests.few_threads import (
    choose_few_threads,
    threads_of_short_rows,
)
from tetragrad.tile.plans.nests.nest import NestPlan, reductions_of, scans_of
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    find_contraction,
)
from tetragrad.tile.plans.traffic import (
    lane_bytes,
    operation_cost,
    points_in,
    points_of,
    vector_cost,
)

# A reduction over so few positions is computed again wherever it is needed.
SHORT_REDUCTION = 64
# A grid iteration should have about this many elements, so that handing it to a
# thread costs little.
CHUNK_ELEMENTS = 1 << 13
# Bytes of a row that one grid iteration reads at least where hardware hands iterations
# out: what a warp loads at once.
NARROWEST_BYTES = 512
# Bytes of a row from which on it is kept as it lies in memory, where threads can move
# all of it in vectors of so many bytes: it then takes no more room than there.
LONG_ROW_BYTES, VECTOR_BYTES = 1 << 16, 16
# Lanes below which most threads of a warp would have nothing to do, and when something
# else pays, as random shapes showed: so many rows, or so few sums of so many elements.
WARP_LANES = 32
MANY_ROWS = 1 << 17
LONG_SUM, FEW_SUMS = 256, 1024
# Vectors side by side, which hides the latency of a chain of additions.
SIDE_BY_SIDE = 4
# Vectors side by side where sums run down columns, so that each row gives a piece of
# memory long enough to be fetched ahead; and rows that share what such a sum reads.
COLUMN_VECTORS = 16
MOST_BESIDE = 3
# Steps of a loop around rows of so few elements that are written out at most.
STEPS_TOGETHER = 4
SHORT_ROW = 64
# Vectors of a row that is added to another one at once.
SCATTERED_VECTORS = 16
# Rows side by side along which running values are carried through memory.
ROWS_CARRIED = 4


def choose_nest(kernel: Kernel, group: tuple[int, ...], target: Target) -> NestPlan:
    """Which axis goes on lanes, how many vectors, and how the grid is chunked."""
    outputs = [kernel.outputs[number] for number in group]
    lanes = target.vector_lanes(lane_bytes(outputs))
    # Hardware that hands out iterations adds to one place from all of them at once.
    grid = grid_axes(kernel, outputs[0], may_collide=target.has_free_iterations)
    running = choose_running(kernel, group, grid, target)
    if running is not None:
        return running
    ranked = rank_vector_axes(kernel, outputs, grid, lanes)
    vectors = choose_vectors(outputs, target)
    inside = [axis for axis in ranked if axis not in grid]
    beside: tuple[int, ...] = ()
    if ranked and not target.has_free_iterations:
        beside = axes_beside(kernel, outputs, grid, ranked[0])
        grid = tuple(axis for axis in grid if axis not in beside)
    if target.has_free_iterations:
        counted = choose_counted(kernel, group, grid, target)
        if counted is not None:
            return counted
        few = choose_few_threads(kernel, outputs, grid, ranked, target)
        if few is not None:
            lanes, rows, threads = few
            axes = tuple(inside)
            return NestPlan(
                group, grid, axes, lanes, chunk=rows, rows=rows, threads=threads
            )
        ranked = long_enough(kernel, outputs, grid, ranked)
        flat = (
            choose_together(kernel, group, grid, ranked)
            or choose_flat(kernel, group, grid, ranked, target)
            or choose_placed(kernel, group, grid, ranked)
        )
        if flat is not None:
            return flat
    if ranked and ranked[0] in grid:
        best = ranked[0]
        grid = (*(axis for axis in grid if axis != best), best)
        vectors = column_vectors(kernel, outputs, best, vectors, beside, target)
        lanes, vectors = enough_blocks(kernel, outputs, grid, lanes, vectors, target)
        if not target.has_free_iterations and runs_along_memory(outputs, best):
            lanes, vectors = ROWS_CARRIED, 1
        elif not target.has_free_iterations and combines(outputs):
            lanes, vectors = scattered_vectors(kernel, outputs, best, lanes, target)
        width = lanes * vectors
        chunk = choose_chunk(kernel, outputs, grid, width, target)
        threads = threads_of_short_rows(kernel, outputs, grid, best, width, target)
        return NestPlan(
            group, grid, (best,), lanes, vectors, chunk, beside=beside, threads=threads
        )
    if inside:
        lanes, vectors = row_in_registers(
            kernel, outputs, inside[0], lanes, vectors, target
        )
    rows = choose_rows(kernel, outputs, grid, inside, lanes, vectors)
    is_long = lanes > target.vector_lanes(4)
    is_few = points_in(kernel, grid) < rows * target.pieces
    if target.has_free_iterations and (is_long or is_few):
        # Other blocks hide latencies as well, and there may be few rows.
        rows = 1
    chunk = choose_chunk(kernel, outputs, grid, rows, target)
    plan = NestPlan(group, grid, tuple(inside), lanes, vectors, chunk, rows, beside)
    if target.has_free_iterations:
        return replace(plan, written_out=steps_together(kernel, inside))
    return plan


def steps_together(kernel: Kernel, inside: Sequence[int]) -> int:
    """Steps of the loop around lanes that leave most threads idle, written out.

    Their loads are then under way together: 4-bit weights with a scale for each 128 of
    them are rows of 64 bytes in a long loop. Rows of 128 took a tenth longer so.
    """
    if len(inside) < 2 or kernel.axes[inside[0]] > SHORT_ROW:
        return 1
    return math.gcd(kernel.axes[inside[1]], STEPS_TOGETHER)


def long_enough(
    kernel: Kernel,
    outputs: Sequence[Output],
    grid: Sequence[int],
    ranked: Sequence[int],
) -> list[int]:
    """The axes in another order where the first would leave most of a warp idle.

    Very many rows of a few elements are computed side by side, each by one thread; and
    a few long sums side by side in memory by all threads of a block each.
    """
    reduces = bool(reductions_of(outputs))
    if not reduces or not ranked or kernel.axes[ranked[0]] >= WARP_LANES:
        return list(ranked)
    results = points_in(kernel, grid)
    for axis in ranked[1:]:
        many = axis in grid and kernel.axes[axis] >= WARP_LANES and results >= MANY_ROWS
        long = axis not in grid and kernel.axes[axis] >= LONG_SUM
        if many or (long and results <= FEW_SUMS):
            return [axis, *(entry for entry in ranked if entry != axis)]
    return list(ranked)


def runs_along_memory(outputs: Sequence[Output], beside: int) -> bool:
    """Whether running values go from neighbour to neighbour, and lanes would not.

    Each lane is then a row of its own: some hide the latency of an addition, but many
    rows at the same place would not stay in the cache together.
    """
    scanned = {entry.axis for entry in scans_of(outputs)}
    return any(
        output.address.coefficient(axis) == 1 for output in outputs for axis in scanned
    ) and all(abs(output.address.coefficient(beside)) > 1 for output in outputs)


def scattered_vectors(
    kernel: Kernel, outputs: Sequence[Output], beside: int, lanes: int, target: Target
) -> tuple[int, int]:
    """Lanes and vectors of rows that are added to rows, or of scattered elements.

    Nothing is held in registers, so a row goes as far along memory as leaves each
    thread a part. Elements to places of their own go one by one: lanes would save
    nothing, and rows at the same place push one another out of the cache.
    """
    values = [output.value for output in outputs]
    loads = [entry for entry in walk(*values) if isinstance(entry, Load)]
    if loads and all(abs(entry.address.coefficient(beside)) != 1 for entry in loads):
        return 1, 1
    pieces = max(1, kernel.axes[beside] // lanes // target.units)
    return lanes, min(SCATTERED_VECTORS, 1 << pieces.bit_length() - 1)


def axes_beside(
    kernel: Kernel, outputs: Sequence[Output], grid: Sequence[int], best: int
) -> tuple[int, ...]:
    """Axes with few positions that share most of what a sum of products reads.

    A product with two or three rows is not packed; its rows are computed together,
    so that the large operand is read once.
    """
    if combines(outputs):
        return ()
    for contraction in _contractions_of(outputs):
        for side in (contraction.rows, contraction.columns):
            others = set(grid) - set(side)
            if (
                best not in side
                and 1 < points_in(kernel, side) <= MOST_BESIDE
                and set(side) < set(grid)
                and others
            ):
                return tuple(side)
    return ()


def column_vectors(
    kernel: Kernel,
    outputs: Sequence[Output],
    best: int,
    vectors: int,
    beside: Sequence[int],
    target: Target,
) -> int:
    """More vectors for one plain sum down the columns of a matrix.

    Its rows are far apart in memory: the more of each is read at once, the better.
    """
    reductions = [
        point.expression
        for point in points_of(outputs)
        if isinstance(point.expression, Reduction)
    ]
    is_plain = len(set(reductions)) == 1 and vectors == SIDE_BY_SIDE
    if target.has_free_iterations or not is_plain or best in reductions[0].axes:
        return vectors
    rows = points_in(kernel, beside)
    most = min(COLUMN_VECTORS, 3 * target.registers // 4 // rows)
    lanes = target.vector_lanes(lane_bytes(outputs))
    pieces = kernel.axes[best] // lanes // target.units
    while vectors * 2 <= min(most, pieces):
        vectors *= 2
    return vectors


def _contractions_of(outputs: Sequence[Output]) -> list[Contraction]:
    """The sums of products among what some outputs need."""
    expressions = {point.expression for point in points_of(outputs)}
    found = [find_contraction(entry) for entry in expressions]
    return [entry for entry in found if entry is not None]


def narrowest_lanes(kernel: Kernel, values: Sequence[Expression]) -> int:
    """Lanes that one grid iteration has at least where hardware hands them out.

    The narrowest elements decide: a warp should load whole lines of them, too.
    """
    sizes = [
        kernel.slots[entry.slot].dtype.itemsize
        for entry in walk(*values)
        if isinstance(entry, Load)
    ]
    return NARROWEST_BYTES // max(2, min(sizes, default=4))


def enough_blocks(
    kernel: Kernel,
    outputs: Sequence[Output],
    grid: Sequence[int],
    lanes: int,
    vectors: int,
    target: Target,
) -> tuple[int, int]:
    """Narrower iterations where wide ones are too few; lanes and vectors."""
    if not target.has_free_iterations:
        return lanes, vectors
    points = points_in(kernel, grid)
    narrowest = narrowest_lanes(kernel, [output.value for output in outputs])
    while lanes * vectors > narrowest and points < target.pieces * lanes * vectors:
        if vectors > 1:
            vectors //= 2
        else:
            lanes //= 2
    return lanes, vectors


def is_revisited(outputs: Sequence[Output], axis: int) -> bool:
    """Whether a row along an axis is gone over more than once.

    Sums that do not need one another, as a least and a greatest, are one pass.
    """
    if any(axis in output.axes for output in outputs):
        return True
    reductions = {
        point.expression
        for point in points_of(outputs)
        if isinstance(point.expression, Reduction) and axis in point.expression.axes
    }
    return any(not reductions.isdisjoint(walk(entry.body)) for entry in reductions)


def row_in_registers(
    kernel: Kernel,
    outputs: Sequence[Output],
    axis: int,
    lanes: int,
    vectors: int,
    target: Target,
) -> tuple[int, int]:
    """Enough lanes and vectors to hold a whole row, where the target keeps it.

    Only a row that is gone over again is held, if need be by neighbouring blocks. Up to
    a point more threads that hold less are better, as they hide each other's waits.
    """
    if not target.row_vectors:
        return lanes, vectors
    row, itemsize = kernel.axes[axis], widest_load(kernel, outputs, axis)
    most = max(1, target.row_vectors * itemsize // 4)
    is_whole = row * itemsize % VECTOR_BYTES == 0 and is_revisited(outputs, axis)
    if target.neighbours > 1 and row * itemsize >= LONG_ROW_BYTES and is_whole:
        most = target.row_vectors
    few, several = max(1, most // 2), 2 * target.vector_lanes(4)
    longest = target.neighbours * target.longest_vector_bytes // itemsize
    if not is_revisited(outputs, axis):
        few, longest = most, target.vector_lanes(itemsize)
    while lanes < longest and (
        lanes * most < row or (lanes < several and lanes * few < row)
    ):
        lanes *= 2
    return lanes, max(vectors, min(most, -(-row // lanes)))


def widest_load(kernel: Kernel, outputs: Sequence[Output], axis: int) -> int:
    """The bytes of the largest element that is loaded along an axis."""
    expressions = [point.expression for point in points_of(outputs)]
    return max(
        (
            kernel.slots[entry.slot].dtype.itemsize
            for entry in expressions
            if isinstance(entry, Load) and entry.address.coefficient(axis) == 1
        ),
        default=4,
    )


def rank_vector_axes(
    kernel: Kernel, outputs: Sequence[Output], grid: Sequence[int], lanes: int
) -> list[int]:
    """Axes that can be put on lanes, the cheapest first."""
    common = set.intersection(*(set(output.axes) for output in outputs))
    reduced: set[int] = set()
    for point in points_of(outputs):
        if isinstance(point.expression, Reduction):
            reduced |= set(point.expression.axes)
    scanned = {entry.axis for entry in scans_of(outputs)}
    candidates = (common | reduced) - scanned
    if combines(outputs):
        candidates &= set(grid) | (reduced - common)

    def cost(axis: int) -> tuple[float, int]:
        return vector_cost(kernel, outputs, axis, lanes), -axis

    return sorted(candidates, key=cost)


def choose_vectors(outputs: Sequence[Output], target: Target) -> int:
    """Vectors side by side: four for simple code, fewer where registers are short.

    One where hardware hands out iterations and nothing is summed: other iterations
    hide latencies as well, and reads and writes stay closer together in memory.
    """
    expressions = {point.expression for point in points_of(outputs)}
    reductions = sum(isinstance(entry, Reduction) for entry in expressions)
    if target.has_free_iterations and not reductions:
        return 1
    heavy = any(
        isinstance(entry, Compute) and issubclass(entry.op, Transcendental)
        for entry in expressions
    )
    operations = sum(operation_cost(entry) for entry in expressions)
    if heavy or operations > 2 * target.registers:
        return 2 if target.registers >= 32 else 1
    return max(1, SIDE_BY_SIDE // max(1, reductions))


def choose_rows(
    kernel: Kernel,
    outputs: Sequence[Output],
    grid: Sequence[int],
    inside: Sequence[int],
    lanes: int,
    vectors: int,
) -> int:
    """Rows side by side, where one row has too few vectors to hide latencies."""
    if not grid or not inside or not reductions_of(outputs):
        return 1
    row = kernel.axes[inside[0]]
    in_flight = max(1, min(vectors, row // lanes))
    return max(1, min(SIDE_BY_SIDE // in_flight, kernel.axes[grid[-1]]))


def choose_chunk(
    kernel: Kernel,
    outputs: Sequence[Output],
    grid: Sequence[int],
    width: int,
    target: Target,
) -> int:
    """Positions of the grid's last axis for one iteration, a multiple of ``width``."""
    if not grid:
        return 1
    last = grid[-1]
    size = kernel.axes[last]
    if target.has_free_iterations:
        return min(size, width)
    others = points_in(kernel, grid[:-1])
    axes = {axis for output in outputs for axis in output.axes}
    for point in points_of(outputs):
        axes |= point.axes
    per_position = points_in(kernel, axes - set(grid))
    enough = -(-target.iteration_elements // max(1, per_position))
    balanced = math.ceil(size * others / (4 * target.units))
    chunk = max(width, enough, min(balanced, 16 * enough))
    chunk = -(-chunk // width) * width
    return min(size, chunk)


# --- axes of the grid ---------------------------------------------------------------


def grid_axes(
    kernel: Kernel, output: Output, *, may_collide: bool = False
) -> tuple[int, ...]:
    """The axes of an output whose points may run at the same time, and should.

    Not the axes that its reductions run over or do not depend on (they are visited
    inside), not the axes of running reductions, nor, unless that is allowed, those on
    which points of a combining output collide.
    """
    axes = set(output.axes)
    reductions = [
        point.expression
        for point in points_of([output])
        if isinstance(point.expression, Reduction)
    ]
    for entry in reductions:
        axes -= set(entry.axes)
    long = [
        entry
        for entry in reductions
        if points_in(kernel, entry.axes) > SHORT_REDUCTION
        and entry.free_axes <= set(output.axes)
    ]
    for entry in long:
        if axes & entry.free_axes:
            axes &= entry.free_axes
    axes -= {entry.axis for entry in scans_of([output])}
    if output.mode is not Mode.STORE and not may_collide:
        axes &= separate_axes(kernel, output)
    return tuple(sorted(axes))


def separate_axes(kernel: Kernel, output: Output) -> set[int]:
    """Axes on which two points of an output never meet at one address.

    With address = … + c * axis + …, every other term must be a multiple of c times
    the axis's size, or all that are not must stay within c together. An index from
    data, which may depend on the axis too, stays within its limits.
    """
    found = set()
    for axis in output.axes:
        coefficient = output.address.coefficient(axis)
        if coefficient <= 0:
            continue
        span = coefficient * kernel.axes[axis]
        rest = tuple(
            (atom, part)
            for atom, part in output.address.terms
            if atom != axis and part % span
        )
        low, high = Affine(0, rest).range(kernel.axes)
        if high - low < coefficient:
            found.add(axis)
    return found
