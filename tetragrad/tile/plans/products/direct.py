"""Build a convolution that reads a block's part of the image, not its windows.

    Grid(batch, row block, column block)
      pack image[plane, row, lane]          each element once: second-level cache
      For(row panel)
        pack lhs[k, m]                      first-level cache
        For(column panel)
          For(plane), For(tap of the rows), For(tap of the lanes)
            accumulator[m, n] += lhs[k, m] * image[place of k + n]        registers
          staged[m, n] = accumulator[m, n]
        Store(epilogue of the staged sums)

Vectors run over whole blocks, however short a row is; see ``images.py``. What they
compute for the positions between two rows of results is not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, literal
from tetragrad.tile.ir import (
    Alloc,
    Map,
    Mma,
    Space,
    Statement,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.products.contraction import Block, Supply
from tetragrad.tile.plans.products.images import ImageReader, Tap
from tetragrad.tile.plans.products.micro_tiles import Places, Product, Region
from tetragrad.tile.plans.products.operands import Operand, Placed, Window
from tetragrad.tile.plans.products.packing import clear_overhang, pack
from tetragrad.tile.plans.products.windows import (
    DirectPlan,
    Extents,
    Image,
    extents_of,
    image_of,
)
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


def build_direct(builder: Builder, plan: DirectPlan) -> list[Statement]:
    """The grid of a convolution."""
    return Direct(builder, plan).grid()


@frozen
class Direct(Product):
    """Micro-tiles over an image."""

    # --- sizes -------------------------------------------------------------------

    @property
    def windows(self) -> Block:
        """The block whose windows one image is packed for."""
        return self.plan.columns

    @cached_property
    def image(self) -> Image:
        contraction, windows = self.contraction, self.windows
        found = image_of(self.kernel, contraction.rhs, contraction.depth, windows)
        assert found is not None
        return found

    @cached_property
    def extents(self) -> Extents:
        return extents_of(self.kernel, self.image, self.windows)

    @cached_property
    def reader(self) -> ImageReader:
        return ImageReader(
            self.builder,
            self.image,
            self.extents,
            self.windows,
            self.contraction.rhs,
            self.plan.lanes,
            self.reach,
        )

    @property
    def reach(self) -> int:
        """Positions that may be read behind where a tap begins."""
        return self.width

    @property
    def panels(self) -> int:
        """Column panels that cover a block's results."""
        return -(-self.extents.results // self.plan.micro_columns)

    @property
    def width(self) -> int:
        """Positions that the column panels cover."""
        return self.panels * self.plan.micro_columns

    # --- a block -----------------------------------------------------------------

    def block(self, places: Places) -> list[Statement]:
        """One block of rows by one of columns."""
        lhs, lhs_tile = self.rows_operand()
        image_tile = self.reader.tile()
        is_in_place = self.plan.lhs is Supply.IN_PLACE
        depth = Placed(self.plan.depth, ZERO)
        statements: list[Statement] = [Alloc(image_tile)]
        if is_in_place:
            view = lhs.viewed(lhs_tile, places.scope, depth, places.rows)
            statements.append(view)
        else:
            statements.append(Alloc(lhs_tile))
        start = places.columns.start
        statements += self.reader.pack(places.scope, start, image_tile)
        if not lhs.panel and not is_in_place:
            statements += clear_overhang(lhs, places.scope, places.rows, lhs_tile)
            statements += pack(lhs, places.scope, depth, places.rows, lhs_tile)

        def panel(number: Affine) -> list[Statement]:
            first = self.row_cut.start(number)
            region = Region(lhs_tile, side=first)
            steps: list[Statement] = []
            if lhs.panel:
                window = Window(number, 1)
                rows = Placed(places.rows.block, places.rows.start, window)
                steps = pack(lhs, places.scope, depth, rows, lhs_tile)
                region = Region(lhs_tile)
            staged, sums = self.sums(region, image_tile)
            return steps + sums + self.results(places, first, staged)

        return statements + loop(self.builder, self.row_panels, panel)

    def rows_operand(self) -> tuple[Operand, Tile]:
        """How the rows are packed: a panel at a time, if they are one run."""
        plan = self.plan
        whole = Operand(
            "lhs",
            self.kernel,
            self.contraction.lhs,
            plan.depth,
            plan.rows,
            plan.lanes,
            lanes_along_side=False,
        )
        if plan.lhs is Supply.IN_PLACE:
            return whole, whole.view(self.builder)
        if len(whole.side_runs) > 1:
            size = self.row_panels * plan.micro_rows
            return whole, whole.tile(self.builder, size)
        panel = replace(whole, cut=self.row_cut)
        return panel, panel.tile(self.builder, plan.micro_rows)

    # --- sums --------------------------------------------------------------------

    def sums(self, lhs: Region, image: Tile) -> tuple[Tile, list[Statement]]:
        """All sums of a row panel, in a tile of their own."""
        plan = self.plan
        staged, allocated = self.staged()

        def column(number: Affine) -> list[Statement]:
            first = number.scale(plan.micro_columns)
            tile, statements = self.accumulator()
            statements += self.products(tile, lhs, Region(image, side=first))
            extents = self.builder.axes(tile.shape)
            row, lane = indices_of(extents)
            value = TileLoad(tile, (row, lane))
            return [*statements, Map(extents, staged, (row, first + lane), value)]

        return staged, [*allocated, *loop(self.builder, self.panels, column)]

    def staged(self) -> tuple[Tile, list[Statement]]:
        """A tile for a row panel's sums, zero where only whole vectors reach."""
        plan, extents = self.plan, self.extents
        last_row = extents.results - extents.lanes
        reached = last_row + -(-extents.lanes // plan.lanes) * plan.lanes
        shape = (plan.micro_rows, max(self.width, reached))
        dtype = self.contraction.reduction.accumulator
        tile = self.builder.tile("staged", shape, dtype, Space.SHARED)
        return tile, [Alloc(tile), *self.cleared_beyond(tile)]

    def cleared_beyond(self, staged: Tile) -> list[Statement]:
        """Zeros where only whole vectors of results reach."""
        *rows, size = staged.shape
        beyond = size - self.width
        if not beyond:
            return []

        def zeros(*row: Affine) -> list[Statement]:
            lane = self.builder.axis(beyond)
            where = (*row, axis_form(lane).shift(self.width))
            return [Map(((lane, beyond),), staged, where, literal(0, staged.dtype))]

        return loops(self.builder, rows, zeros)

    def products(self, total: Tile, lhs: Region, image: Region) -> list[Statement]:
        """Loops over planes and taps; each adds the product of one position."""
        row, lane = self.image.row, self.image.lane
        plan, reader = self.plan, self.reader
        vectors = plan.micro_rows * -(-plan.micro_columns // plan.lanes)
        row_count = 1 if row is None else row.taps

        def plane(_: Scope, number: Affine) -> list[Statement]:
            def product(tap: Tap) -> list[Statement]:
                depth = (number.scale(row_count) + tap.row).scale(lane.taps) + tap.lane
                lhs_offset = (lhs.depth + depth, lhs.side)
                rhs_offset = (tap.position, image.side)
                step = Mma(
                    total,
                    lhs.tile,
                    image.tile,
                    plan.micro_rows,
                    plan.micro_columns,
                    1,
                    lhs_offset,
                    rhs_offset,
                )
                return [step]

            return reader.taps(number, vectors, product)

        return reader.planes(Scope(self.builder), plane)

    # --- results -----------------------------------------------------------------

    def results(self, places: Places, first: Affine, staged: Tile) -> list[Statement]:
        """Store what the outputs make of a row panel's sums."""

        def one(number: Affine) -> list[Statement]:
            index = first + number
            scope = self.unflatten(places.scope, places.rows, index)
            scope = scope.with_guard(*self.inside(places.rows, index))
            return self.result_rows(places, scope, number, staged)

        return loop(self.builder, self.plan.micro_rows, one)

    def result_rows(
        self, places: Places, scope: Scope, number: Affine, staged: Tile
    ) -> list[Statement]:
        """One row panel's row: all of the block's columns."""
        row, columns = self.image.row, places.columns

        def total(position: Affine) -> Expression:
            return TileLoad(staged, (number, position))

        if row is None:
            return self.result_lanes(scope, columns.start, total)

        def one(line: Affine) -> list[Statement]:
            at = columns.start + line
            size = self.kernel.axes[row.axis]
            inside = scope.bind(row.axis, at)
            inside = inside.with_guard(at.scale(-1).shift(size - 1))
            first = line.scale(self.extents.pitch)
            return self.result_lanes(inside, ZERO, lambda lane: total(first + lane))

        return loop(self.builder, self.extents.rows, one)

    def result_lanes(
        self, scope: Scope, start: Affine, total: Callable[[Affine], Expression]
    ) -> list[Statement]:
        """Vectors of results along the lanes, whose sums are where ``total`` says."""
        lane, count = self.image.lane, self.extents.lanes
        reduction = self.contraction.reduction
        size = self.kernel.axes[lane.axis]

        def vector(inside: Scope) -> list[Statement]:
            at = inside.forms[lane.axis]
            value = cast(total(at - start), reduction.dtype)
            inside = inside.with_guard(at.scale(-1).shift(size - 1))
            inside = inside.with_values({reduction: value})
            return [self.store(output, inside) for output in self.kernel.outputs]

        strip = fitting_strip(lane.axis, count, self.plan.lanes, 2)
        return strips(scope, strip, start, count, vector)
