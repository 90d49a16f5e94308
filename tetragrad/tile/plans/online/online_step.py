"""One block of keys of an online contraction: scores, statistics, weights, products.

The statements that ``online.py`` runs for each block, in the order that shift
analysis found: a statistic is folded before anything is made with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from tetragrad.kernel.online_contraction import (
    InnerProduct,
    OnlineContraction,
    Total,
)
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fold,
    Map,
    Statement,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.products.operands import Placed
from tetragrad.tile.plans.products.packing import pack
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
class InnerTiles:
    """The operands of an inner product, and its results."""

    queries: Tile
    keys: Tile
    scores: Tile


@frozen
class TotalTiles:
    """The operands of a total, what it is by now, and what corrects each row."""

    values: Tile
    weights: Tile
    total: Tile
    scale: Tile


@frozen
class Tiles:
    """What one grid iteration keeps between blocks of keys.

    Statistics go by the numbers of their carries: each as it is, and as it was before
    the block.
    """

    inner: tuple[InnerTiles, ...]
    totals: tuple[TotalTiles, ...]
    states: Mapping[int, Tile]
    before: Mapping[int, Tile]

    def all(self) -> Iterator[Tile]:
        """Every tile, to be allocated."""
        for inner in self.inner:
            yield from (inner.queries, inner.keys, inner.scores)
        for total in self.totals:
            yield from (total.values, total.weights, total.total, total.scale)
        yield from self.states.values()
        yield from self.before.values()


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
        statements = self.remember()
        for product, tiles in zip(self.form.inner, self.tiles.inner, strict=True):
            statements += self.make_scores(product, tiles)
        made: list[int] = []
        for number in (*self.form.statistics, None):
            ready = [
                place
                for place, total in enumerate(self.form.totals)
                if place not in made
                and (number is None or self.last_needed(total.weights) < number)
            ]
            statements += self.make_weights(ready, made) if ready else []
            made += ready
            statements += self.fold(number, made) if number is not None else []
        for total, totals in zip(self.form.totals, self.tiles.totals, strict=True):
            statements += self.add_products(total, totals)
        return statements

    def last_needed(self, expression: Expression) -> int:
        """The last statistic that an expression is made with."""
        return max(
            (entry.number for entry in walk(expression) if isinstance(entry, Carried)),
            default=-1,
        )

    def make_scores(self, product: InnerProduct, tiles: InnerTiles) -> list[Statement]:
        """scores[key, row] = Σ keys · queries."""
        whole = self.whole
        block = whole.depth(product)
        operands = Operands(tiles.keys, tiles.queries, block.size(whole.kernel))
        zero = literal(0, tiles.scores.dtype)

        def one(row: Affine, column: Affine) -> list[Statement]:
            tile, steps = whole.product(operands, row, column, lambda _: zero)
            return [*steps, whole.keep(tiles.scores, tile, row, column)]

        depth, operand = Placed(block, ZERO), whole.key_operand(product)
        packing = pack(operand, self.scope, depth, self.keys, tiles.keys)
        return packing + whole.panels(self.plan.keys, self.plan.rows, one)

    def remember(self) -> list[Statement]:
        """Keep the statistics as they are before this block."""
        statements: list[Statement] = []
        for number, state in self.tiles.states.items():
            extents, row = self.whole.row_vectors()
            before = self.tiles.before[number]
            statements.append(Map(extents, before, (row,), TileLoad(state, (row,))))
        return statements

    def fold(self, number: int, made: Sequence[int]) -> list[Statement]:
        """Correct one statistic and take the block into it."""
        carry = self.form.online.carries[number]
        identity = literal(carry.op.identity(carry.dtype), carry.dtype)
        extents, _ = self.whole.row_vectors()
        part = self.whole.builder.tile("part", shape_of(extents), carry.dtype)
        start = Map(extents, part, indices_of(extents), identity)
        body = self.alive(carry.body, carry.body, identity, after=True)

        def key(position: Affine) -> list[Statement]:
            place, extents = self.place(position, made)
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

    def place(
        self, position: Affine, made: Sequence[int]
    ) -> tuple[Scope, tuple[Extent, ...]]:
        """The scope of all rows at one key of the block; which weights are made."""
        extents, row = self.whole.row_vectors()
        scope = self.scope.with_collective(*extents)
        scope = self.whole.bind_rows(scope, self.rows, row)
        key = self.keys.start + position
        size = scope.size(self.form.passed)
        scope = scope.bind(self.form.passed, key)
        scope = scope.with_guard(key.scale(-1).shift(size - 1))
        values = self.whole.carried(self.tiles, row)
        for product, tiles in zip(self.form.inner, self.tiles.inner, strict=True):
            scores = TileLoad(tiles.scores, (position, row))
            values[product.scores] = cast(scores, product.scores.dtype)
        for number in made:
            weights = self.tiles.totals[number].weights
            load = TileLoad(weights, (position, row))
            values[self.form.totals[number].weights] = load
        return scope.with_values(values), extents

    def make_weights(
        self, numbers: Sequence[int], made: Sequence[int]
    ) -> list[Statement]:
        """weights[key, row] of some totals, zero for keys beyond the last."""

        def key(position: Affine) -> list[Statement]:
            return [self.weights_of(number, position, made) for number in numbers]

        return loop(self.whole.builder, self.plan.keys, key)

    def weights_of(
        self, number: int, position: Affine, made: Sequence[int]
    ) -> Statement:
        """The weights of one total at one key."""
        total, tile = self.form.totals[number], self.tiles.totals[number].weights
        zero = literal(0, tile.dtype)
        weights = cast(total.weights, tile.dtype)
        weights = self.alive(weights, total.weights, zero, after=True)
        place, extents = self.place(position, made)
        (vector, _), (lane, lanes) = extents
        row = axis_form(vector).scale(lanes) + axis_form(lane)
        value = place.value(weights)
        ends = tuple(
            form for form in place.guard if not form.axes() & set(dict(extents))
        )
        if ends:
            value = Select(ends, value, zero)
        rest = tuple(form for form in place.guard if form not in ends)
        return Map(extents, tile, (position, row), value, rest)

    def add_products(self, total: Total, tiles: TotalTiles) -> list[Statement]:
        """total = total · correction + weights × values."""
        whole = self.whole
        extents, row = whole.row_vectors()
        carry = self.form.online.carries[total.number]
        columns = Placed(whole.column_block, ZERO)
        operand = whole.value_operand(total)
        packing = pack(operand, self.scope, self.keys, columns, tiles.values)
        operands = Operands(tiles.weights, tiles.values, self.plan.keys)

        def start(indices: Indices) -> Expression:
            before = TileLoad(tiles.total, indices)
            if carry.correction is None:
                return before
            scale = TileLoad(tiles.scale, indices[:1])
            return Compute(ops.Mul, before.dtype, (before, scale))

        def one(row: Affine, column: Affine) -> list[Statement]:
            tile, steps = whole.product(operands, row, column, start)
            return [*steps, whole.keep(tiles.total, tile, row, column)]

        products = whole.panels(self.plan.rows, whole.columns, one)
        if carry.correction is None:
            return packing + products
        amount = cast(self.correction(total.number, row), tiles.scale.dtype)
        return [Map(extents, tiles.scale, (row,), amount), *packing, *products]
