"""Build a pass with given statistics by roles: the gradients of attention on Hopper.

    Grid(batch, block of rows)
      Role(load)
        Copy(queries of each inner product)
        For(block of keys)  Copy(keys of each)  Copy(values of each total)
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

from collections.abc import Callable
from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard, Select, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.kernel.online import Carried, replace
from tetragrad.kernel.online_contraction import OnlineContraction
from tetragrad.tile.ir import (
    Alloc,
    Channel,
    Extent,
    For,
    Grid,
    Layout,
    Map,
    Mma,
    Release,
    Role,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    Wait,
    When,
)
from tetragrad.tile.plans.online.online import needed_blocks
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.packing import Placed
from tetragrad.tile.plans.roles.boxes import (
    COLUMN_STEP,
    DEPTH_STEP,
    Boxes,
    rounded,
)
from tetragrad.tile.plans.roles.online_rows import quick, whole_blocks
from tetragrad.tile.plans.roles.pass_form import PassForm, pass_form
from tetragrad.tile.plans.roles.role_plan import (
    MEMBER_ROWS,
    STAGED_PADDING_BYTES,
    WARPS,
)
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    cast,
    indices_of,
    iterations,
)

#: What is done with a block of keys that begins somewhere.
PassBody = Callable[[Scope, Affine], list[Statement]]


@frozen
class PassRolePlan:
    """Sizes of a pass by roles.

    A block has 64 rows for each of the ``members``; ``keys`` are taken in at a time,
    and ``stages`` of such blocks lie in shared memory. Results are staged ``piece``
    columns at a time, or stored as they lie if 0.
    """

    members: int
    keys: int
    stages: int
    piece: int = 0

    @property
    def rows(self) -> int:
        return self.members * MEMBER_ROWS


def build_pass_roles(builder: Builder, plan: PassRolePlan) -> list[Statement]:
    """The grid of a pass by roles."""
    form = pass_form(builder.kernel)
    assert form is not None
    return RolePass(builder, plan, form).grid()


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
class RolePass:
    """The whole grid: blocks of rows, channels, and what each role does in order."""

    builder: Builder
    plan: PassRolePlan
    passing: PassForm

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @property
    def form(self) -> OnlineContraction:
        return self.passing.form

    @property
    def blocks(self) -> int:
        """Blocks of keys."""
        return -(-self.kernel.axes[self.form.passed] // self.plan.keys)

    @property
    def columns(self) -> int:
        return rounded(self.kernel.axes[self.passing.column], COLUMN_STEP)

    # --- channels ----------------------------------------------------------------

    @cached_property
    def boxes(self) -> Boxes:
        """A block of rows or keys, with all features, is brought at once."""
        chunks = {self.form.row: self.plan.rows, self.form.passed: self.plan.keys}
        return Boxes(self.builder, chunks)

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
        found, stages = self.passing.totals, self.plan.stages
        return [self.boxes.channel("values", entry.values, stages) for entry in found]

    # --- the grid ------------------------------------------------------------------

    def grid(self) -> list[Statement]:
        """Every batch and block of rows; those that take in most keys first."""
        scope = Scope(self.builder)
        extents: list[Extent] = []
        for axis in self.form.batch:
            position = self.builder.axis(self.kernel.axes[axis])
            extents.append((position, self.kernel.axes[axis]))
            scope = scope.bind(axis, axis_form(position))
        chunks = -(-self.kernel.axes[self.form.row] // self.plan.rows)
        index = self.builder.axis(chunks)
        extents.append((index, chunks))
        number = axis_form(index)
        if not self.is_backwards:
            number = number.scale(-1).shift(chunks - 1)
        rows = number.scale(self.plan.rows)
        member = self.builder.axis(self.plan.members)
        first = rows + axis_form(member).scale(MEMBER_ROWS)
        roles = (
            Role("load", WARPS, tuple(self.load(scope, rows))),
            Role(
                "multiply",
                WARPS,
                tuple(self.multiply(scope, rows, first)),
                (member, self.plan.members),
            ),
        )
        return [Grid(tuple(extents), roles)]

    @cached_property
    def is_backwards(self) -> bool:
        """Whether a mask leaves the last blocks of keys to every row, not the first."""
        row, key = self.builder.axis(1 << 20), self.builder.axis(1 << 20)
        forms = self.needed(Scope(self.builder), axis_form(row), axis_form(key))
        steps = {form.coefficient(key) for form in forms}
        return bool(steps) and min(steps) > 0

    def needed(self, scope: Scope, rows: Affine, keys: Affine) -> Guard:
        """What holds where keys add something to a block of rows."""
        placed = Placed(Block((self.form.row,), 0, self.plan.rows), rows)
        block = Placed(Block((self.form.passed,), 0, self.plan.keys), keys)
        return needed_blocks(self.form, scope, placed, block)

    def each_block(self, scope: Scope, rows: Affine, body: PassBody) -> list[Statement]:
        """The body for every block of keys, up to the last that adds anything."""
        outer = [*self.form.repeated]

        def repeat(place: Scope) -> list[Statement]:
            if outer:
                return iterations(place, outer.pop(0), repeat)
            axis = self.builder.axis(self.blocks)
            number = axis_form(axis)
            if self.is_backwards:
                number = number.scale(-1).shift(self.blocks - 1)
            keys = number.scale(self.plan.keys)
            guard = tuple(
                form
                for form in self.needed(place, rows, keys)
                if form.coefficient(axis) <= 0
            )
            return [For(axis, self.blocks, tuple(body(place, keys)), guard=guard)]

        return repeat(scope)

    # --- the role that copies ------------------------------------------------------

    def load(self, scope: Scope, rows: Affine) -> list[Statement]:
        """Bring the queries, then keys and values as they are needed."""
        statements: list[Statement] = []
        starts = {**scope.forms, self.form.row: rows}
        for channel, entry in zip(self.queries, self.passing.inner, strict=True):
            statements += self.boxes.copy(channel, entry.queries, starts)

        def bring(place: Scope, keys: Affine) -> list[Statement]:
            starts = {**place.forms, self.form.passed: keys}
            found: list[Statement] = []
            for channel, inner in zip(self.keys, self.passing.inner, strict=True):
                found += self.boxes.copy(channel, inner.keys, starts)
            for channel, total in zip(self.values, self.passing.totals, strict=True):
                found += self.boxes.copy(channel, total.values, starts)
            return found

        return statements + self.each_block(scope, rows, bring)

    # --- the role that multiplies ----------------------------------------------------

    def multiply(self, scope: Scope, rows: Affine, first: Affine) -> list[Statement]:
        """A member's rows, over all blocks of keys."""
        tiles = self.tiles()
        statements: list[Statement] = [Alloc(tile) for tile in tiles.all()]
        statements += [*self.clear(tiles), *self.given(scope, first, tiles)]
        statements += [Wait(channel) for channel in self.queries]
        in_block = first - rows

        def take_in(place: Scope, keys: Affine) -> list[Statement]:
            step = PassStep(self, place, first, keys, tiles)
            return [
                *self.make_scores(tiles, in_block),
                *step.weigh(),
                *self.add_values(tiles),
            ]

        statements += self.each_block(scope, rows, take_in)
        statements += [Release(channel) for channel in self.queries]
        for output, result in zip(
            self.kernel.outputs, self.form.online.results, strict=True
        ):
            statements += self.finish(scope, first, tiles, output, result)
        return statements

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
            self.staged(),
        )

    def staged(self) -> Tile | None:
        """Room for a piece of the results, whose rows lie in different banks."""
        outputs, piece = self.kernel.outputs, self.plan.piece
        steps = {output.address.coefficient(self.passing.column) for output in outputs}
        (dtype, *others) = {self.kernel.slots[output.slot].dtype for output in outputs}
        if not piece or steps != {1} or others:
            return None
        layout = Layout((piece + STAGED_PADDING_BYTES // dtype.itemsize, 1))
        shape = (MEMBER_ROWS, piece)
        return self.builder.tile("staged", shape, dtype, Space.SHARED, layout)

    def clear(self, tiles: PassTiles) -> list[Statement]:
        found: list[Statement] = []
        for tile in tiles.totals:
            extents = self.axes_of(tile.shape)
            zero = literal(0, tile.dtype)
            found.append(Map(extents, tile, indices_of(extents), zero))
        return found

    def axes_of(self, shape: tuple[int, ...]) -> tuple[Extent, ...]:
        return tuple((self.builder.axis(size), size) for size in shape)

    def given(self, scope: Scope, first: Affine, tiles: PassTiles) -> list[Statement]:
        """Load what all keys of a row share."""
        found: list[Statement] = []
        for value, tile in tiles.rows.items():
            extents = self.axes_of(tile.shape)
            (row,) = indices_of(extents)
            place = self.at_row(scope.with_collective(*extents), first + row)
            found.append(Map(extents, tile, (row,), place.value(value)))
        return found

    def at_row(self, scope: Scope, row: Affine) -> Scope:
        """Bind the row; what is loaded beside the scores must exist."""
        size = self.kernel.axes[self.form.row]
        bound = scope.bind(self.form.row, row)
        return bound.with_guard(row.scale(-1).shift(size - 1))

    def make_scores(self, tiles: PassTiles, first: Affine) -> list[Statement]:
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
                (ZERO, first),
                (ZERO, ZERO),
                starts=True,
            )
            found += [Wait(keys), product, Release(keys)]
        return found

    def add_values(self, tiles: PassTiles) -> list[Statement]:
        """total[row, column] += Σ weights · values, of every total."""
        found: list[Statement] = []
        for number, channel in enumerate(self.values):
            total, weights = tiles.totals[number], tiles.weights[number]
            (values,) = channel.tiles
            rows, columns = total.shape
            nowhere = (ZERO, ZERO)
            product = Mma(
                total, weights, values, rows, columns, self.plan.keys, nowhere, nowhere
            )
            found += [Wait(channel), product, Release(channel)]
        return found

    # --- results -------------------------------------------------------------------

    def finish(
        self,
        scope: Scope,
        first: Affine,
        tiles: PassTiles,
        output: Output,
        result: Expression,
    ) -> list[Statement]:
        """Store what the totals become, staged or as they lie."""
        if tiles.staged is None:
            return self.store(scope, first, tiles, (output, result), 0, self.columns)
        piece = self.plan.piece
        return [
            statement
            for start in range(0, self.columns, piece)
            for statement in self.store(
                scope,
                first,
                tiles,
                (output, result),
                start,
                min(piece, self.columns - start),
            )
        ]

    def store(
        self,
        scope: Scope,
        first: Affine,
        tiles: PassTiles,
        stored: tuple[Output, Expression],
        start: int,
        width: int,
    ) -> list[Statement]:
        """Store some columns of a result."""
        output, result = stored
        extents = self.axes_of((MEMBER_ROWS, width))
        rows, columns = indices_of(extents)
        column, size = columns.shift(start), self.kernel.axes[self.passing.column]
        place = self.at_row(scope.with_collective(*extents), first + rows)
        place = place.bind(self.passing.column, column)
        place = place.with_guard(column.scale(-1).shift(size - 1))
        values: dict[Expression, Expression] = {}
        for weighted, tile in zip(self.passing.totals, tiles.totals, strict=True):
            running = Carried(weighted.total.number, True, tile.dtype)
            values[running] = TileLoad(tile, (rows, column))
        rewriter = place.with_values(values).rewriter()
        value = quick(rewriter(result), extents[1][0])
        guard = place.guard + rewriter.guards(output.guard)
        address = rewriter.form(output.address)
        if tiles.staged is None:
            return [Store(extents, output.slot, address, value, guard)]
        held = TileLoad(tiles.staged, (rows, columns))
        return [
            Map(extents, tiles.staged, (rows, columns), value),
            Store(extents, output.slot, address, held, guard),
        ]


@frozen
class PassStep:
    """What a member makes of the scores of one block of keys."""

    whole: RolePass
    scope: Scope
    rows: Affine
    keys: Affine
    tiles: PassTiles

    def weigh(self) -> list[Statement]:
        """The weights of every total, as operands; in most blocks no key is masked."""
        whole, form = self.whole, self.whole.form
        axes = whole.axes_of(self.tiles.scores[0].shape)
        place = self.place(axes)
        beyond = tuple(entry for entry in place.guard if entry.axes() & {axes[1][0]})
        rows = Placed(Block((form.row,), 0, MEMBER_ROWS), self.rows)
        keys = Placed(Block((form.passed,), 0, whole.plan.keys), self.keys)
        known: dict[Expression, Expression] = {}
        conditions: dict[Affine, None] = {}
        plain, masked, rounded = [], [], []
        for number, weighted in enumerate(whole.passing.totals):
            # Weights that are made already are no longer what is masked.
            exact = replace(weighted.exact, known)
            guard, simpler = whole_blocks(form, exact, self.scope, rows, keys)
            conditions |= dict.fromkeys(guard)
            value = place.value(exact)
            if beyond:
                value = Select(beyond, value, literal(0.0, value.dtype))
            tile, indices = self.tiles.scores[weighted.held], indices_of(axes)
            plain.append(Map(axes, tile, indices, quick(place.value(simpler))))
            masked.append(Map(axes, tile, indices, quick(value)))
            held, weights = TileLoad(tile, indices), self.tiles.weights[number]
            narrow = cast(held, weights.dtype)
            rounded.append(Map(axes, weights, indices[::-1], narrow))
            made = Carried(-1 - number, True, exact.dtype)
            known[weighted.exact] = made
            place = place.with_values({made: held})
        if not conditions:
            return [*masked, *rounded]
        return [When(tuple(conditions), tuple(plain), tuple(masked)), *rounded]

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
        return scope.with_values(values)
