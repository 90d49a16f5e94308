"""Build an online contraction: attention as one kernel, with no buffer of scores.

    Grid(batch, block of rows)
      pack the block's queries
      For(block of keys)
        scores[key, row]  = Σ_e keys · queries                       registers
        for each statistic: fold the block, correct what it carried  vectors of rows
        weights[key, row] = what the scores become
        total[row, column] = total · correction + Σ_key weights · values
      Store(what the totals and the statistics become)

There may be several inner products, no statistics (where they are given), and several
totals or none: so the gradients of attention are such passes too.

Scores lie with the rows next to each other, so that statistics over the keys need no
work across lanes. ``kernel/online.py`` says why the corrections are right, and what
protects a row whose maximum is still -inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen, replace
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
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.kernel.online import Carried
from tetragrad.kernel.online_contraction import (
    InnerProduct,
    OnlineContraction,
    Total,
    online_contraction,
)
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
from tetragrad.tile.plans.online.online_step import (
    InnerTiles,
    Operands,
    Step,
    Tiles,
    TotalTiles,
)
from tetragrad.tile.plans.products.contraction import Block
from tetragrad.tile.plans.products.operands import Operand, Placed
from tetragrad.tile.plans.products.packing import pack
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    indices_of,
    iterations,
    load_of,
    loop,
    loops,
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
    lanes = target.vector_lanes(form.inner[0].scores.accumulator.itemsize)
    wide = target.registers >= 32
    rows = min(ROW_BLOCK, _rounded(kernel.axes[form.row], lanes))
    micro_rows = 8 if wide else 4
    keys = min(KEY_BLOCK, _rounded(kernel.axes[form.passed], micro_rows))
    columns = rows if form.column is None else kernel.axes[form.column]
    vectors = 2 if min(rows, columns) > lanes else 1
    plan = OnlinePlan(
        _rounded(rows, lanes * vectors), keys, micro_rows, lanes * vectors, lanes
    )
    if not target.has_free_iterations:
        return plan
    return _fitting(kernel, form, plan, target.shared_bytes)


def _fitting(
    kernel: Kernel, form: OnlineContraction, plan: OnlinePlan, limit: int
) -> OnlinePlan | None:
    """The plan with as many keys, and then rows, as shared memory has room for."""
    while _tile_bytes(kernel, form, plan) > limit:
        if plan.keys >= 4 * plan.micro_rows:
            plan = replace(plan, keys=_rounded(plan.keys // 2, plan.micro_rows))
        elif plan.rows >= 2 * plan.micro_columns:
            plan = replace(plan, rows=_rounded(plan.rows // 2, plan.micro_columns))
        else:
            return None
    return plan


def _tile_bytes(kernel: Kernel, form: OnlineContraction, plan: OnlinePlan) -> int:
    """What a grid iteration keeps in shared memory, but for vectors of rows."""
    sides, area = plan.rows + plan.keys, plan.rows * plan.keys
    elements = 0
    for entry in form.inner:
        depth = math.prod(kernel.axes[axis] for axis in entry.scores.axes)
        elements += depth * sides + area
    if form.column is not None:
        columns = _rounded(kernel.axes[form.column], plan.micro_columns)
        elements += len(form.totals) * (columns * sides + area)
    return elements * form.inner[0].scores.accumulator.itemsize


def _has_matrix_unit(form: OnlineContraction, target: Target) -> bool:
    """Whether a GPU multiplies such operands so fast that memory is worth the way."""
    operand = form.inner[0].keys
    if isinstance(operand, Compute) and operand.op is Cast:
        (operand,) = operand.inputs
    is_half = operand.dtype.bits == 16
    return "mma" in target.features and is_half and bool(form.totals)


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

    @property
    def dtype(self) -> DType:
        """What products are summed in."""
        return self.form.inner[0].scores.accumulator

    @cached_property
    def row_block(self) -> Block:
        return Block((self.form.row,), 0, self.plan.rows)

    @cached_property
    def key_block(self) -> Block:
        return Block((self.form.passed,), 0, self.plan.keys)

    @cached_property
    def column_block(self) -> Block:
        assert self.form.column is not None
        return Block((self.form.column,), 0, self.kernel.axes[self.form.column])

    @property
    def columns(self) -> int:
        """Columns of a total, with those that fill up the last micro-tile."""
        return _rounded(self.column_block.chunk, self.plan.micro_columns)

    # --- operands ----------------------------------------------------------------

    def depth(self, product: InnerProduct) -> Block:
        """The axes that an inner product sums over, all at once."""
        axes = tuple(sorted(product.scores.axes))
        return Block(axes, 0, self.kernel.axes[axes[0]])

    def query_operand(self, product: InnerProduct) -> Operand:
        return self._operand("queries", product, product.queries, self.row_block, True)

    def key_operand(self, product: InnerProduct) -> Operand:
        return self._operand("keys", product, product.keys, self.key_block, False)

    def value_operand(self, total: Total) -> Operand:
        return Operand(
            "values", self.kernel, total.values, self.key_block,
            self.column_block, self.plan.lanes, True,
        )  # fmt: skip

    def _operand(
        self,
        name: str,
        product: InnerProduct,
        value: Expression,
        side: Block,
        along_side: bool,
    ) -> Operand:
        depth, lanes = self.depth(product), self.plan.lanes
        return Operand(name, self.kernel, value, depth, side, lanes, along_side)

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
        statements: list[Statement] = [Alloc(tile) for tile in tiles.all()]
        for product, inner in zip(self.form.inner, tiles.inner, strict=True):
            operand, whole = (
                self.query_operand(product),
                Placed(self.depth(product), ZERO),
            )
            statements += pack(operand, scope, whole, rows, inner.queries)
        statements += self.clear(tiles)
        statements += self.pass_over(scope, self.form.repeated, rows, tiles)
        return statements + self.finish(scope, rows, tiles)

    def pass_over(
        self, scope: Scope, repeated: Sequence[int], rows: Placed, tiles: Tiles
    ) -> list[Statement]:
        """Every position of the repeated axes, and every block of keys."""
        if repeated:
            axis, *others = repeated
            return iterations(
                scope, axis, lambda place: self.pass_over(place, others, rows, tiles)
            )

        def take_in(step: Affine) -> list[Statement]:
            keys = Placed(self.key_block, step.scale(self.plan.keys))
            statements = Step(self, scope, tiles, rows, keys).statements()
            needed = needed_blocks(self.form, scope, rows, keys)
            return [When(needed, tuple(statements))] if needed else statements

        return loop(self.builder, self.key_block.chunks(self.kernel), take_in)

    def tiles(self) -> Tiles:
        return Tiles(
            inner=tuple(self.inner_tiles(entry) for entry in self.form.inner),
            totals=tuple(self.total_tiles(entry) for entry in self.form.totals),
            states={
                n: self.shared("state", self.plan.rows) for n in self.form.statistics
            },
            before={
                n: self.shared("before", self.plan.rows) for n in self.form.statistics
            },
        )

    def inner_tiles(self, product: InnerProduct) -> InnerTiles:
        rows, keys = self.plan.rows, self.plan.keys
        return InnerTiles(
            queries=self.query_operand(product).tile(self.builder, rows),
            keys=self.key_operand(product).tile(self.builder, keys),
            scores=self.shared("scores", keys, rows),
        )

    def total_tiles(self, total: Total) -> TotalTiles:
        rows, keys = self.plan.rows, self.plan.keys
        return TotalTiles(
            values=self.value_operand(total).tile(self.builder, self.columns),
            weights=self.shared("weights", keys, rows),
            total=self.shared("total", rows, self.columns),
            scale=self.shared("scale", rows),
        )

    def shared(self, name: str, *shape: int) -> Tile:
        return self.builder.tile(name, shape, self.dtype, Space.SHARED)

    def clear(self, tiles: Tiles) -> list[Statement]:
        """Every carried value starts as its reduction's identity."""
        statements: list[Statement] = []
        for number, state in tiles.states.items():
            carry = self.form.online.carries[number]
            identity = literal(carry.op.identity(carry.dtype), carry.dtype)
            extents, index = self.row_vectors()
            statements.append(Map(extents, state, (index,), identity))
        for entry in tiles.totals:
            statements += self.clear_total(entry.total)
        return statements

    def clear_total(self, total: Tile) -> list[Statement]:
        zero = literal(0, total.dtype)

        def one(row: Affine, column: Affine) -> list[Statement]:
            extents, indices = self.micro_axes(row, column)
            return [Map(extents, total, indices, zero)]

        return self.panels(self.plan.rows, self.columns, one)

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
        first, second = self.builder.axes(
            (self.plan.micro_rows, self.plan.micro_columns)
        )
        m, n = indices_of((first, second))
        return (first, second), (row + m, column + n)

    def panels(self, rows: int, columns: int, body: Panel) -> list[Statement]:
        """Loops over the micro-tiles of a tile of this shape."""
        micro_rows, micro_columns = self.plan.micro_rows, self.plan.micro_columns
        return loops(
            self.builder,
            (columns // micro_columns, rows // micro_rows),
            lambda column, row: body(
                row.scale(micro_rows), column.scale(micro_columns)
            ),
        )

    def product(
        self, product: Operands, row: Affine, column: Affine, start: Start
    ) -> tuple[Tile, list[Statement]]:
        """A micro-tile of lhs × rhs in registers, on top of ``start``."""
        shape = (self.plan.micro_rows, self.plan.micro_columns)
        tile = self.builder.tile("accumulator", shape, self.dtype)
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
        results = zip(self.kernel.outputs, self.form.online.results, strict=True)
        statements: list[Statement] = []
        for output, result in results:
            if self.form.column in output.axes:
                statements += self.finish_columns(scope, rows, tiles, output, result)
            else:
                extents, index = self.row_vectors()
                place = self.bind_rows(scope.with_collective(*extents), rows, index)
                place = place.with_values(self.carried(tiles, index))
                statements.append(store_at(place, output, result))
        return statements

    def finish_columns(
        self,
        scope: Scope,
        rows: Placed,
        tiles: Tiles,
        output: Output,
        result: Expression,
    ) -> list[Statement]:
        """Store what has a value for each row and column."""
        column = self.form.column
        assert column is not None

        def one(row: Affine, first: Affine) -> list[Statement]:
            extents, (in_rows, in_columns) = self.micro_axes(row, first)
            place = scope.with_collective(*extents)
            place = self.bind_rows(place, rows, in_rows)
            place = place.bind(column, in_columns)
            size = self.kernel.axes[column]
            place = place.with_guard(in_columns.scale(-1).shift(size - 1))
            values = self.carried(tiles, in_rows)
            for total, entry in zip(self.form.totals, tiles.totals, strict=True):
                dtype = self.form.online.carries[total.number].dtype
                load = TileLoad(entry.total, (in_rows, in_columns))
                values[Carried(total.number, True, dtype)] = load
            return [store_at(place.with_values(values), output, result)]

        return self.panels(self.plan.rows, self.columns, one)

    def bind_rows(self, scope: Scope, rows: Placed, index: Affine) -> Scope:
        """Bind the row axis; rows beyond the last are masked."""
        form = rows.start + index
        scope = scope.bind(self.form.row, form)
        return scope.with_guard(form.scale(-1).shift(scope.size(self.form.row) - 1))

    def carried(self, tiles: Tiles, row: Affine) -> dict[Expression, Expression]:
        """The running values of the statistics of a row, as loads of their tiles."""
        found: dict[Expression, Expression] = {}
        for number, state in tiles.states.items():
            dtype = self.form.online.carries[number].dtype
            found[Carried(number, True, dtype)] = TileLoad(state, (row,))
            before = TileLoad(tiles.before[number], (row,))
            found[Carried(number, False, dtype)] = before
        return found


def store_at(place: Scope, output: Output, result: Expression) -> Statement:
    """Store a result where its output says, at the collective axes of a place."""
    rewriter = place.rewriter()
    guard = place.guard + rewriter.guards(output.guard)
    address, value = rewriter.form(output.address), rewriter(result)
    return Store(place.collective, output.slot, address, value, guard)


def needed_blocks(
    online: OnlineContraction, scope: Scope, rows: Placed, keys: Placed
) -> Guard:
    """What must hold for a block of keys to add anything to a block of rows.

    Half of the blocks of a causal mask add nothing, nor do those beyond a size.
    """
    carries = [online.online.carries[number] for number in online.statistics]
    guards = [absence(carry.body, carry.op) for carry in carries]
    guards += [absence(total.weights, Sum) for total in online.totals]
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
