"""Build attention by roles: one brings queries, keys and values, others multiply.

    Grid(batch, block of rows)
      Role(load)
        Copy(queries);  For(block of keys)  Copy(keys)  Copy(mask)  Copy(values)
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

from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import literal
from tetragrad.kernel.online_contraction import OnlineContraction
from tetragrad.tile.ir import (
    Alloc,
    Channel,
    For,
    Grid,
    Map,
    Mma,
    PassTurn,
    Release,
    Role,
    Statement,
    TakeTurn,
    Wait,
)
from tetragrad.tile.plans.roles.boxes import (
    DEPTH_STEP,
    rounded,
)
from tetragrad.tile.plans.roles.bulk import BulkOperand
from tetragrad.tile.plans.roles.online_role_step import RoleStep, RoleTiles
from tetragrad.tile.plans.roles.online_rows import (
    RowForm,
    row_form,
)
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    WARPS,
)
from tetragrad.tile.plans.roles.row_blocks import RowBlock
from tetragrad.tile.plans.roles.row_roles import RowRolePlan, RowRoles
from tetragrad.tile.plans.scope import Builder, indices_of


@frozen
class OnlineRolePlan(RowRolePlan):
    """Sizes of attention by roles.

    In shared memory lie the queries of ``query_stages`` blocks. A mask in memory, or
    whatever else there is beside each score, is brought as well if the plan says so,
    and else loaded where it is needed.
    """

    brings_beside: bool = False
    query_stages: int = 1


def build_online_roles(builder: Builder, plan: OnlineRolePlan) -> list[Statement]:
    """The grid of attention by roles."""
    rows = row_form(builder.kernel)
    assert rows is not None
    return RoleAttention(builder, plan, rows).grid()


@frozen
class RoleAttention(RowRoles):
    """The whole grid: blocks of rows, channels, and what each role does in order."""

    plan: OnlineRolePlan
    row_form: RowForm

    @property
    def form(self) -> OnlineContraction:
        return self.row_form.form

    @property
    def column(self) -> int:
        return self.row_form.column

    @property
    def depth(self) -> int:
        """Features of a query that are multiplied: those beyond the last are zeros."""
        return rounded(self.kernel.axes[self.row_form.depth], DEPTH_STEP)

    # --- channels ----------------------------------------------------------------

    @cached_property
    def queries(self) -> Channel:
        return self.channel("queries", self.row_form.queries, self.plan.query_stages)

    @cached_property
    def keys(self) -> Channel:
        return self.channel("keys", self.row_form.keys, self.plan.stages)

    @cached_property
    def values(self) -> Channel:
        return self.channel("values", self.row_form.values, self.plan.stages)

    @cached_property
    def beside(self) -> list[Channel]:
        """What is brought for each score."""
        found = self.row_form.beside if self.plan.brings_beside else ()
        return [self.channel("beside", entry, self.plan.stages) for entry in found]

    def channel(self, name: str, operand: BulkOperand, stages: int) -> Channel:
        """A channel for the boxes of an operand."""
        return self.boxes.channel(name, operand, stages)

    # --- the grid ----------------------------------------------------------------

    def grid(self) -> list[Statement]:
        """Every batch and block of rows; last rows, which may see most keys, first."""
        roles = (
            Role("load", WARPS, tuple(self.row_blocks.each(self.load))),
            Role("attend", WARPS, tuple(self.attend()), self.members),
        )
        return [Grid((self.row_blocks.index,), roles)]

    def each_other(
        self, place: RowBlock, axis: int, body: list[Statement]
    ) -> list[For]:
        """Blocks behind the first one, up to the last that adds anything.

        What ends the blocks of one row ends them for good; where they could begin
        later, the scores of the earlier ones are -inf and add nothing.
        """
        if self.key_blocks == 1:
            return []
        guard = tuple(
            form
            for form in self.needed(place.scope, place.rows, self.start(axis))
            if form.coefficient(axis) <= 0
        )
        return [For(axis, self.key_blocks - 1, tuple(body), guard=guard)]

    def start(self, axis: int) -> Affine:
        """The first key of the block that a loop behind the first one stands at."""
        return axis_form(axis).shift(1).scale(self.plan.keys)

    def loop_axis(self) -> int:
        return self.builder.axis(max(1, self.key_blocks - 1))

    # --- the role that copies ------------------------------------------------------

    def load(self, place: RowBlock) -> list[Statement]:
        """Bring the queries, then keys and values as they are needed."""
        axis = self.loop_axis()
        starts = {**place.scope.forms, self.form.row: place.rows}
        body = self.bring(place, self.start(axis))
        return [
            *self.boxes.copy(self.queries, self.row_form.queries, starts),
            *self.bring(place, ZERO),
            *self.each_other(place, axis, body),
        ]

    def bring(self, place: RowBlock, start: Affine) -> list[Statement]:
        """Keys and values of the block that starts here."""
        starts = {**place.scope.forms, self.form.passed: start}
        found = self.boxes.copy(self.keys, self.row_form.keys, starts)
        at_rows = {**starts, self.form.row: place.rows}
        for channel, operand in zip(self.beside, self.row_form.beside, strict=False):
            found += self.boxes.copy(channel, operand, at_rows)
        return found + self.boxes.copy(self.values, self.row_form.values, starts)

    # --- the role that multiplies ----------------------------------------------------

    def attend(self) -> list[Statement]:
        """A member's rows of all blocks."""
        tiles = self.tiles()
        blocks = self.row_blocks.each(lambda place: self.attend_block(tiles, place))
        return [*(Alloc(tile) for tile in tiles.all()), *blocks]

    def attend_block(self, tiles: RoleTiles, block: RowBlock) -> list[Statement]:
        """A member's rows of one block, over all blocks of keys."""
        axis = self.loop_axis()
        own = RowBlock(block.scope, block.rows + self.first_row)
        step = RoleStep(self, own, tiles)
        body = [
            TakeTurn(self.members),
            *self.make_scores(tiles),
            *self.add_values(tiles),
            PassTurn(self.members),
            *step.take_in(self.start(axis), corrects=True),
        ]
        return [
            *self.clear(tiles),
            Wait(self.queries),
            *self.make_scores(tiles),
            *step.take_in(ZERO, corrects=False),
            *self.each_other(block, axis, body),
            Release(self.queries),
            *self.add_values(tiles),
            *step.finish(),
        ]

    def tiles(self) -> RoleTiles:
        rows, keys, builder = MEMBER_ROWS, self.plan.keys, self.builder
        dtype = self.form.inner[0].scores.accumulator
        carries = self.form.online.carries[: self.form.totals[0].number]
        return RoleTiles(
            builder.tile("scores", (rows, keys), dtype),
            builder.tile("weights", (keys, rows), self.row_form.values.dtype),
            builder.tile("total", (rows, self.columns), dtype),
            tuple(builder.tile("state", (rows,), carry.dtype) for carry in carries),
            self.staged([self.row_form.main(self.kernel)[0]]),
        )

    def clear(self, tiles: RoleTiles) -> list[Statement]:
        """Every carried value starts as its reduction's identity."""
        found: list[Statement] = []
        for tile, carry in zip(
            (*tiles.states, tiles.total), self.form.online.carries, strict=True
        ):
            extents = self.builder.axes(tile.shape)
            identity = literal(carry.op.identity(tile.dtype), tile.dtype)
            found.append(Map(extents, tile, indices_of(extents), identity))
        return found

    def make_scores(self, tiles: RoleTiles) -> list[Statement]:
        """scores[row, key] = Σ queries · keys."""
        (queries,), (keys,) = self.queries.tiles, self.keys.tiles
        rows, columns = tiles.scores.shape
        product = Mma(
            tiles.scores,
            queries,
            keys,
            rows,
            columns,
            self.depth,
            (ZERO, self.first_row),
            (ZERO, ZERO),
            starts=True,
        )
        return [Wait(self.keys), product, Release(self.keys)]

    def add_values(self, tiles: RoleTiles) -> list[Statement]:
        """total[row, column] += Σ weights · values."""
        (values,) = self.values.tiles
        rows, columns = tiles.total.shape
        product = Mma(
            tiles.total,
            tiles.weights,
            values,
            rows,
            columns,
            self.plan.keys,
            (ZERO, ZERO),
            (ZERO, ZERO),
        )
        return [Wait(self.values), product, Release(self.values)]
