"""What a member of four warps does with the scores of a block of keys.

The statements that ``online_roles.py`` runs for each block, in the order that shift
analysis found, and in the end: statistics of scores that lie where the matrix unit
left them, weights, corrections, results.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, Select, literal
from tetragrad.kernel.ir import Output
from tetragrad.kernel.online import Carried
from tetragrad.kernel.online_contraction import OnlineContraction
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fold,
    Map,
    Pin,
    Release,
    Statement,
    Tile,
    TileLoad,
    Wait,
    When,
)
from tetragrad.tile.plans.products.operands import placed_along
from tetragrad.tile.plans.roles.online_rows import is_positive, quick, whole_blocks
from tetragrad.tile.plans.roles.role_plan import MEMBER_ROWS
from tetragrad.tile.plans.roles.row_blocks import RowBlock
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of

if TYPE_CHECKING:
    from tetragrad.tile.plans.roles.online_roles import RoleAttention


@frozen
class RoleTiles:
    """What a member keeps in registers."""

    scores: Tile
    weights: Tile
    total: Tile
    states: tuple[Tile, ...]
    staged: Tile | None

    def all(self) -> tuple[Tile, ...]:
        staged = () if self.staged is None else (self.staged,)
        return (self.scores, self.weights, self.total, *self.states, *staged)


@frozen
class RoleStep:
    """What a member does with the scores of one block, and in the end."""

    whole: RoleAttention
    place: RowBlock
    tiles: RoleTiles

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
        beside = self.whole.beside
        found = [*self.scale(), *(Wait(channel) for channel in beside)]
        found += [*self.mask(start), *(Release(channel) for channel in beside)]
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
        return range(1, self.form.totals[0].number)

    # --- scores --------------------------------------------------------------------

    @cached_property
    def score_axes(self) -> tuple[Extent, ...]:
        return self.builder.axes(self.tiles.scores.shape)

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

    def scale(self) -> list[Statement]:
        """Multiply by what all scores share, unless that can be done later.

        A number above zero leaves their order as it is.
        """
        factor = self.whole.row_form.factor
        if factor is None:
            return []
        scaled = Compute(ops.Mul, factor.dtype, (self.held(), factor))
        return [When(is_positive(factor), (), tuple(self.set_scores(scaled)))]

    def later(self, value: Expression) -> Expression:
        """A score as it is held, multiplied by what is still to be multiplied."""
        factor = self.whole.row_form.factor
        if factor is None:
            return value
        zero, one = (literal(number, factor.dtype) for number in (0.0, 1.0))
        is_above = Compute(ops.Lt, dtypes.bool_, (zero, factor))
        left = Compute(ops.Where, factor.dtype, (is_above, factor, one))
        return Compute(ops.Mul, factor.dtype, (value, left))

    def mask(self, start: Affine) -> list[Statement]:
        """Make of the products what the statistics are made of: -inf adds nothing.

        In most blocks no key is masked, and nothing need be compared.
        """
        rows = placed_along(self.form.row, MEMBER_ROWS, self.place.rows)
        keys = placed_along(self.form.passed, self.whole.plan.keys, start)
        scope = self.score_scope(start)
        held = cast(self.held(), self.form.inner[0].scores.dtype)
        values: dict[Expression, Expression] = {self.form.inner[0].scores: held}
        scope = scope.with_values(values | self.arrived())
        logits = self.whole.row_form.plain
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

    def arrived(self) -> dict[Expression, Expression]:
        """What was brought for each score, where it lies."""
        rows, keys = indices_of(self.score_axes)
        rows = rows + self.whole.first_row
        pairs = zip(self.whole.row_form.beside, self.whole.beside, strict=False)
        return {
            operand.load: TileLoad(channel.tiles[0], (keys, rows))
            for operand, channel in pairs
        }

    def set_scores(self, value: Expression) -> list[Statement]:
        if value == self.held():
            return []
        indices = indices_of(self.score_axes)
        return [Map(self.score_axes, self.tiles.scores, indices, value)]

    def by_score(self, expression: Expression, start: Affine) -> Statement:
        """Replace every score by an expression of it and the statistics."""
        scope = self.score_scope(start).with_values(self.carried())
        logits = self.whole.row_form.logits
        scope = scope.with_values({logits: self.later(self.held())})
        (statement,) = self.set_scores(quick(scope.value(expression)))
        return statement

    def weigh(self) -> Statement:
        """The weights, as operand of the next product."""
        rows, keys = indices_of(self.score_axes)
        value = cast(self.held(), self.tiles.weights.dtype)
        return Map(self.score_axes, self.tiles.weights, (keys, rows), value)

    # --- statistics ----------------------------------------------------------------

    @cached_property
    def row_axes(self) -> tuple[Extent, ...]:
        return self.builder.axes((MEMBER_ROWS,))

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
                value = self.later(value)
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
        values[Carried(0, False, before.dtype)] = self.later(TileLoad(before, (row,)))
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
        amount = self.correction(self.form.totals[0].number, before)
        if amount is None:
            return []
        total = self.tiles.total
        scale = self.builder.tile("scale", (MEMBER_ROWS,), total.dtype)
        extents = self.builder.axes(total.shape)
        rows, columns = indices_of(extents)
        factors = (TileLoad(total, (rows, columns)), TileLoad(scale, (rows,)))
        value = Compute(ops.Mul, total.dtype, factors)
        return [
            Alloc(scale),
            self.by_row(scale, cast(amount, scale.dtype)),
            Map(extents, total, (rows, columns), value),
        ]

    # --- results -------------------------------------------------------------------

    def finish(self) -> list[Statement]:
        """Store what the total and the statistics become."""
        found: list[Statement] = []
        states = []
        for tile in self.tiles.states:
            whole = self.builder.tile("whole", tile.shape, tile.dtype)
            found += [Alloc(whole), self.by_row(whole, self.state(tile))]
            states.append(whole)
        number, total = self.form.totals[0].number, self.tiles.total

        def known(row: Affine, column: Affine) -> dict[Expression, Expression]:
            running = Carried(number, True, self.form.online.carries[number].dtype)
            held = TileLoad(total, (row, column))
            return {running: held} | self.finished(states, row)

        main = self.whole.row_form.main(self.whole.kernel)
        found += self.whole.store_all(self.place, self.tiles.staged, *main, known)
        for output, result in self.whole.row_form.statistics(self.whole.kernel):
            found.append(self.store_row(states, output, result))
        return found

    def store_row(
        self, states: Sequence[Tile], output: Output, result: Expression
    ) -> Statement:
        """Store what the statistics of each row become."""
        (row,) = indices_of(self.row_axes)
        place = self.place.scope.with_collective(*self.row_axes)
        place = self.whole.at_row(place, self.place.rows + row)
        place = place.with_values(self.finished(states, row))
        return self.whole.store(place, output, place.value(result))

    def finished(
        self, states: Sequence[Tile], row: Affine
    ) -> dict[Expression, Expression]:
        """The statistics of a row, as they are in the end."""
        found: dict[Expression, Expression] = {}
        for number, tile in enumerate(states):
            value: Expression = TileLoad(tile, (row,))
            if self.form.online.carries[number].op is Max:
                value = self.later(value)
            found[Carried(number, True, tile.dtype)] = value
        return found
