"""Build a convolution in tiles: transform, multiply, transform back.

    Grid(batch, column block)
      For(image of the block)
        pack image[plane, row, lane]                                second-level cache
        points[p, plane, tile, lane] = Σ_j B[p, j] image[plane, 4 tile + j, lane]
      For(row panel)
        For(point), For(column panel)
          For(plane), For(tap of the lanes)
            accumulator[m, n] += filters[p, k, m] * points[p, place of k + n]
          staged[p, m, n] = accumulator[m, n]
        Store(epilogue of Σ_p A[t, p] staged[p, m, n])              each t of a tile

The convolution along the lanes is a plain one. See ``winograd.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.kernel.expression import Expression
from tetragrad.tile.ir import (
    Alloc,
    Layout,
    Map,
    Mma,
    Space,
    Statement,
    Tile,
    TileLoad,
    View,
)
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.direct import Direct
from tetragrad.tile.plans.products.images import LONGEST_WRITTEN_OUT
from tetragrad.tile.plans.products.micro_tiles import Places
from tetragrad.tile.plans.products.winograd import Transform, WinogradPlan, combined
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    fitting_strip,
    indices_of,
    loop,
    loops,
    strips,
)


def build_winograd(builder: Builder, plan: WinogradPlan) -> list[Statement]:
    """The grid of a convolution in tiles."""
    return _Winograd(builder, plan).grid()


@frozen
class _Winograd(Direct):
    """Micro-tiles over an image at each of the transform's points."""

    plan: WinogradPlan

    # --- sizes -------------------------------------------------------------------

    @property
    def transform(self) -> Transform:
        return self.plan.transform

    @property
    def windows(self) -> Block:
        return self.plan.windows(self.kernel)

    @property
    def reach(self) -> int:
        """Vectors of the last row of an image may read beyond it."""
        return self.extents.results + self.plan.lanes

    @property
    def lines(self) -> int:
        """Tiles along the rows of all images."""
        return self.plan.images * self.plan.lines(self.kernel)

    @property
    def span(self) -> int:
        """Positions from the first result at a point to the last."""
        return (self.lines - 1) * self.extents.pitch + self.extents.lanes

    @property
    def panels(self) -> int:
        return -(-self.span // self.plan.micro_columns)

    @property
    def plane(self) -> int:
        """Positions of a plane at one point."""
        return self.lines * self.extents.pitch

    @property
    def point(self) -> int:
        """Positions of all planes at one point."""
        return self.extents.planes * self.plane

    # --- a block -----------------------------------------------------------------

    def block(self, places: Places) -> list[Statement]:
        """All rows by one block of columns."""
        points = self.points()
        filters, viewed = self.filters(places.scope)
        size = self.transform.points * self.point
        statements = [viewed, Alloc(points)]
        statements += self.reader.cleared_behind(points, size)
        statements += self.transformed(places, points)

        def panel(number: Affine) -> list[Statement]:
            first = number.scale(self.plan.micro_rows)
            staged = self.staged_points()
            sums = self.sums_at_points(number, filters, points, staged)
            results = self.results(places, first, staged)
            cleared = self.cleared_beyond(staged)
            return [Alloc(staged), *cleared, *sums, *results]

        return statements + loop(self.builder, self.row_panels, panel)

    def points(self) -> Tile:
        """The image at all points, indexed as :meth:`ImageReader.tile` is."""
        reached = self.width
        size = self.transform.points * self.point + reached - self.span
        shape, layout = (size, reached), Layout((1, 1))
        dtype = self.contraction.rhs.dtype
        return self.builder.tile("points", shape, dtype, Space.SHARED, layout)

    def filters(self, scope: Scope) -> tuple[Tile, Statement]:
        """The transformed filters of this batch, with all panels one after another."""
        plan = self.plan
        steps = self.transform.points * self.row_panels * self.depth
        slot = self.kernel.slots[plan.slot]
        shape = (steps, plan.micro_rows)
        tile = self.builder.tile("filters", shape, slot.dtype, Space.GLOBAL)
        number = ZERO
        for axis in plan.batch:
            number = number.scale(scope.size(axis)) + scope.forms[axis]
        return tile, View(tile, plan.slot, number.scale(steps * plan.micro_rows))

    @property
    def depth(self) -> int:
        """Products of a result at one point."""
        return self.extents.planes * self.image.lane.taps

    # --- the image at all points ---------------------------------------------------

    def transformed(self, places: Places, points: Tile) -> list[Statement]:
        """Pack each image of the block, and transform it."""
        reader, plan = self.reader, self.plan
        image, columns = reader.tile(), places.columns
        each = plan.lines(self.kernel) * self.extents.pitch
        if plan.columns.split == plan.row_axis:
            packed = reader.pack(places.scope, columns.start, image)
            return [Alloc(image), *packed, *self.at_points(image, points, ZERO)]

        def one(number: Affine) -> list[Statement]:
            scope = places.scope.bind(plan.columns.chunked, columns.start + number)
            packed = reader.pack(scope, ZERO, image)
            return packed + self.at_points(image, points, number.scale(each))

        return [Alloc(image), *loop(self.builder, plan.images, one)]

    def at_points(self, image: Tile, points: Tile, first: Affine) -> list[Statement]:
        """The values of an image's tiles at all points, from a position on."""
        pitch, lane = self.extents.pitch, self.image.lane.axis
        lines = self.plan.lines(self.kernel)

        def vector(scope: Scope, source: Affine, target: Affine) -> list[Statement]:
            at = scope.forms[lane]
            values = [
                TileLoad(image, (source.shift(row * pitch) + at, ZERO))
                for row in range(self.transform.points)
            ]
            return [
                Map(
                    scope.collective,
                    points,
                    (target.shift(point * self.point) + at, ZERO),
                    combined(coefficients, values),
                    scope.guard,
                )
                for point, coefficients in enumerate(self.transform.image)
            ]

        def tile(plane: Affine, line: Affine) -> list[Statement]:
            source = plane.scale(self.extents.plane)
            source += line.scale(self.transform.tile * pitch)
            target = plane.scale(self.plane) + first + line.scale(pitch)
            strip = fitting_strip(lane, pitch, self.plan.lanes, 1)
            return strips(
                Scope(self.builder),
                strip,
                ZERO,
                pitch,
                lambda scope: vector(scope, source, target),
            )

        return loops(self.builder, (self.extents.planes, lines), tile)

    # --- sums --------------------------------------------------------------------

    def staged_points(self) -> Tile:
        """The sums of a row panel at all points."""
        shape = (self.transform.points, self.plan.micro_rows, self.reached)
        dtype = self.contraction.reduction.accumulator
        return self.builder.tile("staged", shape, dtype, Space.SHARED)

    @property
    def reached(self) -> int:
        """Positions of sums, with those that only whole vectors of results reach."""
        lanes, whole = self.extents.lanes, self.plan.lanes
        return max(self.width, self.span - lanes + -(-lanes // whole) * whole)

    def sums_at_points(
        self, panel: Affine, filters: Tile, points: Tile, staged: Tile
    ) -> list[Statement]:
        """All sums of a row panel, at every point."""
        plan, builder = self.plan, self.builder

        def one(point: Affine, column: Affine) -> list[Statement]:
            first = column.scale(plan.micro_columns)
            tile, statements = self.accumulator()
            depth = (point.scale(self.row_panels) + panel).scale(self.depth)
            corner = (point.scale(self.point), first)
            statements += self.products_at(tile, (filters, depth), (points, corner))
            extents = builder.axes(tile.shape)
            row, lane = indices_of(extents)
            value = TileLoad(tile, (row, lane))
            where = (point, row, first + lane)
            return [*statements, Map(extents, staged, where, value)]

        return loops(builder, (self.transform.points, self.panels), one)

    def products_at(
        self,
        total: Tile,
        filters: tuple[Tile, Affine],
        points: tuple[Tile, tuple[Affine, Affine]],
    ) -> list[Statement]:
        """Loops over planes and taps of the lanes, at one point."""
        lane, plan = self.image.lane, self.plan
        lhs, depth = filters
        rhs, (start, side) = points
        vectors = plan.micro_rows * -(-plan.micro_columns // plan.lanes)

        def product(plane: Affine, tap: Affine) -> list[Statement]:
            step = plane.scale(lane.taps) + tap
            position = plane.scale(self.plane) + tap.scale(lane.spread)
            step_mma = Mma(
                total,
                lhs,
                rhs,
                plan.micro_rows,
                plan.micro_columns,
                1,
                (depth + step, ZERO),
                (start + position.shift(-lane.first), side),
            )
            return [step_mma]

        def plane(_: Scope, number: Affine) -> list[Statement]:
            if lane.taps * vectors > LONGEST_WRITTEN_OUT:
                return loop(self.builder, lane.taps, lambda tap: product(number, tap))
            written_out: list[Statement] = []
            for tap in range(lane.taps):
                written_out += product(number, Affine(tap))
            return written_out

        return self.reader.planes(Scope(self.builder), plane)

    # --- results -----------------------------------------------------------------

    def result_rows(
        self, places: Places, scope: Scope, number: Affine, staged: Tile
    ) -> list[Statement]:
        """One row panel's row: the results of all images."""
        plan, columns = self.plan, places.columns
        if plan.columns.split == plan.row_axis:
            return self.lines_of(scope, columns.start, number, ZERO, staged)
        each = plan.lines(self.kernel) * self.extents.pitch

        def one(image: Affine) -> list[Statement]:
            inside = scope.bind(plan.columns.chunked, columns.start + image)
            return self.lines_of(inside, ZERO, number, image.scale(each), staged)

        return loop(self.builder, plan.images, one)

    def lines_of(
        self,
        scope: Scope,
        start: Affine,
        number: Affine,
        position: Affine,
        staged: Tile,
    ) -> list[Statement]:
        """The results of an image, a tile at a time."""
        transform, pitch = self.transform, self.extents.pitch
        axis = self.plan.columns.axes[self.plan.row_axis]
        last = self.kernel.axes[axis] - 1

        def one(line: Affine) -> list[Statement]:
            statements: list[Statement] = []
            at = position + line.scale(pitch)
            for place, coefficients in enumerate(transform.results):
                row = start + line.scale(transform.tile).shift(place)
                inside = scope.bind(axis, row)
                inside = inside.with_guard(row.scale(-1).shift(last))

                def total(
                    lane: Affine, coefficients: Sequence[Fraction] = coefficients
                ) -> Expression:
                    sums = [
                        TileLoad(staged, (Affine(point), number, at + lane))
                        for point in range(transform.points)
                    ]
                    return combined(coefficients, sums)

                statements += self.result_lanes(inside, ZERO, total)
            return statements

        return loop(self.builder, self.plan.lines(self.kernel), one)
