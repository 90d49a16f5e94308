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

The rows of the image lie one after the other, so a step from one tap to the next moves
all positions of a block by the same distance, across the ends of rows too:

    position of result (oh, ow)   oh * pitch + ow
    moved by tap (kh, kw)         kh * pitch + kw

Vectors thus run over whole blocks, however short a row is. What they compute for the
positions between two rows of results is not stored. With a step of two, even and odd
positions of the image lie apart, so that windows that are neighbours read neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Select, literal
from tetragrad.tile.ir import (
    Alloc,
    Layout,
    Map,
    Mma,
    Space,
    Statement,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.micro_tiles import Places, Product, Region
from tetragrad.tile.plans.packing import (
    Operand,
    Placed,
    Window,
    clear_overhang,
    pack,
)
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    cast,
    fitting_strip,
    indices_of,
    loop,
    strips,
)
from tetragrad.tile.plans.windows import (
    DirectPlan,
    Extents,
    Image,
    Sliding,
    extents_of,
    image_of,
)

# Multiplications of vectors up to which the taps of a window are written out.
LONGEST_WRITTEN_OUT = 256


def build_direct(builder: Builder, plan: DirectPlan) -> list[Statement]:
    """The grid of a convolution."""
    return _Direct(builder, plan).grid()


@frozen
class _Tap:
    """A place in the window along one axis: its number, and what it reads."""

    number: Affine
    remainder: int
    position: Affine


