"""Build a contraction blocked for caches (Goto and van de Geijn 2008; Van Zee 2015).

    Grid(batch, row block, column block)
      For(depth block)
        pack rhs[k, n]                    panels of columns: second-level cache
        For(group of row panels)
          pack lhs[k, m]                  panels of rows: first-level cache
          For(row panel of the group)
            For(column panel)
              accumulator[m, n] += Σ_k lhs[k, m] * rhs[k, n]           registers
              Store(epilogue of the accumulator)

An operand that several grid iterations use is packed once, by a grid of its own that
runs before (``panel_operands.py``), if memory has room for it. With more than one depth
block the results are gathered in a shared tile between them.
"""

from __future__ import annotations

from collections.abc import Callable

from tetragrad.core.frozen import frozen, replace
from tetragrad.graph.elementwise import Cast, Neg
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Compute, Guard, literal, walk_until
from tetragrad.tile.ir import (
    Ahead,
    Alloc,
    Fold,
    Layout,
    Map,
    Space,
    Statement,
    Tile,
    TileLoad,
    When,
)
from tetragrad.tile.plans.products.contraction import ContractionPlan, Supply
from tetragrad.tile.plans.products.dot_steps import SHIFT
from tetragrad.tile.plans.products.fetching import fetch_panel, fetch_rows
from tetragrad.tile.plans.products.micro_tiles import Corner, Places, Region
from tetragrad.tile.plans.products.operands import Operand, Placed, Window
from tetragrad.tile.plans.products.packing import clear_overhang, pack
from tetragrad.tile.plans.products.panel_operands import Packed, PanelOperands
from tetragrad.tile.plans.scope import Builder, Scope, indices_of, loop, loops

# The numbers of a row panel and of a column panel.
Place = tuple[Affine, Affine]
# Where a micro-tile's rows and columns are.
Regions = tuple[Region, Region]


def build_panels(builder: Builder, plan: ContractionPlan) -> list[Statement]:
    """The grid of a contraction in panels."""
    return _Panels(builder, plan).grid()


@frozen
class _DepthBlock:
    """A block of the depth: where it is, and when it is the first or last of all."""

    scope: Scope
    placed: Placed
    is_first: Guard
    is_last: Guard

    def part(self, number: Affine, parts: int) -> _DepthBlock:
        """One of its parts: when that is the first or last of all."""
        if parts == 1:
            return self
        return replace(
            self,
            is_first=(*self.is_first, number.scale(-1)),
            is_last=(*self.is_last, number.shift(1 - parts)),
        )


