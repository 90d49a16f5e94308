"""Build attention by roles: one brings queries, keys and values, others multiply.

    Grid(batch, block of rows)
      Role(load)
        Copy(queries);  For(block of keys)  Copy(keys)  Copy(values)
      Role(attend), members with 64 rows of a block each
        scores = queries x keys of the first block;  weights and statistics of them
        For(other blocks of keys)
          scores = queries x keys
          total += weights x values of the block before
          statistics of the scores, which corrects what they carry, and the total
          weights
        total += weights x values of the last block
        Store(what the total and the statistics become)

Both products of a turn run in the background: while the values are multiplied, the
next statistics are made of scores that lie where the matrix unit left them. Weights
never leave the registers. ``online_step.py`` is the same for machines without such a
unit, and ``kernel/online.py`` says why the corrections are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, Guard, Select, literal
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.online import Carried
from tetragrad.kernel.online_contraction import OnlineContraction
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Extent,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    Pin,
    Release,
    Role,
    Statement,
    Store,
    Tile,
    TileLoad,
    Wait,
    When,
)
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.bulk import BulkOperand
from tetragrad.tile.plans.cells import Cells
from tetragrad.tile.plans.contraction import Block
from tetragrad.tile.plans.online import needed_blocks
from tetragrad.tile.plans.online_rows import RowForm, quick, row_form, whole_blocks
from tetragrad.tile.plans.packing import Placed
from tetragrad.tile.plans.roles import MEMBER_ROWS, WARPS
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of

#: What the sides of a product's results are multiples of, and its depth.
COLUMN_STEP = 8
DEPTH_STEP = 16


@frozen
class OnlineRolePlan:
    """Sizes of attention by roles.

    A block has 64 rows for each of the ``members``; ``keys`` are taken in at a time,
    and ``stages`` of such blocks lie in shared memory.
    """

    members: int
    keys: int
    stages: int

    @property
    def rows(self) -> int:
        return self.members * MEMBER_ROWS


def build_online_roles(builder: Builder, plan: OnlineRolePlan) -> list[Statement]:
    """The grid of attention by roles."""
    rows = row_form(builder.kernel)
    assert rows is not None
    return _Attention(builder, plan, rows).grid()


def rounded(size: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-size // step) * step


@frozen
class _Place:
    """A block of rows: the axes that are known there, and where its rows start."""

    scope: Scope
    rows: Affine


@frozen
class _Tiles:
    """What a member keeps in registers."""

    scores: Tile
    weights: Tile
    total: Tile
    states: tuple[Tile, ...]

    def all(self) -> tuple[Tile, ...]:
        return (self.scores, self.weights, self.total, *self.states)


@frozen
class _Attention:
    builder: Builder
    plan: OnlineRolePlan
    row_form: RowForm

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @property
    def form(self) -> OnlineContraction:
        return self.row_form.form

    @property
    def blocks(self) -> int:
        """Blocks of keys."""
        return -(-self.kernel.axes[self.form.passed] // self.plan.keys)

    @property
    def depth(self) -> int:
        """Features of a query that are multiplied: those beyond the last are zeros."""
        return rounded(self.kernel.axes[self.row_form.depth], DEPTH_STEP)

    @property
    def columns(self) -> int:
        return rounded(self.kernel.axes[self.form.column], COLUMN_STEP)

    # --- channels ----------------------------------------------------------------

    @cached_property
    def queries(self) -> Channel:
        return self.channel("queries", self.row_form.queries, 1)

    @cached_property
    def keys(self) -> Channel:
        return self.channel("keys", self.row_form.keys, self.plan.stages)

    @cached_property
    def values(self) -> Channel:
        return self.channel("values", self.row_form.values, self.plan.stages)

    def channel(self, name: str, operand: BulkOperand, stages: int) -> Channel:
        """A channel for the boxes of an operand."""
        depth, side = self.cells(operand)
        tile = operand.tile(self.builder, name, depth.extent, side.extent)
        return Channel(name, (tile,), stages)

    def cells(self, operand: BulkOperand) -> tuple[Cells, Cells]:
        """What is brought at once: a block of rows or keys, with all features."""
        sizes = self.kernel.axes
        chunks = {self.form.row: self.plan.rows, self.form.passed: self.plan.keys}

        def cells(axis: int) -> Cells:
            chunk = chunks.get(axis, rounded(sizes[axis], panel_of(operand.dtype)))
            return Cells((axis,), (sizes[axis],), (chunk,))

        (depth,), (side,) = operand.depth, operand.side
        return cells(depth), cells(side)

    def copy(
        self, channel: Channel, operand: BulkOperand, starts: Mapping[int, Affine]
    ) -> list[Statement]:
        """Fill one slot of a channel."""
        (tile,) = channel.tiles
        zeros = dict.fromkeys((*operand.depth, *operand.side), ZERO)
        copy = operand.copy(
            self.builder, tile, channel, zeros | starts, self.cells(operand), 0
        )
        return [Acquire(channel), copy, Commit(channel)]

    # --- the grid ----------------------------------------------------------------

    def grid(self) -> list[Statement]:
        """Every batch and block of rows; last rows, which may see most keys, first."""
        scope = Scope(self.builder)
        extents: list[Extent] = []
        for axis in self.form.batch:
            position = self.builder.axis(self.kernel.axes[axis])
            extents.append((position, self.kernel.axes[axis]))
            scope = scope.bind(axis, axis_form(position))
        chunks = -(-self.kernel.axes[self.form.row] // self.plan.rows)
        index = self.builder.axis(chunks)
        extents.append((index, chunks))
        start = axis_form(index).scale(-1).shift(chunks - 1).scale(self.plan.rows)
        place = _Place(scope, start)
        member = self.builder.axis(self.plan.members)
        load = Role("load", WARPS, tuple(self.load(place)))
        body = tuple(self.attend(place, axis_form(member).scale(MEMBER_ROWS)))
        attend = Role("attend", WARPS, body, (member, self.plan.members))
        return [Grid(tuple(extents), (load, attend))]

    def each_other(self, place: _Place, axis: int, body: list[Statement]) -> list[For]:
        """Blocks behind the first one, up to the last that adds anything.

        What ends the blocks of one row ends them for good; where they could begin
        later, the scores of the earlier ones are -inf and add nothing.
        """
        if self.blocks == 1:
            return []
        rows = Placed(Block((self.form.row,), 0, self.plan.rows), place.rows)
        keys = Placed(Block((self.form.passed,), 0, self.plan.keys), self.start(axis))
        guard = tuple(
            form
            for form in needed_blocks(self.form, place.scope, rows, keys)
            if form.coefficient(axis) <= 0
        )
        return [For(axis, self.blocks - 1, tuple(body), guard=guard)]

    def start(self, axis: int) -> Affine:
        """The first key of the block that a loop behind the first one stands at."""
        return axis_form(axis).shift(1).scale(self.plan.keys)

    def loop_axis(self) -> int:
        return self.builder.axis(max(1, self.blocks - 1))

    # --- the role that copies ------------------------------------------------------

    def load(self, place: _Place) -> list[Statement]:
        """Bring the queries, then keys and values as they are needed."""
        axis = self.loop_axis()
        starts = {**place.scope.forms, self.form.row: place.rows}
        body = self.bring(place, self.start(axis))
        return [
            *self.copy(self.queries, self.row_form.queries, starts),
            *self.bring(place, ZERO),
            *self.each_other(place, axis, body),
        ]

    def bring(self, place: _Place, start: Affine) -> list[Statement]:
        """Keys and values of the block that starts here."""
        starts = {**place.scope.forms, self.form.passed: start}
        return [
            *self.copy(self.keys, self.row_form.keys, starts),
            *self.copy(self.values, self.row_form.values, starts),
        ]

    # --- the role that multiplies ----------------------------------------------------

    def attend(self, block: _Place, first_row: Affine) -> list[Statement]:
        """A member's rows, over all blocks of keys."""
        tiles, axis = self.tiles(), self.loop_axis()
        place = _Place(block.scope, block.rows + first_row)
        step = _Step(self, place, tiles)
        body = [
            *self.make_scores(tiles, first_row),
            *self.add_values(tiles),
            *step.take_in(self.start(axis), corrects=True),
        ]
        return [
            *(Alloc(tile) for tile in tiles.all()),
            *self.clear(tiles),
            Wait(self.queries),
            *self.make_scores(tiles, first_row),
            *step.take_in(ZERO, corrects=False),
            *self.each_other(block, axis, body),
            *self.add_values(tiles),
            Release(self.queries),
            *step.finish(),
        ]

    def tiles(self) -> _Tiles:
        rows, keys, builder = MEMBER_ROWS, self.plan.keys, self.builder
        dtype = self.form.scores.accumulator
        carries = self.form.online.carries[: self.form.matrix]
        return _Tiles(
            builder.tile("scores", (rows, keys), dtype),
            builder.tile("weights", (keys, rows), self.row_form.values.dtype),
            builder.tile("total", (rows, self.columns), dtype),
            tuple(builder.tile("state", (rows,), carry.dtype) for carry in carries),
        )

    def clear(self, tiles: _Tiles) -> list[Statement]:
        """Every carried value starts as its reduction's identity."""
        found: list[Statement] = []
        for tile, carry in zip(
            (*tiles.states, tiles.total), self.form.online.carries, strict=True
        ):
            extents = tuple((self.builder.axis(size), size) for size in tile.shape)
            identity = literal(carry.op.identity(tile.dtype), tile.dtype)
            found.append(Map(extents, tile, indices_of(extents), identity))
        return found

    def make_scores(self, tiles: _Tiles, first_row: Affine) -> list[Statement]:
        """scores[row, key] = Σ queries · keys."""
        (queries,), (keys,) = self.queries.tiles, self.keys.tiles
        product = Mma(
            tiles.scores,
            queries,
            keys,
            *tiles.scores.shape,
            self.depth,
            (ZERO, first_row),
            (ZERO, ZERO),
            starts=True,
        )
        return [Wait(self.keys), product, Release(self.keys)]

    def add_values(self, tiles: _Tiles) -> list[Statement]:
        """total[row, column] += Σ weights · values."""
        (values,) = self.values.tiles
        product = Mma(
            tiles.total,
            tiles.weights,
            values,
            *tiles.total.shape,
            self.plan.keys,
            (ZERO, ZERO),
            (ZERO, ZERO),
        )
        return [Wait(self.values), product, Release(self.values)]


