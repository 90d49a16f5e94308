"""Choose whether the gradient of a filter is summed in tiles, and in which blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.choose_contraction import cheapest_contraction
from tetragrad.tile.plans.products.choose_winograd import (
    FEWEST_ROWS,
    INTO_POINT,
    WORTHWHILE,
)
from tetragrad.tile.plans.products.contraction import Block, Contraction
from tetragrad.tile.plans.products.product_cost import TURNED_PACKING
from tetragrad.tile.plans.products.windows import Sliding, forms_below, sliding_along
from tetragrad.tile.plans.products.winograd import POINT_COUNTS, Transform
from tetragrad.tile.plans.products.winograd_sums import WinogradSumsPlan
from tetragrad.tile.plans.traffic import SCATTERED_COST, points_in, work_in

# Taps of a row that are results here, and the parts into which channels are cut.
TILES = range(2, 6)
CHANNEL_PARTS = (1, 2, 4, 8)
# Parts into which the tiles of an image are cut.
LINE_PARTS = (1, 2, 3, 4, 8)
# Operations for a vector of sums that is added to memory.
ADDING = 3.0
MOST_ROWS, MOST_VECTORS = 12, 4


def choose_winograd_sums(
    kernel: Kernel, contraction: Contraction, target: Target
) -> WinogradSumsPlan | None:
    """The cheapest plan in tiles, if none without is cheaper."""
    if "winograd" not in target.features or target.has_free_iterations:
        return None
    found = [
        *ways_to_sum(kernel, contraction, target, swap=False),
        *ways_to_sum(kernel, contraction.swapped(), target, swap=True),
    ]
    if not found:
        return None
    plan, cost = min(found, key=lambda entry: entry[1])
    _, plain = cheapest_contraction(kernel, contraction, target)
    return plan if cost < WORTHWHILE * plain else None


def ways_to_sum(
    kernel: Kernel, contraction: Contraction, target: Target, *, swap: bool
) -> Iterator[tuple[WinogradSumsPlan, float]]:
    """Every way to sum at points what windows of the second operand are summed for."""
    operands = (contraction.lhs, contraction.rhs)
    if any(entry.dtype is not dtypes.float32 for entry in operands):
        return
    if len(contraction.rows) != 1 or len(contraction.columns) != 3:
        return
    slides = _slides(kernel, contraction)
    if slides is None or kernel.axes[slides[0].axis] not in TILES:
        return
    row, lane = slides
    (channel,) = set(contraction.columns) - {row.axis, lane.axis}
    (filters,) = contraction.rows
    if kernel.axes[filters] < FEWEST_ROWS:
        return
    for points in POINT_COUNTS:
        transform = Transform(kernel.axes[row.axis], points - kernel.axes[row.axis] + 1)
        if not 2 <= transform.taps <= row.taps:
            continue
        tiles = -(-row.taps // transform.taps)
        for lines in {-(-tiles // parts) for parts in LINE_PARTS}:
            for parts in CHANNEL_PARTS:
                plan = WinogradSumsPlan(
                    swap=swap,
                    batch=contraction.batch,
                    rows=_part(kernel, filters, parts),
                    columns=_part(kernel, channel, parts),
                    depth=Block(contraction.depth, 0, 1),
                    micro_rows=1,
                    micro_columns=1,
                    lanes=target.vector_lanes(4),
                    row=row,
                    lane=lane,
                    transform=transform,
                    lines=lines,
                )
                sizes = _Sizes(kernel, contraction, target, plan)
                yield sizes.with_micro_tile(), sizes.cost()


def _slides(kernel: Kernel, contraction: Contraction) -> tuple[Sliding, Sliding] | None:
    """The two columns along which windows slide, that with the longer steps first."""
    forms = forms_below(contraction.rhs)
    if not all(form.is_pure() for form in forms):
        return None
    found = [
        sliding_along(kernel, forms, axis, contraction.depth)
        for axis in contraction.columns
    ]
    found = [
        entry
        for entry in found
        if entry.tap is not None and entry.step == entry.spread == 1
    ]
    if len(found) != 2 or found[0].tap == found[1].tap:
        return None

    def step(sliding: Sliding) -> int:
        return max(abs(form.coefficient(sliding.axis)) for form in forms)

    first, second = sorted(found, key=step, reverse=True)
    return first, second


def _part(kernel: Kernel, axis: int, parts: int) -> Block:
    return Block((axis,), 0, -(-kernel.axes[axis] // parts))


@frozen
class _Sizes:
    """A plan without its micro-tile, and what follows from its sizes."""

    kernel: Kernel
    contraction: Contraction
    target: Target
    plan: WinogradSumsPlan

    @cached_property
    def sums_rows(self) -> int:
        """Rows of the sums at a point."""
        return self.kernel.axes[self.plan.lane.axis] * self.plan.columns.chunk

    @cached_property
    def micro(self) -> tuple[int, int]:
        """Rows and vectors of a micro-tile: the fewest operations for all sums."""
        columns, registers = self.plan.rows.chunk, self.target.registers
        shapes = [
            (height, vectors)
            for vectors in range(1, MOST_VECTORS + 1)
            for height in range(1, MOST_ROWS + 1)
            if height * vectors + vectors + 2 <= registers
        ]

        def steps(shape: tuple[int, int]) -> tuple[float, int]:
            height, vectors = shape
            panels = -(-self.sums_rows // height)
            panels *= -(-columns // (vectors * self.plan.lanes))
            return panels * _step(height, vectors), -height * vectors

        return min(shapes, key=steps)

    def with_micro_tile(self) -> WinogradSumsPlan:
        """The plan with its micro-tile."""
        height, vectors = self.micro
        columns = vectors * self.plan.lanes
        return replace(self.plan, micro_rows=height, micro_columns=columns)

    # --- what it costs -----------------------------------------------------------

    def cost(self) -> float:
        """Vector operations of the busiest unit, times the number of units."""
        plan, kernel, units = self.plan, self.kernel, self.target.units
        tasks = points_in(kernel, plan.batch)
        tasks *= plan.rows.chunks(kernel) * plan.columns.chunks(kernel)
        taps = (plan.row.tap, plan.lane.tap)
        images = [axis for axis in self.contraction.depth if axis not in taps]
        steps = points_in(kernel, images) * plan.steps
        each = steps * (self._products() + self._points())
        results = plan.transform.tile * self.sums_rows * plan.rows.chunk
        each += results * (SCATTERED_COST + plan.transform.points / plan.lanes)
        return -(-tasks // units) * units * each

    def _products(self) -> float:
        """The products of some tiles of an image at all points, added to the sums."""
        plan, (height, vectors) = self.plan, self.micro
        panels = -(-self.sums_rows // height)
        panels *= -(-plan.rows.chunk // (vectors * plan.lanes))
        step = _step(height, vectors)
        sums = plan.transform.points * self.sums_rows * plan.rows.chunk
        if 4 * (sums + sum(self._elements())) > self.target.cache_bytes * 3 // 4:
            step *= 2
        each = plan.lines * plan.lane.taps * step + ADDING * height * vectors
        return plan.transform.points * panels * each

    def _elements(self) -> tuple[int, int]:
        """Elements of both operands at all points."""
        plan = self.plan
        lines = plan.transform.points * plan.lines
        reach = plan.lane.taps + self.kernel.axes[plan.lane.axis] - 1
        image = lines * reach * plan.columns.chunk
        return image, lines * plan.lane.taps * plan.rows.chunk

    def _points(self) -> float:
        """Packing both operands, and transforming them."""
        plan = self.plan
        image, upstream = self._elements()
        transforms = INTO_POINT * (image + upstream)
        rows = (plan.lines - 1) * plan.transform.taps + plan.transform.points
        image = image * rows // (plan.lines * plan.transform.points)
        upstream = upstream * plan.transform.taps // plan.transform.points
        packing = image * work_in(self.contraction.rhs)
        packing += upstream * work_in(self.contraction.lhs)
        return (transforms + TURNED_PACKING * packing) / plan.lanes


def _step(rows: int, vectors: int) -> float:
    """Operations of a step of the depth, as of other products."""
    return max(rows * vectors, rows + vectors) + rows / 2
