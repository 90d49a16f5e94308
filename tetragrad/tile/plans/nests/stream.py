"""Stream a large matrix through the processor once: a reduction down its columns.

    y[m, n] = Σ_k x[m, k] * w[k, n]            few rows m; w is far larger than x and y

    Grid(batch, block of columns)
      totals[m, n] = 0                                             a cache
      For(block of the depth)
        For(vectors of columns)
          part[m, n] = Σ_k of the block                        registers
          totals[m, n] += part[m, n]
      Store(what the outputs make of the totals)

Where there are many blocks, some of them are added up by themselves first: one chain of
thousands of additions would round as often.

Memory is read in runs as long as a block of columns, some rows of the matrix side by
side, which is what processors can fetch ahead. A nest that finished one vector of
columns before the next would read a line here and a line there.
"""

from __future__ import annotations

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Load, Reduction, literal, walk
from tetragrad.kernel.ir import Output
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fetch,
    Fold,
    Grid,
    Map,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.nests.nest import roots_of
from tetragrad.tile.plans.scope import (
    Body,
    Builder,
    Scope,
    Strip,
    cast,
    chunked,
    indices_of,
    load_of,
    loop,
    shape_of,
    strips,
)

#: Blocks of the depth that are added up by themselves, where there are at least two
#: times as many.
BLOCKS_TOGETHER = 64


@frozen
class StreamPlan:
    """Choices for outputs (by number) that need one reduction down columns.

    ``grid`` are axes whose points have matrices of their own, ``beside`` axes with few
    points that share the matrix, ``column`` the axis on lanes. A grid iteration takes
    ``chunk`` columns, and ``depth`` rows of the matrix at a time; if it ``fetches``,
    the next ones are asked for meanwhile.
    """

    outputs: tuple[int, ...]
    grid: tuple[int, ...]
    beside: tuple[int, ...]
    column: int
    lanes: int
    vectors: int
    chunk: int
    depth: int
    fetches: bool = False


def build_stream(builder: Builder, plan: StreamPlan) -> list[Statement]:
    """The grid that computes the plan's outputs."""
    outputs = [builder.kernel.outputs[number] for number in plan.outputs]
    stream = _Stream(builder, plan, outputs, streamed_reduction(outputs))
    return stream.whole()


def streamed_reduction(outputs: list[Output]) -> Reduction:
    """The only reduction that some outputs need."""
    (found,) = {
        entry for entry in walk(*roots_of(outputs)) if isinstance(entry, Reduction)
    }
    return found


