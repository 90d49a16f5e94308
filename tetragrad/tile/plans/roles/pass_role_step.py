"""What a member of four warps makes of the scores of a block, in a given pass.

The statements that ``pass_roles.py`` runs for each block: weights in place of scores,
which are zero where a mask or the end of the keys leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import (
    Expression,
    Guard,
    Load,
    Select,
    literal,
    walk,
)
from tetragrad.kernel.online import Carried, replace
from tetragrad.tile.ir import Extent, Map, Statement, Tile, TileLoad, When
from tetragrad.tile.plans.products.operands import placed_along
from tetragrad.tile.plans.roles.online_rows import (
    masks_of,
    quick,
    vanishes,
    whole_blocks,
)
from tetragrad.tile.plans.roles.role_plan import MEMBER_ROWS
from tetragrad.tile.plans.scope import Scope, cast, indices_of

if TYPE_CHECKING:
    from tetragrad.tile.plans.roles.pass_roles import RolePass


@frozen
class PassTiles:
    """What a member keeps in registers, and its room for results."""

    scores: tuple[Tile, ...]
    weights: tuple[Tile, ...]
    totals: tuple[Tile, ...]
    rows: dict[Expression, Tile]
    staged: Tile | None

    def all(self) -> tuple[Tile, ...]:
        staged = () if self.staged is None else (self.staged,)
        given = self.rows.values()
        return (*self.scores, *self.weights, *self.totals, *given, *staged)


@frozen
class PassStep:
    """What a member makes of the scores of one block of keys."""

    whole: RolePass
    scope: Scope
    rows: Affine
    keys: Affine
    tiles: PassTiles

    def weigh(self) -> list[Statement]:
        """The weights of every total, as operands of the products that add to them."""
        axes = self.whole.builder.axes(self.tiles.scores[0].shape)
        indices, place = indices_of(axes), self.place(axes)
        made: dict[Expression, Expression] = {}
        conditions: dict[Affine, None] = {}
        plain, masked, zeros, rounded = [], [], [], []
        for number, weighted in enumerate(self.whole.passing.totals):
            # Weights that are made already lie where their scores were.
            exact = replace(weighted.exact, made)
            tile = self.tiles.scores[weighted.held]
            held, weights = TileLoad(tile, indices), self.tiles.weights[number]
            guard, simpler = self.whole_block(exact)
            conditions |= dict.fromkeys(guard)
            value = place.value(self.loaded(place, axes, simpler))
            plain.append(Map(axes, tile, indices, quick(value)))
            value = self.counted(place, axes, place.value(exact))
            masked.append(Map(axes, tile, indices, quick(value)))
            zeros += self.zero(place, axes, held, exact, made)
            narrow = cast(held, weights.dtype)
            rounded.append(Map(axes, weights, indices[::-1], narrow))
            known = Carried(-1 - number, True, exact.dtype)
            made[weighted.exact] = known
            place = place.with_values({known: held})
        if not conditions:
            return [*plain, *rounded]
        if len(zeros) == len(plain):
            # The first weights that do not count are made too, and then are zero; so
            # are the scores of the others, and what becomes of them.
            first, *others = plain
            return [first, When(tuple(conditions), (), tuple(zeros)), *others, *rounded]
        return [When(tuple(conditions), tuple(plain), tuple(masked)), *rounded]

    def whole_block(self, exact: Expression) -> tuple[Guard, Expression]:
        """When every score of a block counts, and what the weights are then."""
        form = self.whole.form
        rows = placed_along(form.row, MEMBER_ROWS, self.rows)
        keys = placed_along(form.passed, self.whole.plan.keys, self.keys)
        return whole_blocks(form, exact, self.scope, rows, keys)

    def loaded(
        self, place: Scope, axes: tuple[Extent, ...], value: Expression
    ) -> Expression:
        """A value in which what is loaded for keys that there are not is zero.

        Zero weights times what is no number would be none either.
        """
        if not self.beyond(place, axes):
            return value
        passed = self.whole.form.passed
        size = self.whole.kernel.axes[passed]
        exists = (axis_form(passed).scale(-1).shift(size - 1),)
        multiplied = {*walk(*(entry.scores for entry in self.whole.form.inner))}
        loads: dict[Expression, Expression] = {
            entry: Select(exists, entry, literal(0, entry.dtype))
            for entry in walk(value)
            if isinstance(entry, Load) and passed in entry.free_axes
            if entry not in multiplied and entry not in self.whole.line_tiles
        }
        return replace(value, loads)

    def counted(
        self, place: Scope, axes: tuple[Extent, ...], value: Expression
    ) -> Expression:
        """A value, or zero beyond the last key."""
        beyond = self.beyond(place, axes)
        if not beyond:
            return value
        return Select(beyond, value, literal(0.0, value.dtype))

    def zero(
        self,
        place: Scope,
        axes: tuple[Extent, ...],
        held: TileLoad,
        exact: Expression,
        made: Mapping[Expression, Expression],
    ) -> list[Map]:
        """Put zero where weights do not count, if that makes those weights zero.

        Weights that are made of others do not count where those do not.
        """
        zero = literal(0.0, held.dtype)
        if made:
            without = replace(exact, dict.fromkeys(made.values(), zero))
            masks, own = masks_of(self.whole.passing.totals[0].exact), masks_of(exact)
            is_covered = {*(own or ())} <= {*(masks or ())} and own is not None
            masks = masks if is_covered and vanishes(without) else None
        else:
            masks = masks_of(exact)
        if masks is None:
            return []
        guard = self.beyond(place, axes) + place.rewriter().guards(masks)
        kept = Select(guard, held, zero) if guard else held
        return [Map(axes, held.tile, held.indices, kept)]

    def beyond(self, place: Scope, axes: tuple[Extent, ...]) -> Guard:
        """What holds for keys that there are."""
        return tuple(entry for entry in place.guard if entry.axes() & {axes[1][0]})

    def place(self, axes: tuple[Extent, ...]) -> Scope:
        """The kernel's axes at each score of the block, and what is known there."""
        whole, form = self.whole, self.whole.form
        rows, keys = indices_of(axes)
        scope = whole.at_row(self.scope.with_collective(*axes), self.rows + rows)
        key = self.keys + keys
        size = whole.kernel.axes[form.passed]
        scope = scope.bind(form.passed, key)
        scope = scope.with_guard(key.scale(-1).shift(size - 1))
        values: dict[Expression, Expression] = {}
        for product, tile in zip(form.inner, self.tiles.scores, strict=True):
            held = TileLoad(tile, (rows, keys))
            values[product.scores] = cast(held, product.scores.dtype)
        for value, tile in self.tiles.rows.items():
            values[value] = TileLoad(tile, (rows,))
        for value, tile in self.whole.line_tiles.items():
            values[value] = TileLoad(tile, (keys,))
        return scope.with_values(values)
