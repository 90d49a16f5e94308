"""One block of keys of an online contraction: scores, statistics, weights, products.

The statements that ``online.py`` runs for each block, in the order that shift
analysis found: a statistic is folded before anything is made with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Select,
    literal,
    walk,
)
from tetragrad.kernel.online import Carried
from tetragrad.kernel.online_contraction import OnlineContraction
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fold,
    Map,
    Statement,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.products.packing import Placed, pack
from tetragrad.tile.plans.scope import (
    Scope,
    cast,
    indices_of,
    load_of,
    loop,
    shape_of,
)

if TYPE_CHECKING:
    from tetragrad.tile.plans.online.online import Attention, Indices, OnlinePlan


@frozen
class Operands:
    """Two tiles to be multiplied, and how deep."""

    lhs: Tile
    rhs: Tile
    depth: int


@frozen
class Tiles:
    """What one grid iteration keeps between blocks of keys."""

    queries: Tile
    keys: Tile
    values: Tile
    scores: Tile
    weights: Tile
    total: Tile
    scale: Tile
    states: tuple[Tile, ...]
    before: tuple[Tile, ...]

    def all(self) -> tuple[Tile, ...]:
        """Every tile, to be allocated."""
        return (
            self.queries, self.keys, self.values, self.scores, self.weights,
            self.total, self.scale, *self.states, *self.before,
        )  # fmt: skip


@frozen
class Step:
    """Taking in one block of keys."""

    whole: Attention
    scope: Scope
    tiles: Tiles
    rows: Placed
    keys: Placed

    @property
    def plan(self) -> OnlinePlan:
        return self.whole.plan

    @property
    def form(self) -> OnlineContraction:
        return self.whole.form

    def statements(self) -> list[Statement]:
        """Scores, statistics in their order, weights as soon as they can be made."""
        statements = self.make_scores() + self.remember()
        packed = False
        for number in self.whole.statistics:
            if not packed and number > self.last_needed(self.form.weights):
                statements += self.make_weights()
                packed = True
            statements += self.fold(number, packed)
        if not packed:
            statements += self.make_weights()
        return statements + self.add_products()

    def last_needed(self, expression: Expression) -> int:
        """The last statistic that an expression is made with."""
        return max(
            (entry.number for entry in walk(expression) if isinstance(entry, Carried)),
            default=-1,
        )

    def make_scores(self) -> list[Statement]:
        """scores[key, row] = Σ keys · queries."""
        whole, tiles = self.whole, self.tiles
        depth = Placed(whole.depth, ZERO)
        size = whole.depth.size(whole.kernel)
        operands = Operands(tiles.keys, tiles.queries, size)
        zero = literal(0, tiles.scores.dtype)

        def one(row: Affine, column: Affine) -> list[Statement]:
            tile, steps = whole.product(operands, row, column, lambda _: zero)
            return [*steps, whole.keep(tiles.scores, tile, row, column)]

        packing = pack(whole.key_operand, self.scope, depth, self.keys, tiles.keys)
        return packing + whole.panels(self.plan.keys, self.plan.rows, one)

    def remember(self) -> list[Statement]:
        """Keep the statistics as they are before this block."""
        statements: list[Statement] = []
        for state, before in zip(self.tiles.states, self.tiles.before, strict=True):
            extents, row = self.whole.row_vectors()
            statements.append(Map(extents, before, (row,), TileLoad(state, (row,))))
        return statements

    def fold(self, number: int, packed: bool) -> list[Statement]:
        """Correct one statistic and take the block into it."""
        carry = self.form.online.carries[number]
        identity = literal(carry.op.identity(carry.dtype), carry.dtype)
        extents, _ = self.whole.row_vectors()
        part = self.whole.builder.tile("part", shape_of(extents), carry.dtype)
        start = Map(extents, part, indices_of(extents), identity)
        body = self.alive(carry.body, carry.body, identity, after=True)

        def key(position: Affine) -> list[Statement]:
            place, extents = self.place(position, packed)
            value = cast(place.value(body), carry.dtype)
            target = indices_of(extents)
            return [Fold(extents, part, target, carry.op, value, place.guard)]

        steps = loop(self.whole.builder, self.plan.keys, key)
        return [Alloc(part), start, *steps, self.combine(number, part)]

    def combine(self, number: int, part: Tile) -> Statement:
        """state = op(corrected state, part)."""
        carry = self.form.online.carries[number]
        extents, row = self.whole.row_vectors()
        running: Expression = TileLoad(self.tiles.states[number], (row,))
        if carry.correction is not None:
            op = ops.Mul if carry.op is Sum else ops.Add
            amount = self.correction(number, row)
            running = Compute(op, carry.dtype, (running, amount))
        joined = ops.Add if carry.op is Sum else ops.Maximum
        value = Compute(joined, carry.dtype, (running, load_of(part, extents)))
        return Map(extents, self.tiles.states[number], (row,), value)

    def correction(self, number: int, row: Affine) -> Expression:
        """By what a carried value changes before it takes in this block."""
        carry = self.form.online.carries[number]
        assert carry.correction is not None
        neutral = literal(1.0 if carry.op is Sum else 0.0, carry.dtype)
        amount = cast(carry.correction, carry.dtype)
        amount = self.alive(amount, carry.correction, neutral, after=False)
        scope = self.scope.with_values(self.whole.carried(self.tiles, row))
        return scope.value(amount)

    def alive(
        self,
        value: Expression,
        made_of: Expression,
        neutral: Expression,
        *,
        after: bool,
    ) -> Expression:
        """``value``, or the neutral value for rows whose maximum is still -inf."""
        numbers = {
            entry.number for entry in walk(made_of) if isinstance(entry, Carried)
        }
        for number in sorted(numbers):
            carry = self.form.online.carries[number]
            if carry.op is not Max:
                continue
            lowest = literal(float("-inf"), carry.dtype)
            running = Carried(number, after, carry.dtype)
            empty = Compute(ops.Eq, dtypes.bool_, (running, lowest))
            value = Compute(ops.Where, value.dtype, (empty, neutral, value))
        return value

    def place(self, position: Affine, packed: bool) -> tuple[Scope, tuple[Extent, ...]]:
        """The scope of all rows at one key of the block."""
        extents, row = self.whole.row_vectors()
        scope = self.scope.with_collective(*extents)
        scope = self.whole.bind_rows(scope, self.rows, row)
        key = self.keys.start + position
        size = scope.size(self.form.passed)
        scope = scope.bind(self.form.passed, key)
        scope = scope.with_guard(key.scale(-1).shift(size - 1))
        values = self.whole.carried(self.tiles, row)
        values[self.form.scores] = cast(
            TileLoad(self.tiles.scores, (position, row)), self.form.scores.dtype
        )
        if packed:
            values[self.form.weights] = TileLoad(self.tiles.weights, (position, row))
        return scope.with_values(values), extents

    def make_weights(self) -> list[Statement]:
        """weights[key, row], zero for keys beyond the last."""
        zero = literal(0, self.tiles.weights.dtype)
        weights = cast(self.form.weights, self.tiles.weights.dtype)
        weights = self.alive(weights, self.form.weights, zero, after=True)

        def key(position: Affine) -> list[Statement]:
            place, extents = self.place(position, False)
            (vector, _), (lane, lanes) = extents
            row = axis_form(vector).scale(lanes) + axis_form(lane)
            value = place.value(weights)
            ends = tuple(
                form for form in place.guard if not form.axes() & set(dict(extents))
            )
            if ends:
                value = Select(ends, value, zero)
            rest = tuple(form for form in place.guard if form not in ends)
            return [Map(extents, self.tiles.weights, (position, row), value, rest)]

        return loop(self.whole.builder, self.plan.keys, key)

    def add_products(self) -> list[Statement]:
        """total = total · correction + weights × values."""
        whole, tiles = self.whole, self.tiles
        extents, row = whole.row_vectors()
        carry = self.form.online.carries[self.form.matrix]
        amount: Expression = literal(1.0, tiles.scale.dtype)
        if carry.correction is not None:
            amount = cast(self.correction(self.form.matrix, row), tiles.scale.dtype)
        statements: list[Statement] = [Map(extents, tiles.scale, (row,), amount)]
        columns = Placed(whole.column_block, ZERO)
        statements += pack(
            whole.value_operand, self.scope, self.keys, columns, tiles.values
        )
        operands = Operands(tiles.weights, tiles.values, self.plan.keys)

        def start(indices: Indices) -> Expression:
            total = TileLoad(tiles.total, indices)
            scale = TileLoad(tiles.scale, indices[:1])
            return Compute(ops.Mul, total.dtype, (total, scale))

        def one(row: Affine, column: Affine) -> list[Statement]:
            tile, steps = whole.product(operands, row, column, start)
            return [*steps, whole.keep(tiles.total, tile, row, column)]

        return statements + whole.panels(self.plan.rows, whole.columns, one)
