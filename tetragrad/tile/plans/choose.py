"""Choose a plan from the sizes, the addresses and the target; nothing is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Compute, Expression, Load, Reduction, Scan
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.axes import simplify_axes
from tetragrad.tile.plans.build import GridPlan, Plan
from tetragrad.tile.plans.choose_contraction import (
    choose_contraction,
    is_worth_packing,
)
from tetragrad.tile.plans.contraction import (
    Contraction,
    find_contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.cuts import Cut, apply_cut, cuttable
from tetragrad.tile.plans.fill import fills
from tetragrad.tile.plans.nest import NestPlan, scans_of
from tetragrad.tile.plans.online import choose_online
from tetragrad.tile.plans.rewrite import walk_until
from tetragrad.tile.plans.traffic import (
    lane_bytes,
    operation_cost,
    points_in,
    points_of,
    vector_cost,
    work,
)
from tetragrad.tile.plans.transpose import TransposePlan, crossing_loads

# A reduction over so few positions is computed again wherever it is needed.
SHORT_REDUCTION = 64
# Work (in operations) below which a second grid costs more than it gains.
WORTH_A_GRID = 1 << 15
# A grid iteration should have about this many elements, so that handing it to a
# thread costs little.
CHUNK_ELEMENTS = 1 << 13
# Lanes that one grid iteration has at least where hardware hands iterations out.
NARROWEST = 128
# Contractions: the side of a block of results, how many blocks a large kernel should
# have, and the depth below which one is not divided.
BLOCK_SIDE = 64
ENOUGH_BLOCKS = 32
SHALLOWEST = 1024
# Transpositions: the side of a square of positions (16 KiB of float32), and of the
# smallest that is worth one.
SQUARE_SIDE = 64
SHORTEST_SQUARE = 8
# Vectors side by side, which hides the latency of a chain of additions.
SIDE_BY_SIDE = 4
# Vectors side by side where sums run down columns, so that each row gives a piece of
# memory long enough to be fetched ahead; and rows that share what such a sum reads.
COLUMN_VECTORS = 16
MOST_BESIDE = 3


def choose_plan(kernel: Kernel, target: Target, settings: Settings) -> Plan:
    """The plan that the model prefers for a kernel on a target."""
    rest = simplify_axes(kernel)
    online = choose_online(rest, target)
    if online is not None:
        return Plan((), ((online,),))
    cuts: list[Cut] = []
    stages: list[tuple[GridPlan, ...]] = []
    while True:
        cut = choose_cut(rest, target)
        if cut is None:
            break
        first, rest = apply_cut(rest, cut)
        cuts.append(cut)
        stages.append(choose_stage(first, target))
    stages.append(choose_stage(rest, target))
    return Plan(tuple(cuts), tuple(stages))


# --- cuts ---------------------------------------------------------------------------


def choose_cut(kernel: Kernel, target: Target) -> Cut | None:
    """What should be computed first, if anything."""
    values = cuttable(kernel)
    for number, value in enumerate(values):
        if isinstance(value, Scan) and not _runs_alone(values, value):
            return Cut(number)
        if isinstance(value, Reduction):
            cut = _cut_reduction(kernel, number, value, target)
            if cut is not None:
                return _inner_cut(values, value) or cut
    return None


def _inner_cut(values: Sequence[Expression], value: Reduction) -> Cut | None:
    """Take out a reduction inside one that is about to be cut.

    Every part of the outer one would compute the inner one again.
    """
    inside = set(walk_until({}, value.body))
    for number, entry in enumerate(values):
        if isinstance(entry, Reduction) and entry in inside:
            return Cut(number)
    return None


def _runs_alone(values: Sequence[Expression], scan: Scan) -> bool:
    """Whether a running reduction can be carried along the loop that stores.

    Not where something reduces over it or along it, nor beside one that runs along
    another axis or the other way: those need loops of their own.
    """
    for other in values:
        if other is scan:
            continue
        if scan in walk_until({}, other):
            return False
        if isinstance(other, Reduction) and other not in walk_until({}, scan):
            touched = other.free_axes | set(other.axes)
            if scan.axis in touched or scan.free_axes & set(other.axes):
                return False
        if isinstance(other, Scan) and (other.axis, other.reverse) != (
            scan.axis,
            scan.reverse,
        ):
            return False
    return True


def _cut_reduction(
    kernel: Kernel, number: int, value: Reduction, target: Target
) -> Cut | None:
    """Divide a long reduction with few results; take out one that many repeat."""
    length = points_in(kernel, value.axes)
    if length <= SHORT_REDUCTION or work(kernel, value) < WORTH_A_GRID:
        return None
    contraction = find_contraction(value)
    if contraction is not None and is_worth_packing(kernel, contraction):
        return _cut_contraction(kernel, number, contraction)
    pieces = _pieces(kernel, value, target)
    if pieces < _enough_pieces(kernel, value, target):
        longest = max(value.axes, key=lambda axis: kernel.axes[axis])
        parts = _parts(kernel.axes[longest], length, pieces, target)
        if parts > 1:
            return Cut(number, longest, parts)
    if _is_repeated(kernel, value):
        return Cut(number)
    return None


def _cut_contraction(
    kernel: Kernel, number: int, contraction: Contraction
) -> Cut | None:
    """Divide a product that is deep but has few blocks; set it apart from the rest."""
    batches = points_in(kernel, contraction.batch)
    rows = -(-points_in(kernel, contraction.rows) // BLOCK_SIDE)
    columns = -(-points_in(kernel, contraction.columns) // BLOCK_SIDE)
    depth = points_in(kernel, contraction.depth)
    longest = max(contraction.depth, key=lambda axis: kernel.axes[axis])
    wanted = min(ENOUGH_BLOCKS // (batches * rows * columns), depth // SHALLOWEST)
    parts = divisor_near(kernel.axes[longest], wanted)
    if parts > 1:
        return Cut(number, longest, parts)
    return None if hosted_contraction(kernel) is not None else Cut(number)


def _pieces(kernel: Kernel, value: Reduction, target: Target) -> int:
    """Grid iterations of a reduction: its results, or vectors of neighbouring ones."""
    results = points_in(kernel, value.free_axes)
    if target.has_free_iterations and not _runs_along_rows(value):
        return -(-results // NARROWEST)
    return results


def _enough_pieces(kernel: Kernel, value: Reduction, target: Target) -> int:
    """Pieces from which on a reduction is not divided.

    A row that stays in registers is worth more than pieces for every unit.
    """
    length = points_in(kernel, value.axes)
    longest = target.row_vectors * target.longest_vector_bytes // 4
    if _runs_along_rows(value) and length <= longest:
        return target.units // 2
    return target.pieces


def _runs_along_rows(value: Reduction) -> bool:
    """Whether neighbours in memory are combined, and not neighbouring results."""
    return any(
        entry.address.coefficient(axis) == 1
        for entry in walk_until({}, value.body)
        if isinstance(entry, Load)
        for axis in value.axes
    )


def _parts(size: int, length: int, pieces: int, target: Target) -> int:
    """How many parts give every grid iteration enough to do."""
    shortest = CHUNK_ELEMENTS // 4
    if target.has_free_iterations and pieces > 1:
        shortest = SHORT_REDUCTION
    wanted = min(target.pieces // max(1, pieces), length // shortest)
    return divisor_near(size, wanted)


def divisor_near(size: int, wanted: int) -> int:
    """A number of parts up to ``wanted``; equal parts need no guard inside."""
    parts = max(1, min(wanted, size))
    for candidate in range(parts, max(1, parts // 2), -1):
        if size % candidate == 0:
            return candidate
    return parts


def _is_repeated(kernel: Kernel, value: Reduction) -> bool:
    """Whether the points of some output would compute the value again and again."""
    for output in kernel.outputs:
        axes = grid_axes(kernel, output)
        outside = set(axes) - value.free_axes
        if points_in(kernel, outside) > 1 and outside:
            return True
    return False


# --- grids --------------------------------------------------------------------------


def choose_stage(kernel: Kernel, target: Target) -> tuple[GridPlan, ...]:
    """The grids of a kernel that is not cut any more."""
    grids: list[GridPlan] = []
    lanes = target.vector_lanes(4)
    grids += fills(kernel.outputs, lanes, CHUNK_ELEMENTS)
    contraction = hosted_contraction(kernel)
    if contraction is not None and is_worth_packing(kernel, contraction):
        return (choose_contraction(kernel, contraction, target),)
    for group in group_outputs(kernel):
        transpose = choose_transpose(kernel, group, target)
        grids.append(transpose or choose_nest(kernel, group, target))
    return tuple(grids)


def group_outputs(kernel: Kernel) -> list[tuple[int, ...]]:
    """Outputs that can share a grid: those with the same grid axes."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, output in enumerate(kernel.outputs):
        key = (grid_axes(kernel, output), output.mode)
        groups.setdefault(key, []).append(number)
    return [tuple(group) for group in groups.values()]


