"""Build a reduction over windows that keeps its part of the image: pools, filters.

    Grid(other axes, row block)
      pack image[plane, row, lane]            each element once: first-level cache
      For(rows of results), For(vectors of lanes)
        For(plane), For(tap of the lanes), For(tap of the rows)
          total[row, lane] op= body(image[place of the tap + row, lane])
        Store(epilogue of the total)

The rows of one micro-tile read mostly the same rows of the image, each of which is
loaded once. Everything else in the body, such as a filter's weight, is the same for
all lanes.
"""

from __future__ import annotations

from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, literal, walk
from tetragrad.kernel.ir import Kernel, combines
from tetragrad.tile.ir import Alloc, Extent, Fold, Grid, Map, Statement, Tile, TileLoad
from tetragrad.tile.plans.nests.nest import reductions_of, scans_of, store_of
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.images import ImageReader, Tap
from tetragrad.tile.plans.products.windows import Extents, Image, extents_of, image_of
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    Strip,
    cast,
    indices_of,
    loop,
    strips,
)


@frozen
class SlidePlan:
    """What is computed at once of a reduction over windows.

    A grid iteration computes a block of ``columns``, rows of results, for one point of
    the ``outer`` axes; ``rows`` of them by ``vectors`` of ``lanes`` are in registers.
    """

    outputs: tuple[int, ...]
    outer: tuple[int, ...]
    columns: Block
    rows: int
    vectors: int
    lanes: int


@frozen
class Windowed:
    """A reduction whose body reads one operand in windows."""

    reduction: Expression
    operand: Expression
    image: Image


def find_windowed(
    kernel: Kernel, outputs: tuple[int, ...], columns: Block
) -> Windowed | None:
    """The only reduction of outputs, if all but an image is alike for all lanes."""
    stored = [kernel.outputs[number] for number in outputs]
    found = reductions_of(stored)
    if len(found) != 1 or scans_of(stored):
        return None
    (reduction,) = found
    if combines(stored):
        return None
    # An output's axis may also be one that a reduction inside it runs over.
    reduced = {axis for output in stored for axis in output.axes} & set(reduction.axes)
    if reduced or not set(columns.axes) <= reduction.free_axes:
        return None
    operand = _window_operand(kernel, reduction, columns)
    if operand is None:
        return None
    image = image_of(kernel, operand, reduction.axes, columns)
    assert image is not None
    return Windowed(reduction, operand, image)


def _window_operand(
    kernel: Kernel, reduction: Expression, columns: Block
) -> Expression | None:
    """The part of a body that slides as it is: all that differs between lanes.

    Parts of it might too, but what is computed from an element is computed once.
    """
    lane = columns.axes[-1]

    def sliding_axes(entry: Expression) -> int:
        if not set(reduction.axes) <= entry.free_axes:
            return 0
        image = image_of(kernel, entry, reduction.axes, columns)
        return 0 if image is None else image.sliding_axes

    parts = walk(reduction.body)
    best = max(sliding_axes(part) for part in parts if lane in part.free_axes)
    found: set[Expression] = set()
    stack = [reduction.body] if best else []
    while stack:
        entry = stack.pop()
        if not entry.free_axes & set(columns.axes):
            continue
        if sliding_axes(entry) == best:
            found.add(entry)
        elif isinstance(entry, Compute):
            stack.extend(entry.inputs)
        else:
            return None
    return found.pop() if len(found) == 1 else None


def build_slide(builder: Builder, plan: SlidePlan) -> list[Statement]:
    """The grid of a reduction over windows."""
    return _Slide(builder, plan).grid()