@frozen
class _Step:
    """What a member does with the scores of one block, and in the end."""

    whole: _Attention
    place: _Place
    tiles: _Tiles

    @property
    def builder(self) -> Builder:
        return self.whole.builder

    @property
    def form(self) -> OnlineContraction:
        return self.whole.form

    def take_in(self, start: Affine, *, corrects: bool) -> list[Statement]:
        """Statistics in their order, then weights; the total is corrected."""
        tiles = self.tiles
        before = self.builder.tile("before", (MEMBER_ROWS,), tiles.states[0].dtype)
        highest, *sums = tiles.states
        found = self.mask(start)
        found += [Alloc(before), self.by_row(before, self.state(highest))]
        found.append(self.fold(0, self.held()))
        found += [self.corrected(number, before) for number in self.sums]
        found.append(self.by_score(self.whole.row_form.exact, start))
        for number in self.sums:
            carry = self.form.online.carries[number]
            found.append(self.fold(number, carry.body))
        found += [Pin(tile) for tile in sums[-1:]]
        found.append(self.weigh())
        return found + (self.correct_total(before) if corrects else [])

    @property
    def sums(self) -> range:
        """The numbers of the statistics that are sums."""
        return range(1, self.form.matrix)

    # --- scores --------------------------------------------------------------------

    @cached_property
    def score_axes(self) -> tuple[Extent, Extent]:
        rows, keys = self.tiles.scores.shape
        return (self.builder.axis(rows), rows), (self.builder.axis(keys), keys)

    def held(self) -> TileLoad:
        """The score of a row and a key, or what has become of it."""
        return TileLoad(self.tiles.scores, indices_of(self.score_axes))

    def score_scope(self, start: Affine) -> Scope:
        """The kernel's axes at each score of a block."""
        rows, keys = indices_of(self.score_axes)
        scope = self.place.scope.with_collective(*self.score_axes)
        scope = scope.bind(self.form.row, self.place.rows + rows)
        scope = scope.bind(self.form.passed, start + keys)
        row_size, key_size = (
            self.whole.kernel.axes[axis] for axis in (self.form.row, self.form.passed)
        )
        # What is loaded beside the scores must exist.
        return scope.with_guard(
            (self.place.rows + rows).scale(-1).shift(row_size - 1),
            (start + keys).scale(-1).shift(key_size - 1),
        )

    def mask(self, start: Affine) -> list[Statement]:
        """Make of the products what the statistics are made of: -inf adds nothing.

        In most blocks no key is masked, and nothing need be compared.
        """
        rows = Placed(Block((self.form.row,), 0, MEMBER_ROWS), self.place.rows)
        keys = Placed(Block((self.form.passed,), 0, self.whole.plan.keys), start)
        scope = self.score_scope(start)
        values = {self.form.scores: cast(self.held(), self.form.scores.dtype)}
        scope = scope.with_values(values)
        logits = self.whole.row_form.logits
        condition, simpler = whole_blocks(
            self.form, logits, self.place.scope, rows, keys
        )
        lowest = literal(float("-inf"), logits.dtype)
        beyond = tuple(
            form for form in scope.guard if form.axes() & {self.score_axes[1][0]}
        )
        masked = scope.value(logits)
        if beyond:
            masked = Select(beyond, masked, lowest)
        if not condition:
            return self.set_scores(masked)
        plain = self.set_scores(scope.value(simpler))
        return [When(condition, tuple(plain), tuple(self.set_scores(masked)))]

    def set_scores(self, value: Expression) -> list[Statement]:
        if value == self.held():
            return []
        indices = indices_of(self.score_axes)
        return [Map(self.score_axes, self.tiles.scores, indices, value)]

    def by_score(self, expression: Expression, start: Affine) -> Statement:
        """Replace every score by an expression of it and the statistics."""
        scope = self.score_scope(start).with_values(self.carried())
        scope = scope.with_values({self.whole.row_form.logits: self.held()})
        (statement,) = self.set_scores(quick(scope.value(expression)))
        return statement

    def weigh(self) -> Statement:
        """The weights, as operand of the next product."""
        rows, keys = indices_of(self.score_axes)
        value = cast(self.held(), self.tiles.weights.dtype)
        return Map(self.score_axes, self.tiles.weights, (keys, rows), value)

    # --- statistics ----------------------------------------------------------------

    @cached_property
    def row_axes(self) -> tuple[Extent]:
        return ((self.builder.axis(MEMBER_ROWS), MEMBER_ROWS),)

    def state(self, tile: Tile) -> TileLoad:
        return TileLoad(tile, indices_of(self.row_axes))

    def by_row(self, tile: Tile, value: Expression) -> Statement:
        return Map(self.row_axes, tile, indices_of(self.row_axes), value)

    def carried(self, row: Affine | None = None) -> dict[Expression, Expression]:
        """The running values of a row; a maximum of -inf is taken for 0.

        All scores of such a row are -inf too, and stay so.
        """
        place = row if row is not None else axis_form(self.score_axes[0][0])
        found: dict[Expression, Expression] = {}
        for number, tile in enumerate(self.tiles.states):
            carry = self.form.online.carries[number]
            value: Expression = TileLoad(tile, (place,))
            if carry.op is Max:
                lowest = literal(float("-inf"), carry.dtype)
                is_empty = Compute(ops.Eq, dtypes.bool_, (value, lowest))
                zero = literal(0.0, carry.dtype)
                value = Compute(ops.Where, carry.dtype, (is_empty, zero, value))
            found[Carried(number, True, carry.dtype)] = value
        return found

    def fold(self, number: int, body: Expression) -> Statement:
        """Take the scores of a block, as they are now, into a statistic."""
        tile, carry = self.tiles.states[number], self.form.online.carries[number]
        scope = Scope(self.builder).with_collective(*self.score_axes)
        scope = scope.with_values({self.whole.row_form.exact: self.held()})
        rows, _ = indices_of(self.score_axes)
        value = cast(scope.value(body), tile.dtype)
        return Fold(self.score_axes, tile, (rows,), carry.op, value)

    def correction(self, number: int, before: Tile) -> Expression | None:
        """By what a sum changes before it takes in this block."""
        amount = self.form.online.carries[number].correction
        if amount is None:
            return None
        (row,) = indices_of(self.row_axes)
        values = self.carried(row)
        values[Carried(0, False, before.dtype)] = TileLoad(before, (row,))
        return quick(Scope(self.builder).with_values(values).value(amount))

    def corrected(self, number: int, before: Tile) -> Statement:
        """A sum as if its scores had been compared with the new maximum."""
        tile = self.tiles.states[number]
        value: Expression = self.state(tile)
        amount = self.correction(number, before)
        if amount is not None:
            value = Compute(ops.Mul, tile.dtype, (value, cast(amount, tile.dtype)))
        return self.by_row(tile, value)

    def correct_total(self, before: Tile) -> list[Statement]:
        amount = self.correction(self.form.matrix, before)
        if amount is None:
            return []
        total = self.tiles.total
        scale = self.builder.tile("scale", (MEMBER_ROWS,), total.dtype)
        extents = self.total_axes()
        rows, columns = indices_of(extents)
        factors = (TileLoad(total, (rows, columns)), TileLoad(scale, (rows,)))
        value = Compute(ops.Mul, total.dtype, factors)
        return [
            Alloc(scale),
            self.by_row(scale, cast(amount, scale.dtype)),
            Map(extents, total, (rows, columns), value),
        ]

    # --- results -------------------------------------------------------------------

    def total_axes(self) -> tuple[Extent, Extent]:
        rows, columns = self.tiles.total.shape
        return (self.builder.axis(rows), rows), (self.builder.axis(columns), columns)

    def finish(self) -> list[Statement]:
        """Store what the total and the statistics become."""
        (output,) = self.whole.kernel.outputs
        extents = self.total_axes()
        rows, columns = indices_of(extents)
        row = self.place.rows + rows
        sizes = self.whole.kernel.axes
        scope = self.place.scope.with_collective(*extents)
        scope = scope.bind(self.form.row, row).bind(self.form.column, columns)
        scope = scope.with_guard(
            row.scale(-1).shift(sizes[self.form.row] - 1),
            columns.scale(-1).shift(sizes[self.form.column] - 1),
        )
        carry = self.form.online.carries[self.form.matrix]
        values: dict[Expression, Expression] = {
            Carried(number, True, tile.dtype): TileLoad(tile, (rows,))
            for number, tile in enumerate(self.tiles.states)
        }
        values[Carried(self.form.matrix, True, carry.dtype)] = TileLoad(
            self.tiles.total, (rows, columns)
        )
        rewriter = scope.with_values(values).rewriter()
        value = quick(rewriter(self.form.online.result), extents[1][0])
        guard: Guard = scope.guard + rewriter.guards(output.guard)
        return [
            Store(extents, output.slot, rewriter.form(output.address), value, guard)
        ]