@frozen
class _Direct(Product):
    """Micro-tiles over an image."""

    # --- sizes -------------------------------------------------------------------

    @cached_property
    def image(self) -> Image:
        found = image_of(self.kernel, self.contraction, self.plan.columns)
        assert found is not None
        return found

    @cached_property
    def extents(self) -> Extents:
        return extents_of(self.kernel, self.image, self.plan.columns)

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
        image_tile = self.image_tile()
        statements: list[Statement] = [Alloc(lhs_tile), Alloc(image_tile)]
        statements += self.pack_image(places, image_tile)
        depth = Placed(self.plan.depth, ZERO)
        if not lhs.panel:
            statements += clear_overhang(lhs, places.scope, places.rows, lhs_tile)
            statements += pack(lhs, places.scope, depth, places.rows, lhs_tile)

        def panel(number: Affine) -> list[Statement]:
            first = number.scale(self.plan.micro_rows)
            region = Region(lhs_tile, side=first)
            steps: list[Statement] = []
            if lhs.panel:
                window = Window(first, self.plan.micro_rows)
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
        if len(whole.side_runs) > 1:
            size = self.row_panels * plan.micro_rows
            return whole, whole.tile(self.builder, size)
        panel = Operand(
            "lhs",
            self.kernel,
            self.contraction.lhs,
            plan.depth,
            plan.rows,
            plan.lanes,
            lanes_along_side=False,
            panel=plan.micro_rows,
        )
        return panel, panel.tile(self.builder, plan.micro_rows)

    # --- the image ---------------------------------------------------------------

    def image_tile(self) -> Tile:
        """The image, indexed by where a tap begins and by a position of results.

        Both move by single elements. The last panel reads beyond the image's end.
        """
        size = self.extents.size + self.width - self.extents.results
        dtype = self.contraction.rhs.dtype
        shape = (size, self.width)
        return self.builder.tile("image", shape, dtype, Space.SHARED, Layout((1, 1)))

    def pack_image(self, places: Places, tile: Tile) -> list[Statement]:
        """Write every element that the block's windows read, and zeros behind them."""
        beyond = tile.shape[0] - self.extents.size
        statements: list[Statement] = []
        if beyond:
            lane = self.builder.axis(beyond)
            where = axis_form(lane).shift(self.extents.size)
            zero = literal(0, tile.dtype)
            statements.append(Map(((lane, beyond),), tile, (where, ZERO), zero))
        scratch = self.scratch_row(tile)
        if scratch is not None:
            statements.append(Alloc(scratch))

        def rows(scope: Scope, place: Affine) -> list[Statement]:
            return self.pack_rows(places, scope, place, tile, scratch)

        return statements + self.planes(places.scope, rows)

    def scratch_row(self, tile: Tile) -> Tile | None:
        """A row as memory has it, if its positions are to be put apart."""
        step = self.image.lane.step
        if step == 1:
            return None
        lanes = self.plan.lanes
        size = (-(-self.extents.pitch // lanes) + 1) * lanes * step
        return self.builder.tile("row", (size,), tile.dtype, Space.SHARED)

    def planes(
        self, scope: Scope, body: Callable[[Scope, Affine], list[Statement]]
    ) -> list[Statement]:
        """Loops over the planes, each with where it begins."""

        def nested(
            axes: Sequence[int], scope: Scope, number: Affine
        ) -> list[Statement]:
            if not axes:
                return body(scope, number.scale(self.extents.plane))
            axis, *others = axes
            count = self.kernel.axes[axis]
            return loop(
                self.builder,
                count,
                lambda form: nested(
                    others, scope.bind(axis, form), number.scale(count) + form
                ),
            )

        return nested(self.image.planes, scope, ZERO)

    def pack_rows(
        self,
        places: Places,
        scope: Scope,
        place: Affine,
        tile: Tile,
        scratch: Tile | None,
    ) -> list[Statement]:
        """The rows of one plane."""
        row, pitch = self.image.row, self.extents.pitch
        if row is None:
            return self.pack_row(places, scope, place, tile, scratch)
        statements: list[Statement] = []
        block = self.extents.remainder * self.image.lane.step
        for remainder in range(row.step):
            start = place.shift(remainder * block)

            def one(
                number: Affine, remainder: int = remainder, start: Affine = start
            ) -> list[Statement]:
                position = number.scale(row.step).shift(remainder)
                inside = self.at(row, places, scope, position, self.extents.rows)
                at = start + number.scale(pitch)
                return self.pack_row(places, inside, at, tile, scratch)

            statements += loop(self.builder, row.length(self.extents.rows), one)
        return statements

    def at(
        self,
        sliding: Sliding,
        places: Places,
        scope: Scope,
        position: Affine,
        count: int,
    ) -> Scope:
        """The scope at a position of one dimension; guarded where none exists."""
        columns = places.columns
        is_chunked = sliding.axis == columns.block.chunked
        start = columns.start if is_chunked else ZERO
        for axis, form in sliding.bind(start, position).items():
            scope = scope.bind(axis, form)
        last = sliding.reach(count) - 1
        exists = [position.scale(-1).shift(last)]
        if is_chunked and columns.block.is_ragged(self.kernel):
            last = sliding.reach(self.kernel.axes[sliding.axis]) - 1
            moved = start.scale(sliding.step) + position
            exists.append(moved.scale(-1).shift(last))
        return scope.with_guard(*exists)

    def pack_row(
        self,
        places: Places,
        scope: Scope,
        place: Affine,
        tile: Tile,
        scratch: Tile | None,
    ) -> list[Statement]:
        """One row of the image, by remainders if windows step over several."""
        lane, pitch = self.image.lane, self.extents.pitch
        if scratch is None:
            return self.read_row(places, scope, tile, place, pitch)
        statements = self.read_row(places, scope, scratch, None, lane.step * pitch)
        for remainder in range(lane.step):
            at = place.shift(remainder * self.extents.remainder)
            statements += self.spread_row(tile, at, scratch, remainder)
        return statements

    def read_row(
        self,
        places: Places,
        scope: Scope,
        tile: Tile,
        place: Affine | None,
        count: int,
    ) -> list[Statement]:
        """So many neighbouring elements of the operand, zero where none exist."""
        lane, lanes = self.image.lane, self.extents.lanes
        outside = scope.guard

        def vector(inside: Scope) -> list[Statement]:
            position, mask = inside.forms[lane.axis], inside.guard
            found = replace(inside, guard=outside)
            found = self.at(lane, places, found, position, lanes)
            needed = found.guard
            found = replace(found, guard=(*mask, *needed))
            value = cast(found.value(self.contraction.rhs), tile.dtype)
            if needed:
                value = Select(needed, value, literal(0, tile.dtype))
            index = (position,) if place is None else (place + position, ZERO)
            return [Map(inside.collective, tile, index, value, mask)]

        strip = fitting_strip(lane.axis, count, self.plan.lanes, 1)
        return strips(replace(scope, guard=()), strip, ZERO, count, vector)

    def spread_row(
        self, tile: Tile, place: Affine, scratch: Tile, remainder: int
    ) -> list[Statement]:
        """Every so many positions of a row, from one on."""
        lane, pitch = self.image.lane, self.extents.pitch
        scope = Scope(self.builder)

        def vector(inside: Scope) -> list[Statement]:
            number = inside.forms[lane.axis]
            value = TileLoad(scratch, (number.scale(lane.step).shift(remainder),))
            index = (place + number, ZERO)
            return [Map(inside.collective, tile, index, value, inside.guard)]

        strip = fitting_strip(lane.axis, pitch, self.plan.lanes, 1)
        return strips(scope, strip, ZERO, pitch, vector)

    # --- sums --------------------------------------------------------------------

    def sums(self, lhs: Region, image: Tile) -> tuple[Tile, list[Statement]]:
        """All sums of a row panel, in a tile of their own."""
        plan = self.plan
        staged, allocated = self.staged()

        def column(number: Affine) -> list[Statement]:
            first = number.scale(plan.micro_columns)
            tile, statements = self.accumulator()
            statements += self.products(tile, lhs, Region(image, side=first))
            rows = (self.builder.axis(plan.micro_rows), plan.micro_rows)
            lanes = (self.builder.axis(plan.micro_columns), plan.micro_columns)
            extents = (rows, lanes)
            where = (axis_form(rows[0]), first + axis_form(lanes[0]))
            value = TileLoad(tile, indices_of(extents))
            return [*statements, Map(extents, staged, where, value)]

        return staged, [*allocated, *loop(self.builder, self.panels, column)]

    def staged(self) -> tuple[Tile, list[Statement]]:
        """A tile for a row panel's sums, zero where only whole vectors reach."""
        plan, extents = self.plan, self.extents
        last_row = extents.results - extents.lanes
        reached = last_row + -(-extents.lanes // plan.lanes) * plan.lanes
        shape = (plan.micro_rows, max(self.width, reached))
        dtype = self.contraction.reduction.accumulator
        tile = self.builder.tile("staged", shape, dtype, Space.SHARED)
        beyond = shape[1] - self.width
        if not beyond:
            return tile, [Alloc(tile)]

        def zeros(row: Affine) -> list[Statement]:
            lane = self.builder.axis(beyond)
            where = (row, axis_form(lane).shift(self.width))
            return [Map(((lane, beyond),), tile, where, literal(0, dtype))]

        return tile, [Alloc(tile), *loop(self.builder, plan.micro_rows, zeros)]

    def products(self, total: Tile, lhs: Region, image: Region) -> list[Statement]:
        """Loops over planes and taps; each adds the product of one position."""
        row, lane = self.image.row, self.image.lane
        plan, extents = self.plan, self.extents
        vectors = plan.micro_rows * -(-plan.micro_columns // plan.lanes)
        lane_taps = self.taps(lane, vectors)
        row_taps = self.taps(row, vectors * lane.taps)
        row_count = 1 if row is None else row.taps

        def plane(_: Scope, place: Affine) -> list[Statement]:
            number = self.plane_number(place)

            def product(down: _Tap, along: _Tap) -> list[Statement]:
                depth = number.scale(row_count) + down.number
                depth = depth.scale(lane.taps) + along.number
                at = place + down.position.scale(extents.pitch) + along.position
                remainder = down.remainder * lane.step + along.remainder
                at = at.shift(remainder * extents.remainder)
                step = Mma(
                    total,
                    lhs.tile,
                    image.tile,
                    plan.micro_rows,
                    plan.micro_columns,
                    1,
                    (lhs.depth + depth, lhs.side),
                    (at, image.side),
                )
                return [step]

            return row_taps(lambda down: lane_taps(lambda along: product(down, along)))

        return self.planes(Scope(self.builder), plane)

    def plane_number(self, place: Affine) -> Affine:
        """The number of the plane that begins at a place."""
        plane = self.extents.plane
        terms = tuple((atom, part // plane) for atom, part in place.terms)
        return Affine(place.constant // plane, terms)

    def taps(
        self, sliding: Sliding | None, vectors: int
    ) -> Callable[[Callable[[_Tap], list[Statement]]], list[Statement]]:
        """Runs a body for every tap along an axis: in a loop, or written out."""
        if sliding is None:
            return lambda body: body(_Tap(ZERO, 0, ZERO))
        unroll = sliding.taps * vectors <= LONGEST_WRITTEN_OUT

        def run(body: Callable[[_Tap], list[Statement]]) -> list[Statement]:
            statements: list[Statement] = []
            for first, count in _runs(sliding):
                remainder, start = sliding.place(first)

                def one(
                    number: Affine,
                    first: int = first,
                    remainder: int = remainder,
                    start: int = start,
                ) -> list[Statement]:
                    tap = number.scale(sliding.step).shift(first)
                    moved = number.scale(sliding.spread).shift(start)
                    return body(_Tap(tap, remainder, moved))

                statements += self.repeated(count, one, unroll=unroll)
            return statements

        return run

    def repeated(
        self, count: int, body: Callable[[Affine], list[Statement]], *, unroll: bool
    ) -> list[Statement]:
        """A loop, written out where that is asked for, however long it is."""
        if not unroll:
            return loop(self.builder, count, body)
        return [entry for number in range(count) for entry in body(Affine(number))]

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
        if row is None:
            return self.result_lanes(scope, columns.start, number, ZERO, staged)

        def one(line: Affine) -> list[Statement]:
            at = columns.start + line
            size = self.kernel.axes[row.axis]
            inside = scope.bind(row.axis, at)
            inside = inside.with_guard(at.scale(-1).shift(size - 1))
            position = line.scale(self.extents.pitch)
            return self.result_lanes(inside, ZERO, number, position, staged)

        return loop(self.builder, self.extents.rows, one)

    def result_lanes(
        self,
        scope: Scope,
        start: Affine,
        number: Affine,
        position: Affine,
        staged: Tile,
    ) -> list[Statement]:
        """Vectors of results along the lanes."""
        lane, count = self.image.lane, self.extents.lanes
        reduction = self.contraction.reduction
        size = self.kernel.axes[lane.axis]

        def vector(inside: Scope) -> list[Statement]:
            at = inside.forms[lane.axis]
            where = (number, position + at - start)
            total = cast(TileLoad(staged, where), reduction.dtype)
            inside = inside.with_guard(at.scale(-1).shift(size - 1))
            inside = inside.with_values({reduction: total})
            return [self.store(output, inside) for output in self.kernel.outputs]

        strip = fitting_strip(lane.axis, count, self.plan.lanes, 2)
        return strips(scope, strip, start, count, vector)


def _runs(sliding: Sliding) -> Iterator[tuple[int, int]]:
    """The first tap and the number of taps that read each remainder."""
    for first in range(min(sliding.step, sliding.taps)):
        yield first, -(-(sliding.taps - first) // sliding.step)
