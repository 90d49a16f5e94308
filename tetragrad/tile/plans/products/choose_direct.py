"""Choose the blocks of a convolution that reads its image directly, if it is one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from tetragrad.core.frozen import replace
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Expression
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.choose_supply import are_rows_in_place, is_inside
from tetragrad.tile.plans.products.contraction import Block, Contraction, Supply
from tetragrad.tile.plans.products.operands import runs_of
from tetragrad.tile.plans.products.windows import (
    DirectPlan,
    Extents,
    Image,
    extents_of,
    image_of,
)
from tetragrad.tile.plans.traffic import (
    SCATTERED_COST,
    points_in,
    register_bytes,
    work_in,
)

# Results in registers at once, and rows of them.
MAXIMUM_MICRO_ROWS = 12
MOST_VECTORS = 6
# Rows below which windows are read too rarely for an image to be copied first.
FEWEST_ROWS = 4
# Bytes of a row panel's sums, which are written and read again while near.
STAGED_BYTES = 48 << 10
# Operations for a vector of the image (bounds, zeros outside), and for one that is put
# apart by remainders too; for a vector of results on its way through the staged sums.
READING, SPREADING, STAGING = 8.0, 4.0, 4.0


def choose_direct(
    kernel: Kernel, contraction: Contraction, target: Target, *, swap: bool
) -> tuple[DirectPlan, float] | None:
    """The plan for reading the second operand as an image, and its operations.

    None where windows do not overlap, or where results are not floats.
    """
    if not contraction.reduction.accumulator.is_floating_point:
        return None
    if points_in(kernel, contraction.rows) < FEWEST_ROWS:
        return None
    found = []
    for columns in _column_blocks(kernel, contraction):
        image = image_of(kernel, contraction.rhs, contraction.depth, columns)
        if image is None or not image.sliding_axes:
            continue
        for chunk in _chunks(kernel.axes[columns.chunked]):
            block = Block(columns.axes, columns.split, chunk)
            plan = _plan(kernel, contraction, target, image, block, swap=swap)
            cost = _cost(kernel, contraction, target, image, plan)
            found.append((plan, cost))
    return min(found, key=lambda entry: entry[1], default=None)


def _column_blocks(kernel: Kernel, contraction: Contraction) -> Iterator[Block]:
    """Blocks of whole rows, and of parts of rows."""

    def step(axis: int) -> int:
        return max(abs(output.address.coefficient(axis)) for output in kernel.outputs)

    axes = tuple(sorted(contraction.columns, key=lambda axis: (-step(axis), axis)))
    last = len(axes) - 1
    if last > 0:
        yield Block(axes, last - 1, kernel.axes[axes[-2]])
    yield Block(axes, last, kernel.axes[axes[-1]])


def _chunks(size: int) -> list[int]:
    """Sizes of about equal parts of an axis, the largest first."""
    parts = {power * part for power in (1, 2, 4, 8, 16, 32, 64, 128) for part in (2, 3)}
    return sorted({-(-size // count) for count in {1, *parts}}, reverse=True)


def _plan(
    kernel: Kernel,
    contraction: Contraction,
    target: Target,
    image: Image,
    columns: Block,
    *,
    swap: bool,
) -> DirectPlan:
    lanes = target.vector_lanes(register_bytes(contraction.reduction.accumulator))
    size = points_in(kernel, contraction.rows)
    micro_rows, vectors = micro_tile(
        size, extents_of(kernel, image, columns).results, lanes, target.registers
    )
    taps = [entry.tap for entry in (image.row, image.lane) if entry is not None]
    depth = [axis for axis in (*image.planes, *taps) if axis is not None]
    depth += [axis for axis in contraction.depth if axis not in depth]
    plan = DirectPlan(
        swap=swap,
        batch=contraction.batch,
        rows=_row_block(kernel, contraction, target, depth, micro_rows),
        columns=columns,
        depth=Block(tuple(depth), 0, kernel.axes[depth[0]]),
        micro_rows=min(micro_rows, size),
        micro_columns=vectors * lanes,
        lanes=lanes,
    )
    # Panels of filters follow one another here, and so none may go beyond the last.
    is_whole = plan.rows.size(kernel) % plan.micro_rows == 0
    is_in_place = (
        is_whole
        and is_inside(kernel, contraction, plan, plan.rows)
        and are_rows_in_place(
            kernel, contraction.lhs, plan.depth, plan.rows, plan.micro_rows
        )
    )
    return replace(plan, lhs=Supply.IN_PLACE) if is_in_place else plan


@functools.lru_cache(maxsize=1024)
def micro_tile(rows: int, results: int, lanes: int, registers: int) -> tuple[int, int]:
    """Rows and vectors of a micro-tile: the fewest instructions for all results.

    Besides the totals, registers hold a column's vectors and two broadcast elements.
    """
    found = []
    for vectors in range(1, MOST_VECTORS + 1):
        most = min(MAXIMUM_MICRO_ROWS, rows, (registers - vectors - 2) // vectors)
        for count in range(-(-most // 2), most + 1):
            tiles = -(-rows // count) * -(-results // (lanes * vectors))
            found.append((tiles * step_cost(count, vectors), -count * vectors, count))
    best = min(found)
    return best[2], -best[1] // best[2]


def step_cost(rows: int, vectors: int) -> float:
    """Operations of a step of the depth: products, or loads if those take longer.

    Vectors of the image cross cache lines, which takes several times as long. Few
    rows of many vectors do better than the other way round.
    """
    return max(rows * vectors, rows + 5 * vectors, 8) + rows / 2


def _row_block(
    kernel: Kernel,
    contraction: Contraction,
    target: Target,
    depth: Sequence[int],
    micro_rows: int,
) -> Block:
    """All rows, or as many as fit into half of the cache where all are packed."""
    axes = tuple(sorted(contraction.rows, key=lambda axis: _step_of(kernel, axis)))
    whole = Block(axes, 0, kernel.axes[axes[0]])
    if len(runs_of(kernel, whole, contraction.lhs)) == 1:
        return whole
    itemsize = contraction.lhs.dtype.itemsize
    limit = target.cache_bytes // 2 // (points_in(kernel, depth) * itemsize)
    inner = whole.inner_size(kernel)
    parts = -(-kernel.axes[axes[0]] * inner // max(limit, micro_rows))
    return Block(axes, 0, -(-kernel.axes[axes[0]] // parts))


def _step_of(kernel: Kernel, axis: int) -> tuple[int, int]:
    steps = [abs(output.address.coefficient(axis)) for output in kernel.outputs]
    return -max(steps), axis


# --- what a plan costs --------------------------------------------------------------


def _cost(
    kernel: Kernel,
    contraction: Contraction,
    target: Target,
    image: Image,
    plan: DirectPlan,
) -> float:
    """Vector operations of the busiest unit, times the number of units.

    An image beyond half of the cache is read from further away at every panel.
    """
    extents = extents_of(kernel, image, plan.columns)
    outer = points_in(kernel, (*plan.batch, *plan.rows.outer, *plan.columns.outer))
    tasks = outer * plan.rows.chunks(kernel) * plan.columns.chunks(kernel)
    depth = points_in(kernel, contraction.depth)
    row_panels = -(-plan.rows.size(kernel) // plan.micro_rows)
    column_panels = -(-extents.results // plan.micro_columns)
    step = step_cost(plan.micro_rows, plan.micro_columns // plan.lanes)
    itemsize = contraction.rhs.dtype.itemsize
    if extents.size * itemsize > target.cache_bytes // 2:
        step *= 2
    if extents.results * plan.micro_rows * itemsize > STAGED_BYTES:
        step *= 1.1
    products = row_panels * column_panels * depth * step
    packing = packing_cost(extents, contraction.rhs, plan.lanes)
    if plan.lhs is not Supply.IN_PLACE:
        packing += plan.rows.size(kernel) * depth * 2 / plan.lanes
    busiest = -(-tasks // target.units) * target.units
    return busiest * (products + packing) + _storing(kernel, plan)


def packing_cost(extents: Extents, value: Expression, lanes: int) -> float:
    """Operations for packing an image: whole vectors of each of its rows."""
    image = extents.image
    rows = extents.size // extents.pitch // image.lane.step
    vectors = -(-extents.pitch * image.lane.step // lanes)
    each = READING * work_in(value) + (SPREADING if image.lane.step > 1 else 0.0)
    return rows * vectors * each


def _storing(kernel: Kernel, plan: DirectPlan) -> float:
    """Operations for all results, by whether lanes are contiguous in the outputs."""
    lane = plan.columns.axes[-1]
    total = 0.0
    for output in kernel.outputs:
        count = points_in(kernel, output.axes)
        contiguous = output.address.coefficient(lane) == 1
        used = kernel.axes[lane] / (-(-kernel.axes[lane] // plan.lanes) * plan.lanes)
        each = STAGING / plan.lanes / used if contiguous else SCATTERED_COST
        total += count * each
    return total
