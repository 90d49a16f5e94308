"""Build a pass with given statistics by roles: the gradients of attention on Hopper.

    Grid(batch, block of rows)
      Role(load)
        Copy(queries of each inner product)
        For(block of keys)
          Copy(keys of each)  Copy(lines)  Copy(values of each total)
      Role(multiply), members with 64 rows of a block each
        For(block of keys)
          scores = queries x keys, of each inner product
          weights in place of the scores, masked where a mask touches the block
          total += weights x values, of each total
        Store(what the totals become)

Scores and weights stay in the matrix unit's registers, as in ``online_roles.py``. While
one member makes weights the unit works for the others. Where a mask leaves the last
blocks to every row they come first: what adds nothing then ends the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, literal
from tetragrad.kernel.online import Carried
from tetragrad.kernel.online_contraction import OnlineContraction
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    For,
    Grid,
    Map,
    Mma,
    PassTurn,
    Pin,
    Release,
    Role,
    Statement,
    TakeTurn,
    Tile,
    TileLoad,
    View,
    Wait,
)
from tetragrad.tile.plans.roles.boxes import (
    DEPTH_STEP,
    rounded,
    turned,
)
from tetragrad.tile.plans.roles.pass_form import PassForm, pass_form
from tetragrad.tile.plans.roles.pass_role_step import PassStep, PassTiles
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    WARPS,
)
from tetragrad.tile.plans.roles.row_blocks import RowBlock
from tetragrad.tile.plans.roles.row_roles import RowRolePlan, RowRoles
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    indices_of,
    iterations,
)

#: What is done with a block of keys that begins somewhere.
PassBody = Callable[[Scope, Affine], list[Statement]]


@frozen
class PassRolePlan(RowRolePlan):
    """Sizes of a pass by roles."""


def build_pass_roles(builder: Builder, plan: PassRolePlan) -> list[Statement]:
    """The grid of a pass by roles."""
    form = pass_form(builder.kernel)
    assert form is not None
    return RolePass(builder, plan, form).grid()


@frozen
class RolePass(RowRoles):
    """The whole grid: blocks of rows, channels, and what each role does in order."""

    plan: PassRolePlan
    passing: PassForm

    @property
    def form(self) -> OnlineContraction:
        return self.passing.form

    @property
    def column(self) -> int:
        return self.passing.column

    # --- channels ----------------------------------------------------------------

    @cached_property
    def queries(self) -> list[Channel]:
        found = self.passing.inner
        return [self.boxes.channel("queries", entry.queries, 1) for entry in found]

    @cached_property
    def keys(self) -> list[Channel]:
        found, stages = self.passing.inner, self.plan.stages
        return [self.boxes.channel("keys", entry.keys, stages) for entry in found]

    @cached_property
    def values(self) -> list[Channel]:
        """The channel of each total's values: that of some keys, if they are those."""
        stages = self.plan.stages
        return [
            self.boxes.channel("values", entry.values, stages)
            if entry.shared is None
            else self.keys[entry.shared]
            for entry in self.passing.totals
        ]

    @cached_property
    def value_tiles(self) -> list[Tile]:
        """The values of each total; keys are turned around in place."""
        return [
            channel.tiles[0]
            if entry.shared is None
            else turned(self.builder, channel.tiles[0])
            for entry, channel in zip(self.passing.totals, self.values, strict=True)
        ]

    @cached_property
    def line_tiles(self) -> dict[Expression, Tile]:
        """What all rows share for each key, where that is brought."""
        keys = self.plan.keys
        return {
            line.load: line.tile(self.builder, keys)
            for line in self.passing.lines
            if keys % line.step == 0
        }

    @cached_property
    def lines(self) -> tuple[Channel, ...]:
        """The channel of the lines, if there are any."""
        tiles = tuple(self.line_tiles.values())
        return (Channel("lines", tiles, self.plan.stages),) if tiles else ()

    # --- the grid ------------------------------------------------------------------

    def grid(self) -> list[Statement]:
        """Every batch and block of rows; those that take in most keys first."""
        members = self.members
        load, multiply = self.row_blocks.each(self.load), self.multiply()
        roles = (
            Role("load", WARPS, tuple(load)),
            Role("multiply", WARPS, tuple(multiply), members),
        )
        return [Grid((self.row_blocks.index,), roles)]

    @cached_property
    def is_backwards(self) -> bool:
        """Whether a mask leaves the last blocks of keys to every row, not the first."""
        row, key = self.builder.axis(1 << 20), self.builder.axis(1 << 20)
        forms = self.needed(Scope(self.builder), axis_form(row), axis_form(key))
        steps = {form.coefficient(key) for form in forms}
        return bool(steps) and min(steps) > 0

    def each_block(self, scope: Scope, rows: Affine, body: PassBody) -> list[Statement]:
        """The body for every block of keys, up to the last that adds anything."""
        outer = [*self.form.repeated]

        def repeat(place: Scope) -> list[Statement]:
            if outer:
                return iterations(place, outer.pop(0), repeat)
            axis = self.builder.axis(self.key_blocks)
            number = axis_form(axis)
            if self.is_backwards:
                number = number.scale(-1).shift(self.key_blocks - 1)
            keys = number.scale(self.plan.keys)
            guard = tuple(
                form
                for form in self.needed(place, rows, keys)
                if form.coefficient(axis) <= 0
            )
            return [For(axis, self.key_blocks, tuple(body(place, keys)), guard=guard)]

        return repeat(scope)

    # --- the role that copies ------------------------------------------------------

    def load(self, block: RowBlock) -> list[Statement]:
        """Bring the queries, then keys and values as they are needed."""
        scope, rows = block.scope, block.rows
        statements: list[Statement] = []
        starts = {**scope.forms, self.form.row: rows}
        for channel, entry in zip(self.queries, self.passing.inner, strict=True):
            statements += self.boxes.copy(channel, entry.queries, starts)

        def bring(place: Scope, keys: Affine) -> list[Statement]:
            starts = {**place.forms, self.form.passed: keys}
            found: list[Statement] = []
            for channel, inner in zip(self.keys, self.passing.inner, strict=True):
                found += self.boxes.copy(channel, inner.keys, starts)
            found += self.bring_lines(starts)
            for channel, total in zip(self.values, self.passing.totals, strict=True):
                if total.shared is None:
                    found += self.boxes.copy(channel, total.values, starts)
            return found

        return statements + self.each_block(scope, rows, bring)

    def bring_lines(self, starts: Mapping[int, Affine]) -> list[Statement]:
        """Fill a slot with what all rows share for each key of a block."""
        found: list[Statement] = []
        for channel in self.lines:
            found.append(Acquire(channel))
            for line in self.passing.lines:
                tile = self.line_tiles.get(line.load)
                if tile is not None:
                    found.append(line.copy(self.builder, tile, channel, starts))
            found.append(Commit(channel))
        return found

    # --- the role that multiplies ----------------------------------------------------

    def multiply(self) -> list[Statement]:
        """A member's rows of all blocks."""
        tiles = self.tiles()
        blocks = self.row_blocks.each(lambda block: self.multiply_block(tiles, block))
        return [*(Alloc(tile) for tile in tiles.all()), *blocks]

    def multiply_block(self, tiles: PassTiles, block: RowBlock) -> list[Statement]:
        """A member's rows of one block, over all blocks of keys."""
        own = RowBlock(block.scope, block.rows + self.first_row)

        def take_in(place: Scope, keys: Affine) -> list[Statement]:
            step = PassStep(self, place, own.rows, keys, tiles)
            return [
                *self.make_scores(tiles),
                *self.in_turns(PassTurn(self.members)),
                *(Wait(channel) for channel in self.lines),
                *step.weigh(),
                *(Release(channel) for channel in self.lines),
                # Packed before the products begin, or registers do not suffice.
                Pin(tiles.scores[0]),
                *self.in_turns(TakeTurn(self.members)),
                *self.add_values(tiles),
            ]

        found = [*self.clear(tiles), *self.given(own, tiles)]
        found += [Wait(channel) for channel in self.queries]
        found += self.in_turns(TakeTurn(self.members))
        found += self.each_block(block.scope, block.rows, take_in)
        found += self.in_turns(PassTurn(self.members))
        found += [Release(channel) for channel in self.queries]
        known = partial(self.known, tiles)
        for output, result in zip(
            self.kernel.outputs, self.form.online.results, strict=True
        ):
            found += self.store_all(own, tiles.staged, output, result, known)
        return found

    def known(
        self, tiles: PassTiles, row: Affine, column: Affine
    ) -> dict[Expression, Expression]:
        """The totals of a row and a column."""
        return {
            Carried(weighted.total.number, True, tile.dtype): TileLoad(
                tile, (row, column)
            )
            for weighted, tile in zip(self.passing.totals, tiles.totals, strict=True)
        }

    def in_turns(self, statement: Statement) -> list[Statement]:
        """Members take turns where a second stage arrives before all have the first."""
        return [statement] if self.plan.stages > 1 else []

    def tiles(self) -> PassTiles:
        rows, keys, builder = MEMBER_ROWS, self.plan.keys, self.builder
        wide = self.form.inner[0].scores.accumulator
        narrow = self.passing.inner[0].keys.dtype
        totals = self.passing.totals
        return PassTiles(
            tuple(builder.tile("scores", (rows, keys), wide) for _ in self.form.inner),
            tuple(builder.tile("weights", (keys, rows), narrow) for _ in totals),
            tuple(builder.tile("total", (rows, self.columns), wide) for _ in totals),
            {
                value: builder.tile("given", (rows,), value.dtype)
                for value in self.passing.row_values()
            },
            self.staged(self.kernel.outputs),
        )

    def clear(self, tiles: PassTiles) -> list[Statement]:
        found: list[Statement] = []
        for tile in tiles.totals:
            extents = self.builder.axes(tile.shape)
            zero = literal(0, tile.dtype)
            found.append(Map(extents, tile, indices_of(extents), zero))
        return found

    def given(self, block: RowBlock, tiles: PassTiles) -> list[Statement]:
        """Load what all keys of a row share."""
        found: list[Statement] = []
        for value, tile in tiles.rows.items():
            extents = self.builder.axes(tile.shape)
            (row,) = indices_of(extents)
            place = block.scope.with_collective(*extents)
            place = self.at_row(place, block.rows + row)
            found.append(Map(extents, tile, (row,), place.value(value)))
        return found

    def make_scores(self, tiles: PassTiles) -> list[Statement]:
        """scores[row, key] = Σ queries · keys, of every inner product."""
        found: list[Statement] = []
        sizes = self.kernel.axes
        for number, entry in enumerate(self.passing.inner):
            scores, keys = tiles.scores[number], self.keys[number]
            rows, columns = scores.shape
            (query_tile,), (key_tile,) = self.queries[number].tiles, keys.tiles
            depth = rounded(sizes[entry.depth], DEPTH_STEP)
            product = Mma(
                scores,
                query_tile,
                key_tile,
                rows,
                columns,
                depth,
                (ZERO, self.first_row),
                (ZERO, ZERO),
                starts=True,
            )
            found += [Wait(keys), product]
            if keys not in self.values:
                found.append(Release(keys))
        return found

    def add_values(self, tiles: PassTiles) -> list[Statement]:
        """total[row, column] += Σ weights · values, of every total."""
        found: list[Statement] = []
        for number, channel in enumerate(self.values):
            total, weights = tiles.totals[number], tiles.weights[number]
            values, nowhere = self.value_tiles[number], (ZERO, ZERO)
            rows, columns = total.shape
            product = Mma(
                total, weights, values, rows, columns, self.plan.keys, nowhere, nowhere
            )
            begin: Statement = Wait(channel)
            if channel in self.keys:
                begin = View(values, channel.tiles[0], ZERO)
            found += [begin, product]
            if channel not in self.values[number + 1 :]:
                found.append(Release(channel))
        return found