@frozen
class _Stream:
    builder: Builder
    plan: StreamPlan
    outputs: list[Output]
    reduction: Reduction

    def whole(self) -> list[Statement]:
        """Every matrix and every chunk of columns at once."""
        scope = Scope(self.builder)
        extents: list[Extent] = []
        for axis in self.plan.grid:
            position = self.builder.axis(scope.size(axis))
            extents.append((position, scope.size(axis)))
            scope = scope.bind(axis, axis_form(position))
        columns = scope.size(self.plan.column)
        count = -(-columns // self.plan.chunk)
        index = self.builder.axis(count)
        extents.append((index, count))
        body = chunked(
            columns,
            self.plan.chunk,
            axis_form(index),
            lambda start, length: _Chunk(self, scope, start, length).statements(),
        )
        return [Grid(tuple(extents), tuple(body))]


@frozen
class _Chunk:
    """The columns of one grid iteration."""

    stream: _Stream
    scope: Scope
    start: Affine
    length: int

    @property
    def plan(self) -> StreamPlan:
        return self.stream.plan

    @property
    def reduction(self) -> Reduction:
        return self.stream.reduction

    def statements(self) -> list[Statement]:
        """Clear the totals, take in the depth, store the results."""
        totals = self.totals("totals")
        statements = [Alloc(totals), *self.all_cleared(totals)]
        statements += self.take_in(totals)
        return statements + self.over_columns(
            self.scope, lambda scope: self.results(scope, totals)
        )

    def totals(self, name: str) -> Tile:
        """A tile for the results of the chunk, in whole vectors."""
        width = self.plan.lanes * self.plan.vectors
        columns = -(-self.length // width) * width
        sizes = [self.scope.size(axis) for axis in self.plan.beside]
        dtype = self.reduction.accumulator
        shape = (*sizes, columns)
        return self.stream.builder.tile(name, shape, dtype, Space.SHARED)

    def all_cleared(self, tile: Tile) -> list[Statement]:
        """Set a whole tile to what the reduction starts from."""
        return self.over_columns(
            self.scope, lambda scope: [self.cleared(tile, self.places(scope))]
        )

    def over_columns(self, scope: Scope, body: Body) -> list[Statement]:
        """The body for all rows beside each other, some vectors at a time."""
        for axis in self.plan.beside:
            position = scope.builder.axis(scope.size(axis))
            extent = (position, scope.size(axis))
            scope = scope.bind(axis, axis_form(position)).with_collective(extent)
        strip = Strip(self.plan.column, self.plan.lanes, self.plan.vectors)
        return strips(scope, strip, self.start, self.length, body)

    def places(self, scope: Scope) -> tuple[tuple[Extent, ...], tuple[Affine, ...]]:
        """Collective axes over some totals, and where in their tile those are."""
        beside = [scope.forms[axis] for axis in self.plan.beside]
        column = scope.forms[self.plan.column] - self.start
        return scope.collective, (*beside, column)

    def cleared(
        self, tile: Tile, places: tuple[tuple[Extent, ...], tuple[Affine, ...]]
    ) -> Statement:
        """Set places of a tile to what the reduction starts from."""
        extents, indices = places
        identity = self.reduction.op.identity(self.reduction.dtype)
        return Map(extents, tile, indices, literal(identity, tile.dtype))

    def take_in(self, totals: Tile) -> list[Statement]:
        """The whole depth: many blocks by themselves first, then what is left."""
        (axis,) = self.reduction.axes
        depth = self.plan.depth
        blocks, rest = divmod(self.scope.size(axis), depth)
        together, left = divmod(blocks, BLOCKS_TOGETHER)
        statements: list[Statement] = []
        if together < 2:
            left = blocks
        else:
            statements += self.together(totals, together)
        start = Affine((blocks - left) * depth)
        statements += loop(
            self.stream.builder,
            left,
            lambda number: self.block(totals, start + number.scale(depth), depth),
        )
        if rest:
            statements += self.block(totals, Affine(blocks * depth), rest)
        return statements

    def together(self, totals: Tile, count: int) -> list[Statement]:
        """Some times many blocks, each time added up in a tile of their own."""
        group, depth = self.totals("group"), self.plan.depth

        def one(number: Affine) -> list[Statement]:
            first = number.scale(BLOCKS_TOGETHER * depth)
            blocks = loop(
                self.stream.builder,
                BLOCKS_TOGETHER,
                lambda inner: self.block(group, first + inner.scale(depth), depth),
            )
            added = self.over_columns(
                self.scope, lambda scope: [self.added(scope, totals, group)]
            )
            return [*self.all_cleared(group), *blocks, *added]

        return [Alloc(group), *loop(self.stream.builder, count, one)]

    def added(self, scope: Scope, totals: Tile, group: Tile) -> Statement:
        """Take some totals of a group into those of the whole depth."""
        extents, indices = self.places(scope)
        value = TileLoad(group, indices)
        return Fold(extents, totals, indices, self.reduction.op, value)

    def block(self, totals: Tile, first: Affine, rows: int) -> list[Statement]:
        """A block of rows of the matrix."""
        return self.over_columns(
            self.scope, lambda scope: self.part(scope, totals, first, rows)
        )

    def part(
        self, scope: Scope, totals: Tile, first: Affine, rows: int
    ) -> list[Statement]:
        """Some rows of the matrix, down some vectors of columns."""
        extents, indices = self.places(scope)
        op, dtype = self.reduction.op, totals.dtype
        part = scope.builder.tile("part", shape_of(extents), dtype)
        (axis,) = self.reduction.axes

        def row(step: Affine) -> list[Statement]:
            value = scope.bind(axis, first + step).value(self.reduction.body)
            within = indices_of(extents)
            return [Fold(extents, part, within, op, cast(value, dtype), scope.guard)]

        return [
            *self.fetched(scope, first, rows),
            Alloc(part),
            self.cleared(part, (extents, indices_of(extents))),
            *loop(scope.builder, rows, row),
            Fold(extents, totals, indices, op, load_of(part, extents)),
        ]

    def fetched(self, scope: Scope, first: Affine, rows: int) -> list[Statement]:
        """Ask for what the next rows of the matrix have in these columns.

        A processor does not fetch the beginning of a row by itself.
        """
        (axis,) = self.reduction.axes
        column, width = self.plan.column, self.plan.lanes * self.plan.vectors
        matrices = [
            entry
            for entry in walk(self.reduction.body)
            if isinstance(entry, Load)
            and entry.free_axes >= {axis, column}
            and entry.address.is_pure()
        ]
        if not matrices or not self.plan.fetches:
            return []
        corner = {position: ZERO for position, _ in scope.collective}

        def row(step: Affine) -> list[Statement]:
            following = first + step.shift(self.plan.depth)
            form = scope.bind(axis, following).rewriter().form
            return [
                Fetch(load.slot, form(load.address).substitute(corner), width)
                for load in matrices
            ]

        return loop(scope.builder, rows, row)

    def results(self, scope: Scope, totals: Tile) -> list[Statement]:
        """Store what the outputs make of some totals."""
        _, indices = self.places(scope)
        total = cast(TileLoad(totals, indices), self.reduction.dtype)
        rewriter = scope.with_values({self.reduction: total}).rewriter()
        return [
            Store(
                scope.collective,
                output.slot,
                rewriter.form(output.address),
                rewriter(output.value),
                scope.guard + rewriter.guards(output.guard),
            )
            for output in self.stream.outputs
        ]
