"""Build the gradient of a filter in tiles: its products at all points are summed.

    g[k, c, i, j] = Σ_n,y,x  u[n, k, y, x] · x[n, c, y + i, x + j]

As in ``winograd.py``, but here the taps of a row are the results, and a tile has some
rows of the upstream gradient. What is summed over images and tiles is summed at each
point, and transformed once in the end.

    Grid(batch, row block, column block)
      sums[p, j, c, k] = 0
      For(image), For(some tiles of rows)
        pack image[y, x, c] and upstream[y, x, k]          channels next to one another
        points[p, t, x, c] = Σ_j B[p, j] image[tile t + j, x, c]
        scaled[p, t, x, k] = Σ_i G[p, i] upstream[tile t + i, x, k]
        For(point), For(panel of (j, c)), For(panel of k)
          accumulator[m, n] = Σ_t,x points[p, t, x, 0 + m] * scaled[p, t, x, n]
          sums[p, m, n] += accumulator[m, n]
      Store(epilogue of Σ_p A[i, p] sums[p, j, c, k])

Neighbouring taps of the lanes read neighbouring positions, each of all channels: so
the rows of a product, all taps and channels, are one run of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, literal
from tetragrad.tile.ir import (
    Alloc,
    Fold,
    Layout,
    Map,
    Mma,
    Space,
    Statement,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.products.contraction import Block, ContractionPlan, Panels
from tetragrad.tile.plans.products.micro_tiles import Places, Product
from tetragrad.tile.plans.products.operands import Operand, Placed
from tetragrad.tile.plans.products.packing import pack
from tetragrad.tile.plans.products.windows import Sliding
from tetragrad.tile.plans.products.winograd import Matrix, Transform, combined
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    cast,
    fitting_strip,
    indices_of,
    loop,
    loops,
    strips,
)


@frozen
class WinogradSumsPlan(ContractionPlan):
    """A product whose columns are an axis and the taps ``row`` and ``lane`` slide.

    ``rows`` and ``columns`` each have one axis; the taps beside it lie in every block.
    A step packs ``lines`` tiles of an image, of the transform's taps each.
    """

    row: Sliding = Sliding(0, None, 1, 1, 1)
    lane: Sliding = Sliding(0, None, 1, 1, 1)
    transform: Transform = Transform(3, 2)
    lines: int = 1

    @property
    def steps(self) -> int:
        """Blocks of tiles along the rows of an image."""
        tiles = -(-self.row.taps // self.transform.taps)
        return -(-tiles // self.lines)


def build_winograd_sums(builder: Builder, plan: WinogradSumsPlan) -> list[Statement]:
    """The grid of a filter's gradient in tiles."""
    return _WinogradSums(builder, plan).grid()


@frozen
class _Side:
    """An operand with its channels next to one another, and its values at points.

    ``positions`` of each row are kept. Of the rows there are ``packed`` many, and a
    tile begins every ``apart`` rows.
    """

    operand: Operand
    packed: Tile
    points: Tile
    matrix: Matrix
    positions: int
    apart: int

    @property
    def channels(self) -> int:
        return self.packed.layout.strides[0]

    @property
    def row(self) -> int:
        """Elements of a row of positions."""
        return self.positions * self.channels


