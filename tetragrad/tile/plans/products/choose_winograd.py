"""Choose whether a convolution takes fewer multiplications, and in which tiles.

Each tile of ``t`` results of ``r`` taps takes ``t + r - 1`` products instead of
``t * r``, and transforms of what it reads and makes. So this pays where a product is a
sum over many channels or many taps of the other axis; the cost model weighs both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.products.choose_contraction import (
    cheapest_contraction,
    in_output_order,
    is_worth_packing,
)
from tetragrad.tile.plans.products.choose_direct import (
    STAGING,
    micro_tile,
    packing_cost,
    step_cost,
)
from tetragrad.tile.plans.products.contraction import (
    Block,
    Contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.products.windows import (
    Extents,
    Image,
    extents_of,
    image_of,
)
from tetragrad.tile.plans.products.winograd import (
    POINT_COUNTS,
    TILES,
    Filters,
    Transform,
    WinogradPlan,
    can_be_transformed,
)
from tetragrad.tile.plans.traffic import SCATTERED_COST, points_in

# Filters, and products of a result, from which on transforms can be little beside them.
FEWEST_ROWS = 8
SHALLOWEST = 16
# Operations of a vector at a point: of the image, with its loads, and of the results.
INTO_POINT, OUT_OF_POINT = 5.0, 1.0
# The share of the operations that must be saved for that.
WORTHWHILE = 0.9
# Operations of a vector of filters that no cache holds.
FAR_AWAY = 4.0
# Images of a block, whose vectors run from one to the next.
IMAGES = (1, 2, 4, 8, 16)
# Parts into which the tiles of an image are cut.
LINE_PARTS = (1, 2, 3, 4, 8, 16)


def choose_winograd(
    kernel: Kernel, target: Target
) -> tuple[Filters, WinogradPlan] | None:
    """The cheapest way to transform a convolution, if none without is cheaper."""
    if "winograd" not in target.features or target.has_free_iterations:
        return None
    contraction = hosted_contraction(kernel)
    if contraction is None or not is_worth_packing(kernel, contraction):
        return None
    found = [
        *ways_to_transform(kernel, contraction, target, swap=False),
        *ways_to_transform(kernel, contraction.swapped(), target, swap=True),
    ]
    if not found:
        return None
    filters, plan, cost = min(found, key=lambda entry: entry[2])
    _, plain = cheapest_contraction(kernel, contraction, target)
    return (filters, plan) if cost < WORTHWHILE * plain else None


def ways_to_transform(
    kernel: Kernel, contraction: Contraction, target: Target, *, swap: bool
) -> Iterator[tuple[Filters, WinogradPlan, float]]:
    """Every way to transform the rows of an image, with its operations."""
    operands = (contraction.lhs, contraction.rhs)
    if any(entry.dtype is not dtypes.float32 for entry in operands):
        return
    if len(contraction.rows) != 1 or len(contraction.columns) < 2:
        return
    if points_in(kernel, contraction.rows) < FEWEST_ROWS:
        return
    columns = in_output_order(kernel, contraction.columns)
    row_axis = len(columns) - 2
    rows = kernel.axes[columns[row_axis]]
    whole = Block(columns, row_axis, rows)
    image = image_of(kernel, contraction.rhs, contraction.depth, whole)
    if image is None or image.row is None or not can_be_transformed(image.row):
        return
    planes = points_in(kernel, image.planes)
    if image.lane.step != 1 or planes * image.lane.taps < SHALLOWEST:
        return
    for tile in TILES:
        transform = Transform(tile, image.row.taps)
        if transform.points in POINT_COUNTS and tile < rows + transform.taps:
            for block in _blocks(kernel, whole, transform):
                sizes = _Sizes(kernel, contraction, target, image, transform, block)
                yield sizes.filters(swap), sizes.plan(swap), sizes.cost()


def _blocks(kernel: Kernel, whole: Block, transform: Transform) -> Iterator[Block]:
    """Several images, one, or some tiles of one."""
    tiles = -(-whole.chunk // transform.tile)
    parts = {-(-tiles // count) for count in LINE_PARTS}
    for lines in parts:
        chunk = min(whole.chunk, lines * transform.tile)
        yield Block(whole.axes, whole.split, chunk)
    if whole.split:
        images = kernel.axes[whole.axes[whole.split - 1]]
        for count in IMAGES:
            if images % count == 0:
                yield Block(whole.axes, whole.split - 1, count)


@frozen
class _Sizes:
    """A way to transform a convolution, and what follows from its sizes."""

    kernel: Kernel
    contraction: Contraction
    target: Target
    image: Image
    transform: Transform
    block: Block

    @property
    def row(self) -> int:
        return self.contraction.rows[0]

    @cached_property
    def lanes(self) -> int:
        return self.target.vector_lanes(4)

    @cached_property
    def depth(self) -> tuple[int, ...]:
        """The axes of a sum at one point."""
        tap = self.image.lane.tap
        return (*self.image.planes, *(() if tap is None else (tap,)))

    @cached_property
    def shape(self) -> WinogradPlan:
        """The plan, but for its micro-tile."""
        size, image = self.kernel.axes[self.row], self.image
        assert image.row is not None and image.row.tap is not None
        depth = (image.row.tap, *self.depth)
        rest = [axis for axis in self.contraction.depth if axis not in depth]
        return WinogradPlan(
            swap=False,
            batch=self.contraction.batch,
            rows=Block((self.row,), 0, size),
            columns=self.block,
            depth=Block((*depth, *rest), 0, image.row.taps),
            micro_rows=1,
            micro_columns=self.lanes,
            lanes=self.lanes,
            transform=self.transform,
            row_axis=len(self.block.axes) - 2,
            slot=len(self.kernel.slots),
        )

    @cached_property
    def extents(self) -> Extents:
        """The extents of one image of a block."""
        return extents_of(self.kernel, self.image, self.shape.windows(self.kernel))

    @cached_property
    def lines(self) -> int:
        """Tiles along the rows of all images of a block."""
        return self.shape.images * self.shape.lines(self.kernel)

    @cached_property
    def results(self) -> int:
        """Positions from the first result at a point to the last."""
        return (self.lines - 1) * self.extents.pitch + self.extents.lanes

    @cached_property
    def micro(self) -> tuple[int, int]:
        """Rows and vectors of a micro-tile."""
        rows = self.kernel.axes[self.row]
        return micro_tile(rows, self.results, self.lanes, self.target.registers)

    def plan(self, swap: bool) -> WinogradPlan:
        """The plan with its micro-tile."""
        height, vectors = self.micro
        return replace(
            self.shape,
            swap=swap,
            micro_rows=height,
            micro_columns=vectors * self.lanes,
        )

    def filters(self, swap: bool) -> Filters:
        """How the filters are transformed for it."""
        return Filters(swap, self.image, self.transform, self.depth, self.micro[0])

    # --- what it costs -----------------------------------------------------------

    def cost(self) -> float:
        """Vector operations of the busiest unit, times the number of units."""
        plan, units = self.shape, self.target.units
        outer = points_in(self.kernel, (*plan.batch, *plan.columns.outer))
        tasks = outer * plan.columns.chunks(self.kernel)
        each = self._products() + self._points() + self._results()
        return -(-tasks // units) * units * each + self._filters()

    def _products(self) -> float:
        """Products at all points, and filters from further away than they should be."""
        height, vectors = self.micro
        panels = -(-self.kernel.axes[self.row] // height)
        panels *= -(-self.results // (vectors * self.lanes))
        steps = self.transform.points * points_in(self.kernel, self.depth)
        step = step_cost(height, vectors)
        image = self.transform.points * self.extents.planes * self.results
        if image * 4 > self.target.cache_bytes // 2:
            step *= 2
        filters = steps * self.kernel.axes[self.row]
        if filters * 4 <= self.target.cache_bytes // 4:
            filters = 0
        return panels * steps * step + FAR_AWAY * filters / self.lanes

    def _points(self) -> float:
        """Packing images and transforming them."""
        packing = packing_cost(self.extents, self.contraction.rhs, self.lanes)
        vectors = self.extents.planes * -(-self.extents.pitch // self.lanes)
        vectors *= self.transform.points * self.lines
        return self.shape.images * packing + vectors * INTO_POINT

    def _results(self) -> float:
        """Transforming results, and storing them."""
        vectors = self.lines * -(-self.extents.lanes // self.lanes)
        vectors *= self.transform.tile * self.kernel.axes[self.row]
        lane = self.block.axes[-1]
        each = STAGING + self.transform.points * OUT_OF_POINT
        for output in self.kernel.outputs:
            if output.address.coefficient(lane) != 1:
                each += SCATTERED_COST * self.lanes
        return vectors * each

    def _filters(self) -> float:
        """Transforming the filters once."""
        filters = points_in(self.kernel, (*self.contraction.batch, self.row))
        filters *= points_in(self.kernel, self.depth)
        points = self.transform.points / self.lanes
        return filters * self.transform.taps * (SCATTERED_COST + points)
