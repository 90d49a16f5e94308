"""Choose how a reduction over windows keeps its image, if it is one."""

from __future__ import annotations

from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.nests.slide import SlidePlan, Windowed, find_windowed
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.windows import extents_of
from tetragrad.tile.plans.traffic import lane_bytes, points_in

# Vectors of results in registers at once, which hides the latency of an addition, and
# the most of one row.
MOST_TOTALS = 8
MOST_VECTORS = 4
# Elements of windows below which reading them as they are is as fast.
SMALLEST_WINDOW = 4
# What a grid iteration's image may take of a unit's cache.
CACHE_SHARE = 4
# Iterations that a kernel should have for every unit.
TASKS_PER_UNIT = 4


def choose_slides(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> tuple[SlidePlan, ...]:
    """Plans for windows: one for all outputs, or else one for each of them."""
    together = choose_slide(kernel, group, target)
    if together is not None:
        return (together,)
    alone = [choose_slide(kernel, (number,), target) for number in group]
    found = [plan for plan in alone if plan is not None]
    return tuple(found) if len(found) == len(group) else ()


def choose_slide(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> SlidePlan | None:
    """A plan that packs the image once, where windows overlap along rows and lanes."""
    if target.has_free_iterations:
        return None
    outputs = [kernel.outputs[number] for number in group]
    windowed = windows_of(kernel, group)
    if windowed is None:
        return None
    *outer, row, lane = in_memory(outputs[0])
    lanes = target.vector_lanes(lane_bytes(outputs))
    while lanes > 1 and lanes // 2 >= kernel.axes[lane]:
        lanes //= 2
    vectors = min(MOST_VECTORS, -(-kernel.axes[lane] // lanes))
    rows = min(kernel.axes[row], max(1, MOST_TOTALS // vectors))
    columns = Block((row, lane), 0, kernel.axes[row])
    chunk = _chunk(kernel, windowed, columns, outer, rows, target)
    columns = Block(columns.axes, 0, chunk)
    return SlidePlan(group, tuple(outer), columns, rows, vectors, lanes)


def windows_of(kernel: Kernel, group: tuple[int, ...]) -> Windowed | None:
    """The windows that outputs are reductions over, if they are worth an image."""
    outputs = [kernel.outputs[number] for number in group]
    if len(outputs[0].axes) < 2:
        return None
    *_, row, lane = in_memory(outputs[0])
    if any(output.address.coefficient(lane) != 1 for output in outputs):
        return None
    windowed = find_windowed(kernel, group, Block((row, lane), 0, kernel.axes[row]))
    if windowed is None or windowed.image.window < SMALLEST_WINDOW:
        return None
    return windowed


def in_memory(output: Output) -> list[int]:
    """An output's axes, that along which neighbours lie last."""
    return sorted(output.axes, key=lambda axis: -abs(output.address.coefficient(axis)))


def _chunk(
    kernel: Kernel,
    windowed: Windowed,
    columns: Block,
    outer: list[int],
    rows: int,
    target: Target,
) -> int:
    """Rows of a block: few enough for the cache, and for all units to have some."""
    size = kernel.axes[columns.chunked]
    itemsize = windowed.operand.dtype.itemsize
    limit = target.cache_bytes // CACHE_SHARE
    wanted = TASKS_PER_UNIT * target.units if target.units > 1 else 1
    parts = 1
    while True:
        chunk = -(-size // (parts * rows)) * rows
        block = Block(columns.axes, 0, chunk)
        nbytes = extents_of(kernel, windowed.image, block).size * itemsize
        tasks = points_in(kernel, outer) * -(-size // chunk)
        is_fine = nbytes <= limit and tasks >= wanted
        row = windowed.image.row
        shortest = max(rows, 1 if row is None else 2 * row.taps)
        if is_fine or chunk <= shortest:
            return chunk
        parts *= 2
