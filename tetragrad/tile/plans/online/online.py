"""Build an online contraction: attention as one kernel, with no buffer of scores.

    Grid(batch, block of rows)
      pack the block's queries
      For(block of keys)
        scores[key, row]  = Σ_e keys · queries                       registers
        for each statistic: fold the block, correct what it carried  vectors of rows
        weights[key, row] = what the scores become
        total[row, column] = total · correction + Σ_key weights · values
      Store(what the total and the statistics become)

Scores lie with the rows next to each other, so that statistics over the keys need no
work across lanes. ``kernel/online.py`` says why the corrections are right, and what
protects a row whose maximum is still -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Cast
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.absence import absence, is_plain
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    literal,
)
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.online import Carried
from tetragrad.kernel.online_contraction import OnlineContraction, online_contraction
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Grid,
    Map,
    Mma,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    When,
)
from tetragrad.tile.plans.online.online_step import Operands, Step, Tiles
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.packing import Operand, Placed, pack
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    indices_of,
    load_of,
    loop,
)

#: Rows of one grid iteration, and keys taken in at a time: the scores of a block
#: and its operands stay in the second-level cache.
ROW_BLOCK = 64
KEY_BLOCK = 128


Indices = tuple[Affine, Affine]
Panel = Callable[[Affine, Affine], list[Statement]]
Start = Callable[[Indices], Expression]


@frozen
class OnlinePlan:
    """Block sizes of an online contraction."""

    rows: int
    keys: int
    micro_rows: int
    micro_columns: int
    lanes: int


def choose_online(kernel: Kernel, target: Target) -> OnlinePlan | None:
    """A plan, if the kernel is an online contraction."""
    form = online_contraction(kernel)
    if form is None or _has_matrix_unit(form, target):
        return None
    lanes = target.vector_lanes(form.scores.accumulator.itemsize)
    wide = target.registers >= 32
    rows = min(ROW_BLOCK, _rounded(kernel.axes[form.row], lanes))
    micro_rows = 8 if wide else 4
    keys = min(KEY_BLOCK, _rounded(kernel.axes[form.passed], micro_rows))
    vectors = 2 if min(rows, kernel.axes[form.column]) > lanes else 1
    return OnlinePlan(
        _rounded(rows, lanes * vectors), keys, micro_rows, lanes * vectors, lanes
    )


def _has_matrix_unit(form: OnlineContraction, target: Target) -> bool:
    """Whether a GPU multiplies such operands so fast that memory is worth the way."""
    operand = form.keys
    if isinstance(operand, Compute) and operand.op is Cast:
        (operand,) = operand.inputs
    return "mma" in target.features and operand.dtype.bits == 16


def _rounded(size: int, step: int) -> int:
    return -(-size // step) * step


def build_online(builder: Builder, plan: OnlinePlan) -> list[Statement]:
    """The grid of an online contraction."""
    form = online_contraction(builder.kernel)
    assert form is not None
    return Attention(builder, plan, form).grid()


@frozen
class Attention:
    builder: Builder
    plan: OnlinePlan
    form: OnlineContraction

    @property
    def kernel(self) -> Kernel:
        return self.builder.kernel

    @cached_property
    def depth(self) -> Block:
        axes = tuple(sorted(self.form.scores.axes))
        return Block(axes, 0, self.kernel.axes[axes[0]])

    @cached_property
    def row_block(self) -> Block:
        return Block((self.form.row,), 0, self.plan.rows)

    @cached_property
    def key_block(self) -> Block:
        return Block((self.form.passed,), 0, self.plan.keys)

    @cached_property
    def column_block(self) -> Block:
        return Block((self.form.column,), 0, self.kernel.axes[self.form.column])

    @property
    def columns(self) -> int:
        """Columns of the total, with those that fill up the last micro-tile."""
        return _rounded(self.kernel.axes[self.form.column], self.plan.micro_columns)

    @property
    def statistics(self) -> range:
        """The numbers of the carries that have one value for each row."""
        return range(self.form.matrix)

    # --- operands ----------------------------------------------------------------

    @cached_property
    def query_operand(self) -> Operand:
        return self._operand("queries", self.form.queries, self.row_block, True)

    @cached_property
    def key_operand(self) -> Operand:
        return self._operand("keys", self.form.keys, self.key_block, False)

    @cached_property
    def value_operand(self) -> Operand:
        return Operand(
            "values", self.kernel, self.form.values, self.key_block,
            self.column_block, self.plan.lanes, True,
        )  # fmt: skip

    def _operand(
        self, name: str, value: Expression, side: Block, along_side: bool
    ) -> Operand:
        return Operand(
            name, self.kernel, value, self.depth, side, self.plan.lanes, along_side
        )

    # --- the grid ------------------------------------------------------------------

    def grid(self) -> list[Statement]:
        """Every batch and block of rows at once."""
        scope = Scope(self.builder)
        extents: list[Extent] = []
        for axis in self.form.batch:
            position = self.builder.axis(self.kernel.axes[axis])
            extents.append((position, self.kernel.axes[axis]))
            scope = scope.bind(axis, axis_form(position))
        chunks = self.row_block.chunks(self.kernel)
        index = self.builder.axis(chunks)
        extents.append((index, chunks))
        rows = Placed(self.row_block, axis_form(index).scale(self.plan.rows))
        return [Grid(tuple(extents), tuple(self.block(scope, rows)))]

    def block(self, scope: Scope, rows: Placed) -> list[Statement]:
        """One block of rows, over all keys."""
        tiles = self.tiles()
        whole = Placed(self.depth, ZERO)
        statements: list[Statement] = [Alloc(tile) for tile in tiles.all()]
        statements += pack(self.query_operand, scope, whole, rows, tiles.queries)
        statements += self.clear(tiles)

        def take_in(step: Affine) -> list[Statement]:
            keys = Placed(self.key_block, step.scale(self.plan.keys))
            statements = Step(self, scope, tiles, rows, keys).statements()
            needed = needed_blocks(self.form, scope, rows, keys)
            return [When(needed, tuple(statements))] if needed else statements

        statements += loop(self.builder, self.key_block.chunks(self.kernel), take_in)
        return statements + self.finish(scope, rows, tiles)

    def tiles(self) -> Tiles:
        dtype = self.form.scores.accumulator

        def shared(name: str, *shape: int) -> Tile:
            return self.builder.tile(name, shape, dtype, Space.SHARED)

        rows = self.plan.rows
        return Tiles(
            queries=self.query_operand.tile(self.builder, rows),
            keys=self.key_operand.tile(self.builder, self.plan.keys),
            values=self.value_operand.tile(self.builder, self.columns),
            scores=shared("scores", self.plan.keys, rows),
            weights=shared("weights", self.plan.keys, rows),
            total=shared("total", rows, self.columns),
            scale=shared("scale", rows),
            states=tuple(shared(f"state{n}", rows) for n in self.statistics),
            before=tuple(shared(f"before{n}", rows) for n in self.statistics),
        )

    def clear(self, tiles: Tiles) -> list[Statement]:
        """Every carried value starts as its reduction's identity."""
        statements: list[Statement] = []
        for number in self.statistics:
            carry = self.form.online.carries[number]
            identity = literal(carry.op.identity(carry.dtype), carry.dtype)
            extents, index = self.row_vectors()
            statements.append(Map(extents, tiles.states[number], (index,), identity))
        zero = literal(0, tiles.total.dtype)

        def one(row: Affine, column: Affine) -> list[Statement]:
            extents, indices = self.micro_axes(row, column)
            return [Map(extents, tiles.total, indices, zero)]

        return statements + self.panels(self.plan.rows, self.columns, one)

    def row_vectors(self) -> tuple[tuple[Extent, ...], Affine]:
        """Collective axes over the rows of a block, and the row they stand for."""
        lanes = self.plan.lanes
        vectors = self.plan.rows // lanes
        first, second = self.builder.axis(vectors), self.builder.axis(lanes)
        index = axis_form(first).scale(lanes) + axis_form(second)
        return ((first, vectors), (second, lanes)), index

    def micro_axes(
        self, row: Affine, column: Affine
    ) -> tuple[tuple[Extent, Extent], tuple[Affine, Affine]]:
        """Collective axes over a micro-tile, and its indices in the whole tile."""
        rows, columns = self.plan.micro_rows, self.plan.micro_columns
        first = (self.builder.axis(rows), rows)
        second = (self.builder.axis(columns), columns)
        indices = (row + axis_form(first[0]), column + axis_form(second[0]))
        return (first, second), indices

    def panels(self, rows: int, columns: int, body: Panel) -> list[Statement]:
        """Loops over the micro-tiles of a tile of this shape."""
        micro_rows, micro_columns = self.plan.micro_rows, self.plan.micro_columns
        return loop(
            self.builder,
            columns // micro_columns,
            lambda column: loop(
                self.builder,
                rows // micro_rows,
                lambda row: body(row.scale(micro_rows), column.scale(micro_columns)),
            ),
        )

    def product(
        self, product: Operands, row: Affine, column: Affine, start: Start
    ) -> tuple[Tile, list[Statement]]:
        """A micro-tile of lhs × rhs in registers, on top of ``start``."""
        shape = (self.plan.micro_rows, self.plan.micro_columns)
        tile = self.builder.tile("accumulator", shape, self.form.scores.accumulator)
        extents, indices = self.micro_axes(row, column)
        multiply = Mma(
            tile,
            product.lhs,
            product.rhs,
            *shape,
            product.depth,
            (ZERO, row),
            (ZERO, column),
        )
        begin = Map(extents, tile, indices_of(extents), start(indices))
        return tile, [Alloc(tile), begin, multiply]

    def keep(
        self, tile: Tile, accumulator: Tile, row: Affine, column: Affine
    ) -> Statement:
        """Write a micro-tile back to where it belongs."""
        extents, indices = self.micro_axes(row, column)
        return Map(extents, tile, indices, load_of(accumulator, extents))

    # --- results ---------------------------------------------------------------------

    def finish(self, scope: Scope, rows: Placed, tiles: Tiles) -> list[Statement]:
        """Store what the totals and the statistics become."""
        (output,) = self.kernel.outputs

        def one(row: Affine, column: Affine) -> list[Statement]:
            extents, (in_rows, in_columns) = self.micro_axes(row, column)
            place = scope.with_collective(*extents)
            place = self.bind_rows(place, rows, in_rows)
            place = place.bind(self.form.column, in_columns)
            size = self.kernel.axes[self.form.column]
            place = place.with_guard(in_columns.scale(-1).shift(size - 1))
            values = self.carried(tiles, in_rows)
            carry = self.form.online.carries[self.form.matrix]
            total = TileLoad(tiles.total, (in_rows, in_columns))
            values[Carried(self.form.matrix, True, carry.dtype)] = total
            rewriter = place.with_values(values).rewriter()
            value = rewriter(self.form.online.result)
            address = rewriter.form(output.address)
            guard = place.guard + rewriter.guards(output.guard)
            return [Store(place.collective, output.slot, address, value, guard)]

        return self.panels(self.plan.rows, self.columns, one)

    def bind_rows(self, scope: Scope, rows: Placed, index: Affine) -> Scope:
        """Bind the row axis; rows beyond the last are masked."""
        form = rows.start + index
        scope = scope.bind(self.form.row, form)
        return scope.with_guard(form.scale(-1).shift(scope.size(self.form.row) - 1))

    def carried(self, tiles: Tiles, row: Affine) -> dict[Expression, Expression]:
        """The running values of the statistics of a row, as loads of their tiles."""
        found: dict[Expression, Expression] = {}
        for number in self.statistics:
            dtype = self.form.online.carries[number].dtype
            found[Carried(number, True, dtype)] = TileLoad(tiles.states[number], (row,))
            found[Carried(number, False, dtype)] = TileLoad(
                tiles.before[number], (row,)
            )
        return found


def needed_blocks(
    online: OnlineContraction, scope: Scope, rows: Placed, keys: Placed
) -> Guard:
    """What must hold for a block of keys to add anything to a block of rows.

    Half of the blocks of a causal mask add nothing, nor do those beyond a size.
    """
    carries = online.online.carries[: online.matrix]
    guards = [absence(carry.body, carry.op) for carry in carries]
    guards.append(absence(online.weights, Sum))
    common = [
        form
        for form in guards[0]
        if is_plain(form) and all(form in guard for guard in guards)
    ]
    conditions = []
    for form in common:
        place = scope
        for axis, block in ((online.row, rows), (online.passed, keys)):
            last = block.block.chunk - 1 if form.coefficient(axis) > 0 else 0
            place = place.bind(axis, block.start.shift(last))
        if form.axes() <= set(place.forms):
            conditions.append(place.rewriter().form(form))
    return tuple(form for form in conditions if not scope.builder.always(form))