@frozen
class _WinogradSums(Product):
    """Sums of micro-tiles at each of the transform's points."""

    plan: WinogradSumsPlan

    # --- operands ----------------------------------------------------------------

    @cached_property
    def row_channel(self) -> int:
        return self.plan.rows.chunked

    @cached_property
    def column_channel(self) -> int:
        return self.plan.columns.chunked

    @property
    def sums_rows(self) -> int:
        """Rows of the sums at a point: all taps of the lanes, with all channels."""
        taps = self.kernel.axes[self.plan.lane.axis]
        return taps * self.plan.columns.chunk

    @cached_property
    def image(self) -> _Side:
        """The operand that windows slide over."""
        plan, row, lane = self.plan, self.plan.row, self.plan.lane
        assert row.tap is not None and lane.tap is not None
        reach = {
            entry.axis: entry.taps + self.kernel.axes[entry.axis] - 1
            for entry in (row, lane)
        }
        value = Rewriter({row.tap: ZERO, lane.tap: ZERO}, {})(self.contraction.rhs)
        rows = (plan.lines - 1) * plan.transform.taps + plan.transform.points
        block = Block((row.axis, lane.axis), 0, rows)
        side = self.plan.columns
        return self.side("image", value, reach, block, side, plan.transform.image)

    @cached_property
    def upstream(self) -> _Side:
        """The operand that is multiplied with all windows."""
        plan, row, lane = self.plan, self.plan.row, self.plan.lane
        assert row.tap is not None and lane.tap is not None
        block = Block((row.tap, lane.tap), 0, plan.lines * plan.transform.taps)
        value, matrix = self.contraction.lhs, plan.transform.filters
        return self.side("upstream", value, {}, block, plan.rows, matrix)

    def side(
        self,
        name: str,
        value: Expression,
        sizes: dict[int, int],
        block: Block,
        side: Block,
        matrix: Matrix,
    ) -> _Side:
        """An operand's tiles, with what vectors and panels may read beyond them."""
        plan, axes = self.plan, list(self.kernel.axes)
        for axis, size in sizes.items():
            axes[axis] = size
        kernel = replace(self.kernel, axes=tuple(axes))
        positions, channels = kernel.axes[block.axes[1]], side.chunk
        operand = Operand(
            name,
            kernel,
            value,
            block,
            side,
            plan.lanes,
            lanes_along_side=True,
            cut=Panels(channels, channels),
        )
        count = plan.transform.points * plan.lines * positions
        counts = (block.size(kernel), count)
        names = (name, f"{name}_points")
        packed, points = (
            self.tile(name, count, positions * channels, channels, value.dtype)
            for name, count in zip(names, counts, strict=True)
        )
        taps = plan.transform.taps
        return _Side(operand, packed, points, matrix, positions, taps)

    @property
    def beyond(self) -> int:
        """Elements that vectors and panels may read behind the last position."""
        return max(self.plan.micro_rows, self.plan.micro_columns, self.plan.lanes)

    def tile(
        self, name: str, count: int, row: int, channels: int, dtype: DType
    ) -> Tile:
        """So many positions of channels, which are also read by rows of them."""
        shape = (count, max(row, channels) + self.beyond)
        layout = Layout((channels, 1))
        return self.builder.tile(name, shape, dtype, Space.SHARED, layout)

    # --- a block -----------------------------------------------------------------

    def block(self, places: Places) -> list[Statement]:
        """One block of rows by one of columns."""
        sums = self.sums()
        sides = (self.image, self.upstream)
        tiles = [tile for side in sides for tile in (side.packed, side.points)]
        statements: list[Statement] = [Alloc(tile) for tile in (sums, *tiles)]
        statements += self.zeroed(sums)
        for tile in tiles:
            statements += self.cleared_beyond(tile)
        taps = (self.plan.row.tap, self.plan.lane.tap)
        images = [axis for axis in self.contraction.depth if axis not in taps]
        statements += self.over_images(places, images, sums)
        return statements + self.results(places, sums)

    def sums(self) -> Tile:
        """The sums at all points, in whole micro-tiles."""
        plan = self.plan
        rows = -(-self.sums_rows // plan.micro_rows) * plan.micro_rows
        columns = -(-plan.rows.chunk // plan.micro_columns) * plan.micro_columns
        shape = (plan.transform.points, rows, columns)
        dtype = self.contraction.reduction.accumulator
        return self.builder.tile("sums", shape, dtype, Space.SHARED)

    def zeroed(self, sums: Tile) -> list[Statement]:
        points, rows, columns = sums.shape
        zero = literal(0, sums.dtype)

        def vector(point: Affine, row: Affine, number: Affine) -> list[Statement]:
            lane = (self.builder.axis(self.plan.lanes), self.plan.lanes)
            where = number.scale(self.plan.lanes) + axis_form(lane[0])
            return [Map((lane,), sums, (point, row, where), zero)]

        vectors = columns // self.plan.lanes
        return loops(self.builder, (points, rows, vectors), vector)

    def cleared_beyond(self, tile: Tile) -> list[Statement]:
        """Zeros beyond the last position of a tile."""
        channels = tile.layout.strides[0]
        lane = self.builder.axis(self.beyond)
        where = (Affine(tile.shape[0] - 1), axis_form(lane).shift(channels))
        zero = literal(0, tile.dtype)
        return [Map(((lane, self.beyond),), tile, where, zero)]

    def over_images(
        self, places: Places, axes: list[int], sums: Tile
    ) -> list[Statement]:
        """Loops over everything that is summed over outside of an image."""
        if not axes:
            return loop(
                self.builder,
                self.plan.steps,
                lambda step: self.step(places, step, sums),
            )
        axis, *others = axes

        def one(form: Affine) -> list[Statement]:
            scope = places.scope.bind(axis, form)
            return self.over_images(replace(places, scope=scope), others, sums)

        return loop(self.builder, self.kernel.axes[axis], one)

    def step(self, places: Places, number: Affine, sums: Tile) -> list[Statement]:
        """Some tiles of an image: pack both operands, transform them, multiply."""
        plan = self.plan
        first = number.scale(plan.lines * plan.transform.taps)
        statements: list[Statement] = []
        for side, placed in (
            (self.image, places.columns),
            (self.upstream, places.rows),
        ):
            depth = Placed(side.operand.depth, first)
            statements += pack(side.operand, places.scope, depth, placed, side.packed)
            statements += self.at_points(side)
        return statements + self.products(sums)

    def at_points(self, side: _Side) -> list[Statement]:
        """The values of all tiles of an operand at all points, row by row."""
        lines, lane = self.plan.lines, self.plan.lane.axis

        def vector(scope: Scope, line: Affine) -> list[Statement]:
            element = scope.forms[lane]
            source = line.scale(side.apart)
            values = [
                TileLoad(
                    side.packed, (source.shift(row).scale(side.positions), element)
                )
                for row in range(len(side.matrix[0]))
            ]
            return [
                Map(
                    scope.collective,
                    side.points,
                    (line.shift(point * lines).scale(side.positions), element),
                    combined(coefficients, values),
                    scope.guard,
                )
                for point, coefficients in enumerate(side.matrix)
            ]

        def one(line: Affine) -> list[Statement]:
            strip = fitting_strip(lane, side.row, self.plan.lanes, 1)
            scope = Scope(self.builder)
            return strips(
                scope, strip, ZERO, side.row, lambda inner: vector(inner, line)
            )

        return loop(self.builder, lines, one)

    # --- sums --------------------------------------------------------------------

    def products(self, sums: Tile) -> list[Statement]:
        """Add what the tiles that are packed give, at every point."""
        plan, builder = self.plan, self.builder
        points, rows, columns = sums.shape

        def one(point: Affine, row: Affine, column: Affine) -> list[Statement]:
            tile, statements = self.accumulator()
            first = (row.scale(plan.micro_rows), column.scale(plan.micro_columns))
            statements += loop(
                builder,
                plan.lines,
                lambda line: [
                    self.product_at(tile, point.scale(plan.lines) + line, first)
                ],
            )
            extents = builder.axes(tile.shape)
            m, n = indices_of(extents)
            where = (point, first[0] + m, first[1] + n)
            return [
                *statements,
                Fold(extents, sums, where, Sum, TileLoad(tile, (m, n))),
            ]

        panels = (rows // plan.micro_rows, columns // plan.micro_columns)
        return loops(builder, (points, *panels), one)

    def product_at(
        self, total: Tile, line: Affine, first: tuple[Affine, Affine]
    ) -> Statement:
        """The products of a row of tiles at a point."""
        image, upstream = self.image, self.upstream
        return Mma(
            total,
            image.points,
            upstream.points,
            self.plan.micro_rows,
            self.plan.micro_columns,
            self.plan.lane.taps,
            (line.scale(image.positions), first[0]),
            (line.scale(upstream.positions), first[1]),
        )

    # --- results -----------------------------------------------------------------

    def results(self, places: Places, sums: Tile) -> list[Statement]:
        """Transform the sums, and store what the outputs make of them."""
        plan, kernel = self.plan, self.kernel
        columns = places.columns

        def tap(number: Affine) -> list[Statement]:
            return loop(
                self.builder, plan.columns.chunk, lambda at: channel(number, at)
            )

        def channel(number: Affine, at: Affine) -> list[Statement]:
            which = columns.start + at
            scope = places.scope.bind(plan.lane.axis, number)
            scope = scope.bind(self.column_channel, which)
            size = kernel.axes[self.column_channel]
            scope = scope.with_guard(which.scale(-1).shift(size - 1))
            row = number.scale(plan.columns.chunk) + at
            statements: list[Statement] = []
            for place, coefficients in enumerate(plan.transform.results):
                inside = scope.bind(plan.row.axis, Affine(place))
                statements += self.result_lanes(
                    places, inside, sums, (row, coefficients)
                )
            return statements

        return loop(self.builder, kernel.axes[plan.lane.axis], tap)

    def result_lanes(
        self,
        places: Places,
        scope: Scope,
        sums: Tile,
        combination: tuple[Affine, Sequence[Fraction]],
    ) -> list[Statement]:
        """Vectors of results along the rows' channels."""
        axis, start = self.row_channel, places.rows.start
        reduction = self.contraction.reduction
        row, coefficients = combination

        def vector(inside: Scope) -> list[Statement]:
            at = inside.forms[axis]
            values = [
                TileLoad(sums, (Affine(point), row, at - start))
                for point in range(self.plan.transform.points)
            ]
            total = cast(combined(coefficients, values), reduction.dtype)
            last = self.kernel.axes[axis] - 1
            inside = inside.with_guard(at.scale(-1).shift(last))
            inside = inside.with_values({reduction: total})
            return [self.store(output, inside) for output in self.kernel.outputs]

        count = self.plan.rows.chunk
        strip = fitting_strip(axis, count, self.plan.lanes, 1)
        return strips(scope, strip, start, count, vector)