@frozen
class _Panels(PanelOperands):
    """Micro-tiles over packed panels."""

    def grid(self) -> list[Statement]:
        """Grids that pack what several iterations use, and the one that multiplies."""
        packed = self.packed
        grids: list[Statement] = []
        if packed.whole_lhs is not None:
            grids += self.packing_grid(packed.lhs, packed.lhs_tile, packed.whole_lhs)
        if packed.whole_rhs is not None:
            grids += self.packing_grid(packed.rhs, packed.rhs_tile, packed.whole_rhs)
        return [*grids, *super().grid()]

    def block(self, places: Places) -> list[Statement]:
        """One block of rows by one of columns."""
        packed = self.packed
        tiles = (packed.lhs_tile, packed.rhs_tile, packed.gathered, packed.shifts)
        allocs: list[Statement] = [
            Alloc(tile)
            for tile in tiles
            if tile is not None and tile.space is not Space.GLOBAL
        ]
        scope, plan = places.scope, self.plan
        if plan.lhs is not Supply.IN_PLACE:
            allocs += clear_overhang(packed.lhs, scope, places.rows, packed.lhs_tile)
        if plan.rhs not in (Supply.IN_PLACE, Supply.KEPT):
            allocs += clear_overhang(packed.rhs, scope, places.columns, packed.rhs_tile)

        def depth_block(scope: Scope, depth: Placed) -> list[Statement]:
            return self.depth_block(places, packed, self.located(scope, depth))

        loops = self.depth_loops(places.scope, self.plan.depth.outer, depth_block)
        return [*allocs, *loops]

    def located(self, scope: Scope, depth: Placed) -> _DepthBlock:
        """A depth block, with conditions for it to be the first and the last."""
        block = self.plan.depth
        starts = [scope.forms[axis] for axis in block.outer]
        ends = [self.kernel.axes[axis] - 1 for axis in block.outer]
        starts.append(depth.start)
        ends.append((block.chunks(self.kernel) - 1) * block.chunk)
        return _DepthBlock(
            scope,
            depth,
            tuple(start.scale(-1) for start in starts),
            tuple(start.shift(-end) for start, end in zip(starts, ends, strict=True)),
        )

    # --- rows that are moved up --------------------------------------------------

    def shifting(self, packed: Packed, first: Affine) -> list[Statement]:
        """Fill that tile: a row of nothing but the shift, times the columns, negated.

        Every step of the row's depth reads the same group. ``first`` is the number of
        the first column panel in its tile.
        """
        shifts = packed.shifts
        if shifts is None:
            return []
        steps, group = packed.rhs.steps, self.plan.group
        shape, layout = (steps, 1, group), Layout((0, 0, 1))
        dtype = packed.lhs_tile.dtype
        row = self.builder.tile("shift", shape, dtype, Space.SHARED, layout)
        axis = self.builder.axis(group)
        here = (ZERO, ZERO, axis_form(axis))
        fill = Map(((axis, group),), row, here, literal(SHIFT, dtype))

        def panel(column: Affine) -> list[Statement]:
            total = self.registers(1)
            extent = (self.builder.axis(total.shape[1]), total.shape[1])
            place = axis_form(extent[0])
            negative = Compute(Neg, total.dtype, (TileLoad(total, (ZERO, place)),))
            columns = self.region(packed.rhs, packed.rhs_tile, first + column)
            return [
                *self.cleared(total),
                self.product(total, Region(row), columns),
                Map((extent,), shifts, (column, place), negative),
            ]

        return [Alloc(row), fill, *loop(self.builder, self.column_panels, panel)]

    # --- loops -------------------------------------------------------------------

    def depth_block(
        self, places: Places, packed: Packed, depth: _DepthBlock
    ) -> list[Statement]:
        """Pack the columns, then each group of rows, and multiply."""
        placed = depth.placed
        size = self.group_of(packed.lhs)
        first_lhs = first_rhs = ZERO
        packing: list[Statement] = []
        if packed.whole_lhs is not None:
            size, first_lhs = 1, packed.whole_lhs.first(placed, places.rows)
        if packed.whole_rhs is not None:
            first_rhs = packed.whole_rhs.first(placed, places.columns)
        else:
            if packed.rhs.kept is not None:
                first_rhs = self.divided(places.columns.start, packed.rhs.panel, 1)[0]
            packing += self.supplied(packed.rhs, depth, places.columns, packed.rhs_tile)
        if self.plan.lhs is Supply.IN_PLACE:
            packing += self.supplied(packed.lhs, depth, places.rows, packed.lhs_tile)
        packing += self.shifting(packed, first_rhs)

        def group(number: Affine) -> list[Statement]:
            first = number.scale(size)
            steps: list[Statement] = []
            if packed.whole_lhs is None and self.plan.lhs is not Supply.IN_PLACE:
                steps = self.pack_rows(packed, places.rows, depth, first, size)

            def micro(panel: Affine, column: Affine) -> list[Statement]:
                row = panel if packed.whole_lhs is None else first_lhs + first
                regions = (
                    self.region(packed.lhs, packed.lhs_tile, row),
                    self.region(packed.rhs, packed.rhs_tile, first_rhs + column),
                )
                ahead = self.ahead(packed, places, depth, first + panel, column)
                place = (first + panel, column)

                def part(number: Affine) -> list[Statement]:
                    here = self.part_of(regions, number)
                    tile, product = self.sums(packed, here, column, ahead)
                    if packed.gathered is None:
                        return product + self.finish(places, tile, place)
                    inside = depth.part(number, self.plan.parts)
                    return product + self.gather(
                        places, packed.gathered, inside, tile, place
                    )

                statements = loop(self.builder, self.plan.parts, part)
                return self.where_it_exists(places.columns, column, statements)

            return steps + self.panels(size, micro)

        return packing + loop(self.builder, self.row_panels // size, group)

    def where_it_exists(
        self, columns: Placed, panel: Affine, statements: list[Statement]
    ) -> list[Statement]:
        """What is done for a column panel, unless all of it is beyond the last one.

        A block that is shorter than the others has fewer panels.
        """
        size = self.kernel.axes[columns.block.chunked]
        inner = columns.block.inner_size(self.kernel)
        first = columns.start.scale(inner) + self.column_cut.start(panel)
        exists = first.scale(-1).shift(size * inner - 1)
        if self.builder.always(exists):
            return statements
        return [When((exists,), tuple(statements))]

    def supplied(
        self, operand: Operand, depth: _DepthBlock, side: Placed, tile: Tile
    ) -> list[Statement]:
        """Have all of a block's part of an operand: packed, or in place."""
        if self.is_in_place(operand):
            return [operand.viewed(tile, depth.scope, depth.placed, side)]
        return pack(operand, depth.scope, depth.placed, side, tile)

    def pack_rows(
        self,
        packed: Packed,
        rows: Placed,
        depth: _DepthBlock,
        first: Affine,
        size: int,
    ) -> list[Statement]:
        """Pack a group of row panels that is about to be multiplied."""
        if packed.lhs.panel:
            rows = replace(rows, window=Window(first, size))
        return pack(packed.lhs, depth.scope, depth.placed, rows, packed.lhs_tile)

    def panels(
        self, rows: int, body: Callable[[Affine, Affine], list[Statement]]
    ) -> list[Statement]:
        """Loops over micro-tiles: a panel of rows stays near, columns stream."""
        return loops(self.builder, (rows, self.column_panels), body)

    # --- micro-tiles -------------------------------------------------------------

    def region(self, operand: Operand, tile: Tile, panel: Affine) -> Region:
        """Where a panel of an operand is in its tile."""
        if operand.panel:
            return Region(tile, depth=panel.scale(operand.panel_steps))
        cut = self.row_cut if operand.side is self.plan.rows else self.column_cut
        return Region(tile, side=cut.start(panel))

    def part_of(self, regions: Regions, number: Affine) -> Regions:
        """One part of the depth of two regions."""
        steps = self.plan.depth.size(self.kernel) // self.plan.group // self.plan.parts
        lhs, rhs = (
            replace(region, depth=region.depth + number.scale(steps))
            for region in regions
        )
        return lhs, rhs

    def ahead(
        self,
        packed: Packed,
        places: Places,
        depth: _DepthBlock,
        panel: Affine,
        column: Affine,
    ) -> Ahead | None:
        """What to fetch during a product: a part of the next panel of rows.

        All column panels together fetch the whole of it.
        """
        turn = (column, self.column_panels)
        if self.plan.lhs is not Supply.FETCHED:
            return None
        if packed.whole_lhs is not None:
            following = packed.whole_lhs.first(depth.placed, places.rows) + panel
            start = self.region(packed.lhs, packed.lhs_tile, following.shift(1)).start
            size = packed.lhs.depth.size(self.kernel) * packed.lhs.panel
            return fetch_panel(self.builder, packed.lhs_tile, start, size, turn)
        if not packed.lhs.panel:
            return None
        sides = (depth.placed, places.rows)
        return fetch_rows(packed.lhs, depth.scope, sides, panel.shift(1), turn)

    def sums(
        self,
        packed: Packed,
        regions: Regions,
        column: Affine,
        ahead: Ahead | None,
    ) -> tuple[Tile, list[Statement]]:
        """The product of two panels, in registers."""
        if packed.shifts is None:
            tile, statements = self.accumulator()
        else:
            tile = self.registers(self.plan.micro_rows)
            extents, indices = self.micro_axes(Corner())
            start = TileLoad(packed.shifts, (column, indices[1]))
            statements = [Alloc(tile), Map(extents, tile, indices, start)]
        return tile, [*statements, self.product(tile, *regions, ahead)]

    def corner(self, place: Place) -> Corner:
        """Where the micro-tile at a row panel and a column panel begins."""
        row, column = place
        return Corner(self.row_cut.start(row), self.column_cut.start(column))

    def finish(self, places: Places, tile: Tile, place: Place) -> list[Statement]:
        """Make the results of finished sums."""
        statements: list[Statement] = []
        if self.is_staged():
            shape, dtype = tile.shape, tile.dtype
            staged = self.builder.tile("sums", shape, dtype, Space.SHARED)
            statements += [Alloc(staged), self.moved(tile, staged, Corner())]
            tile = staged
        return statements + self.epilogue(places, tile, self.corner(place), Corner())

    def gather(
        self,
        places: Places,
        gathered: Tile,
        depth: _DepthBlock,
        tile: Tile,
        place: Place,
    ) -> list[Statement]:
        """Add a micro-tile to what the depth blocks before gave; finish the last."""
        row, column = place
        number = row.scale(self.column_panels) + column
        if self.depth_steps == 1:
            number = ZERO
        within = Corner(number.scale(self.plan.micro_rows))
        extents, indices = self.micro_axes(within)
        before = TileLoad(gathered, indices)
        add = Fold(extents, tile, indices_of(extents), Sum, before)
        keep = self.moved(tile, gathered, within)
        resume = When(depth.is_first, (), (add,))
        if self.is_staged():
            results = self.epilogue(places, gathered, self.corner(place), within)
            return [resume, keep, When(depth.is_last, tuple(results))]
        results = self.epilogue(places, tile, self.corner(place), Corner())
        return [resume, When(depth.is_last, tuple(results), (keep,))]

    def moved(self, source: Tile, target: Tile, corner: Corner) -> Statement:
        """Write a micro-tile of registers to its place in a tile."""
        extents, indices = self.micro_axes(corner)
        return Map(extents, target, indices, TileLoad(source, indices_of(extents)))

    def is_staged(self) -> bool:
        """Whether sums leave the registers before something is made of them.

        What is made of registers is written out for each of them, and again for the
        edge: long text, unless it is no more than a store.
        """
        reduction = self.contraction.reduction
        return any(
            isinstance(entry, Compute) and entry.op is not Cast
            for output in self.kernel.outputs
            for entry in walk_until({reduction: reduction}, output.value)
        )