def grid_axes(kernel: Kernel, output: Output) -> tuple[int, ...]:
    """The axes of an output whose points may run at the same time, and should.

    Not the axes that its reductions run over or do not depend on (they are visited
    inside), not the axes of running reductions, nor those on which points of a
    combining output collide.
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
    if output.mode is not Mode.STORE:
        axes &= separate_axes(kernel, output)
    return tuple(sorted(axes))


def separate_axes(kernel: Kernel, output: Output) -> set[int]:
    """Axes on which two points of an output never meet at one address.

    With address = … + c * axis + …, every other term must be a multiple of c times
    the axis's size, or all that are not must stay within c together.
    """
    found = set()
    for axis in output.axes:
        coefficient = output.address.coefficient(axis)
        hidden = {
            inner
            for atom, _ in output.address.terms
            if not isinstance(atom, int)
            for inner in atom.free_axes
        }
        if coefficient <= 0 or axis in hidden:
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


def choose_transpose(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> TransposePlan | None:
    """Squares of two axes, where some load is contiguous along another axis."""
    outputs = [kernel.outputs[number] for number in group]
    axes = outputs[0].axes
    if not cuttable(kernel) and all(entry.mode is Mode.STORE for entry in outputs):
        for store_axis in axes:
            if any(entry.address.coefficient(store_axis) != 1 for entry in outputs):
                continue
            for load_axis in axes:
                sizes = (kernel.axes[load_axis], kernel.axes[store_axis])
                if min(sizes) < SHORTEST_SQUARE or load_axis == store_axis:
                    continue
                if crossing_loads(outputs, load_axis, store_axis):
                    grid = tuple(
                        axis for axis in axes if axis not in (load_axis, store_axis)
                    )
                    return TransposePlan(
                        group,
                        grid,
                        load_axis,
                        store_axis,
                        SQUARE_SIDE,
                        target.vector_lanes(lane_bytes(outputs)),
                        target.line_bytes,
                        target.has_free_iterations,
                    )
    return None


def choose_nest(kernel: Kernel, group: tuple[int, ...], target: Target) -> NestPlan:
    """Which axis goes on lanes, how many vectors, and how the grid is chunked."""
    outputs = [kernel.outputs[number] for number in group]
    lanes = target.vector_lanes(lane_bytes(outputs))
    grid = grid_axes(kernel, outputs[0])
    ranked = rank_vector_axes(kernel, outputs, grid, lanes)
    vectors = choose_vectors(outputs, target)
    inside = [axis for axis in ranked if axis not in grid]
    beside: tuple[int, ...] = ()
    if ranked and not target.has_free_iterations:
        beside = axes_beside(kernel, outputs, grid, ranked[0])
        grid = tuple(axis for axis in grid if axis not in beside)
    if ranked and ranked[0] in grid:
        best = ranked[0]
        grid = (*(axis for axis in grid if axis != best), best)
        vectors = column_vectors(kernel, outputs, best, vectors, beside, target)
        lanes, vectors = enough_blocks(kernel, grid, lanes, vectors, target)
        width = lanes * vectors
        chunk = choose_chunk(kernel, outputs, grid, width, target)
        return NestPlan(group, grid, (best,), lanes, vectors, chunk, beside=beside)
    if inside:
        lanes, vectors = row_in_registers(
            kernel.axes[inside[0]], lanes, vectors, target
        )
    rows = choose_rows(kernel, outputs, grid, inside, lanes, vectors)
    chunk = choose_chunk(kernel, outputs, grid, rows, target)
    return NestPlan(group, grid, tuple(inside), lanes, vectors, chunk, rows, beside)


def axes_beside(
    kernel: Kernel, outputs: Sequence[Output], grid: Sequence[int], best: int
) -> tuple[int, ...]:
    """Axes with few positions that share most of what a sum of products reads.

    A product with two or three rows is not packed; its rows are computed together,
    so that the large operand is read once.
    """
    if any(output.mode is not Mode.STORE for output in outputs):
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


def enough_blocks(
    kernel: Kernel, grid: Sequence[int], lanes: int, vectors: int, target: Target
) -> tuple[int, int]:
    """Narrower iterations where wide ones are too few; lanes and vectors."""
    if not target.has_free_iterations:
        return lanes, vectors
    points = points_in(kernel, grid)
    while lanes * vectors > NARROWEST and points < target.pieces * lanes * vectors:
        if vectors > 1:
            vectors //= 2
        else:
            lanes //= 2
    return lanes, vectors


def row_in_registers(
    row: int, lanes: int, vectors: int, target: Target
) -> tuple[int, int]:
    """Enough lanes and vectors to hold a whole row, where the target keeps it."""
    if not target.row_vectors:
        return lanes, vectors
    itemsize = target.vector_bytes // lanes
    longest = target.longest_vector_bytes // itemsize
    while lanes < longest and lanes * target.row_vectors < row:
        lanes *= 2
    return lanes, max(vectors, min(target.row_vectors, -(-row // lanes)))


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
    if any(output.mode is not Mode.STORE for output in outputs):
        candidates &= set(grid) | (reduced - common)

    def cost(axis: int) -> tuple[float, int]:
        return vector_cost(kernel, outputs, axis, lanes), -axis

    return sorted(candidates, key=cost)


def choose_vectors(outputs: Sequence[Output], target: Target) -> int:
    """Vectors side by side: four for simple code, fewer where registers are short."""
    expressions = {point.expression for point in points_of(outputs)}
    reductions = sum(isinstance(entry, Reduction) for entry in expressions)
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
    if not grid or not inside or not any(_has_reduction(entry) for entry in outputs):
        return 1
    row = kernel.axes[inside[0]]
    in_flight = max(1, min(vectors, row // lanes))
    return max(1, min(SIDE_BY_SIDE // in_flight, kernel.axes[grid[-1]]))


def _has_reduction(output: Output) -> bool:
    return any(isinstance(point.expression, Reduction) for point in points_of([output]))


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
    enough = -(-CHUNK_ELEMENTS // max(1, per_position))
    balanced = math.ceil(size * others / (4 * target.units))
    chunk = max(width, enough, min(balanced, 16 * enough))
    chunk = -(-chunk // width) * width
    return min(size, chunk)