@frozen
class _Slide:
    """A reduction over windows that is being written as a tile program."""

    builder: Builder
    plan: SlidePlan

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @cached_property
    def windowed(self) -> Windowed:
        found = find_windowed(self.kernel, self.plan.outputs, self.plan.columns)
        assert found is not None
        return found

    @cached_property
    def extents(self) -> Extents:
        return extents_of(self.kernel, self.windowed.image, self.plan.columns)

    @cached_property
    def reader(self) -> ImageReader:
        """Packs the image; whole vectors read beyond the end of its last row."""
        plan, extents = self.plan, self.extents
        overhang = -extents.lanes % plan.lanes
        return ImageReader(
            self.builder,
            self.windowed.image,
            extents,
            plan.columns,
            self.windowed.operand,
            plan.lanes,
            extents.results + overhang,
        )

    def grid(self) -> list[Statement]:
        """Every point of the outer axes and every block of rows at once."""
        plan, scope = self.plan, Scope(self.builder)
        extents: list[Extent] = []
        for axis in plan.outer:
            size = self.kernel.axes[axis]
            position = self.builder.axis(size)
            extents.append((position, size))
            scope = scope.bind(axis, axis_form(position))
        blocks = plan.columns.chunks(self.kernel)
        number = self.builder.axis(blocks)
        start = axis_form(number).scale(plan.columns.chunk)
        body = self.block(scope, start)
        return [Grid((*extents, (number, blocks)), tuple(body))]

    def block(self, scope: Scope, start: Affine) -> list[Statement]:
        """Pack the image of a block, and reduce its windows."""
        tile = self.reader.tile()
        statements = [Alloc(tile), *self.reader.pack(scope, start, tile)]

        def rows(number: Affine) -> list[Statement]:
            return self.rows(scope, start, number.scale(self.plan.rows), tile)

        groups = self.plan.columns.chunk // self.plan.rows
        return statements + loop(self.builder, groups, rows)

    def rows(
        self, scope: Scope, start: Affine, first: Affine, tile: Tile
    ) -> list[Statement]:
        """Some rows of results, vectors of lanes at a time."""
        plan, lane = self.plan, self.windowed.image.lane
        row = (self.builder.axis(plan.rows), plan.rows)
        number = first + axis_form(row[0])
        scope = scope.with_collective(row)
        (row_axis,) = plan.columns.axes[:1]
        at = start + number
        scope = scope.bind(row_axis, at)
        if plan.columns.is_ragged(self.kernel):
            last = self.kernel.axes[row_axis] - 1
            scope = scope.with_guard(at.scale(-1).shift(last))
        strip = Strip(lane.axis, plan.lanes, plan.vectors)
        position = number.scale(self.extents.pitch)

        def micro(inside: Scope) -> list[Statement]:
            return self.micro_tile(inside, position, tile)

        return strips(scope, strip, ZERO, scope.size(lane.axis), micro)

    def micro_tile(self, scope: Scope, position: Affine, tile: Tile) -> list[Statement]:
        """Reduce the windows of one micro-tile, and store what becomes of them."""
        reduction, axes = self.windowed.reduction, scope.collective
        shape = tuple(extent for _, extent in axes)
        name = reduction.op.__name__.lower()
        total = self.builder.tile(name, shape, reduction.accumulator)
        identity = literal(reduction.op.identity(reduction.dtype), total.dtype)
        fill = Map(axes, total, indices_of(axes), identity)
        lanes = scope.forms[self.windowed.image.lane.axis]
        statements = [Alloc(total), fill]
        statements += self.folds(scope, position + lanes, tile, total)
        value = cast(TileLoad(total, indices_of(axes)), reduction.dtype)
        scope = scope.with_values({reduction: value})
        outputs = [self.kernel.outputs[number] for number in self.plan.outputs]
        return statements + [store_of(output, scope) for output in outputs]

    def folds(
        self, scope: Scope, position: Affine, tile: Tile, total: Tile
    ) -> list[Statement]:
        """Combine what every tap of every plane reads into the totals."""
        windowed, axes = self.windowed, scope.collective
        reduction, image = windowed.reduction, windowed.image

        def plane(inside: Scope, number: Affine) -> list[Statement]:
            def fold(tap: Tap) -> list[Statement]:
                here = inside
                taps = ((image.row, tap.row), (image.lane, tap.lane))
                for sliding, form in taps:
                    if sliding is not None and sliding.tap is not None:
                        here = here.bind(sliding.tap, form)
                read = TileLoad(tile, (tap.position, position))
                here = here.with_values({windowed.operand: read})
                value = cast(here.value(reduction.body), total.dtype)
                indices = indices_of(axes)
                return [Fold(axes, total, indices, reduction.op, value)]

            vectors = self.plan.rows * self.plan.vectors
            return self.reader.taps(number, vectors, fold, rows_inside=True)

        bare = Scope(scope.builder, scope.forms, scope.collective)
        return self.reader.planes(bare, plane)
