"""The matrix product of tiles: a rank-1 update per step, totals in registers.

for k:   columns = rhs[k, n…]                     whole vectors
         for m:  total[m, n…] += lhs[k, m] * columns

Narrow operands come in groups that one instruction multiplies and sums. A group is
four bytes, and moves as one int32.
"""

from __future__ import annotations

from functools import cached_property

from tetragrad.backends.cpu.emit.dot_steps import emit_dot_step, step_of
from tetragrad.backends.cpu.emit.expressions import Expressions
from tetragrad.backends.cpu.emit.memory import Memory
from tetragrad.backends.cpu.emit.operands import emit_fetch, operand_of
from tetragrad.backends.cpu.emit.operations import Operations
from tetragrad.backends.cpu.emit.scopes import Scopes, VectorAxis, chunks
from tetragrad.backends.cpu.emit.tiles import emit_tiles
from tetragrad.backends.cpu.emit.vector import (
    REGISTERS_PER_VECTOR,
    Builder,
    Value,
    lanes_for,
    scalar_type,
    type_of,
)
from tetragrad.core.target import DotStep
from tetragrad.kernel.affine import axis_form
from tetragrad.tile.ir import Mma

#: Products in one turn of the loop over k, which hide what the loop itself costs;
#: more would only make the text longer.
PRODUCTS_PER_TURN = 48
MOST_STEPS_PER_TURN = 4


def emit_product(expressions: Expressions, product: Mma) -> None:
    """Write one Mma statement."""
    evaluate_places(expressions, product)
    if product.group > 1:
        met = (product.lhs.dtype, product.rhs.dtype, product.accumulator.dtype)
        step = step_of(expressions.dot_steps, *met, product.group)
        if step.groups > 1:
            emit_tiles(expressions, product, step)
            return
    _MicroKernel(expressions, product).emit()


def evaluate_places(expressions: Expressions, product: Mma) -> None:
    """Know the values of what the operands' places are made of."""
    forms = [*product.lhs_offset, *product.rhs_offset]
    expressions.evaluate(expressions.prepare([], forms))


class _MicroKernel:
    """The steps along the depth of one product."""

    def __init__(self, expressions: Expressions, product: Mma) -> None:
        self.expressions = expressions
        self.scopes = expressions.scopes
        self.memory = expressions.memory
        self.ops = expressions.ops
        self.product = product
        self.accumulator = product.accumulator
        self.lhs = operand_of(expressions, product.lhs, product.group)
        self.rhs = operand_of(expressions, product.rhs, product.group)
        self.totals = self.expressions.tiles[self.accumulator.name]
        self.depth_axis, self.step_axis = self._fresh_axes()
        self.row_axis, self.column_axis = self._fresh_axes()
        lanes = lanes_for([self.accumulator.dtype], expressions.vector_bytes)
        most_lanes = lanes if product.group > 1 else lanes * REGISTERS_PER_VECTOR
        self.vectors = [
            VectorAxis(self.column_axis, start, width)
            for start, width in chunks(0, product.columns, most_lanes)
        ]
        # Multiply-add functions by their lanes.
        self._functions: dict[int, tuple[str, str]] = {}
        self.part_axis, self.parts = self.scopes.fresh_axis(), 1
        if product.ahead is not None:
            self.part_axis, self.parts = product.ahead.parts
        per_step = product.rows * -(-product.columns // lanes)
        self.turn = _steps_per_turn(product.depth // self.parts, per_step)
        #: Turns of each part; what they leave over comes after all parts.
        self.turns = product.depth // self.turn // self.parts
        turn = axis_form(self.part_axis).scale(self.turns) + axis_form(self.depth_axis)
        depth = turn.scale(self.turn) + axis_form(self.step_axis)
        row, column = axis_form(self.row_axis), axis_form(self.column_axis)
        self.lhs_form = self.lhs.form(product.lhs_offset, depth, row)
        self.rhs_form = self.rhs.form(product.rhs_offset, depth, column)

    def _fresh_axes(self) -> tuple[int, int]:
        return self.scopes.fresh_axis(), self.scopes.fresh_axis()

    def emit(self) -> None:
        """The loops over the depth, and what their unrolling leaves over."""
        if self.turns:
            with self.scopes.loop(self.part_axis, self.parts):
                if self.product.ahead is not None:
                    emit_fetch(self.expressions, self.product.ahead.fetch)
                    evaluate_places(self.expressions, self.product)
                self._loop(self.turns)
        left = self.product.depth - self.parts * self.turns * self.turn
        turns, rest = divmod(left, self.turn)
        with self.scopes.unrolled([self.part_axis], [self.parts]):
            if turns:
                self._loop(turns)
            if rest:
                start = turns * self.turn
                with self.scopes.unrolled([self.depth_axis], [0]):
                    self._steps(range(start, start + rest))

    def _loop(self, turns: int) -> None:
        with self.scopes.loop(self.depth_axis, turns):
            self._steps(range(self.turn))

    def _steps(self, steps: range) -> None:
        """Some rank-1 updates; totals are read before and written after them all."""
        totals = [
            [self._total(row, vector) for vector in self.vectors]
            for row in range(self.product.rows)
        ]
        # Elements then are at constants from one pointer to each region's corner.
        corner = [self.row_axis, self.column_axis, self.step_axis]
        with self.scopes.unrolled(corner, [0, 0, 0]):
            lhs = self.memory.pointer(self.lhs.storage, self.lhs_form)
            rhs = self.memory.pointer(self.rhs.storage, self.rhs_form)
        for step in steps:
            columns = [self._column(rhs, step, vector) for vector in self.vectors]
            for row in range(self.product.rows):
                offset = step * self.lhs.by_step + row * self.lhs.by_side
                self._add_products(lhs, offset, columns, totals[row])
        for row, vectors in enumerate(totals):
            for vector, total in zip(self.vectors, vectors, strict=True):
                offset = self._offset(row, vector)
                self.memory.store_at(self.totals, self.totals.base, total, offset)

    def _add_products(
        self, corner: str, offset: int, columns: list[Value], totals: list[Value]
    ) -> None:
        """A row's totals += lhs[corner + offset] * columns."""
        assign = self.expressions.builder.assign
        for place, (column, total) in enumerate(zip(columns, totals, strict=True)):
            whole, function = self._multiply_add(column, total)
            text = assign(
                f"call {whole} {function}(ptr {corner}, i64 {offset}, "
                f"{type_of(column)} {column.text}, {whole} {total.text})"
            )
            totals[place] = Value(text, total.dtype, total.lanes)

    def _offset(self, row: int, vector: VectorAxis) -> int:
        """Where a vector of totals is in the accumulator."""
        by_row, by_column = self.accumulator.layout.strides
        assert by_column == 1, "an accumulator's columns lie next to each other"
        return row * by_row + vector.start

    def _total(self, row: int, vector: VectorAxis) -> Value:
        offset = self._offset(row, vector)
        return self.memory.load_at(self.totals, self.totals.base, offset, vector.lanes)

    def _column(self, corner: str, step: int, vector: VectorAxis) -> Value:
        """rhs[step, columns of a vector]"""
        storage = self.rhs.storage
        if self.rhs.by_side == 1:
            offset = step * self.rhs.by_step + vector.start
            value = self.memory.load_at(storage, corner, offset, vector.lanes)
        else:
            with (
                self.scopes.unrolled([self.step_axis], [step]),
                self.scopes.lanes_along(vector),
            ):
                value = self.memory.load(storage, self.rhs_form)
        return self._widened(self.ops, value)

    def _widened(self, ops: Operations, value: Value) -> Value:
        """An element as the sums need it; groups stay as they are."""
        if self.product.group > 1:
            return value
        return ops.cast(value, self.accumulator.dtype)

    def _multiply_add(self, column: Value, total: Value) -> tuple[str, str]:
        """The type of a total, and the function that adds an element times a column."""
        found = self._functions.get(total.lanes)
        if found is None:
            found = self._functions[total.lanes] = self._new_function(column, total)
        return found

    def _new_function(self, column: Value, total: Value) -> tuple[str, str]:
        whole, product = type_of(total), self.product
        dtypes_met = (product.lhs.dtype, product.rhs.dtype, total.dtype)
        # What its load may meet in memory is a part of what the function is.
        scope = "".join(filter(str.isdigit, self.lhs.storage.load_access))
        function = self.expressions.builder.inlined(
            f"multiply_add_{'_'.join(map(str, dtypes_met))}_{total.lanes}_{scope}",
            f"ptr %lhs, i64 %offset, {type_of(column)} %column, {whole} %total",
            lambda inner: self._write_multiply_add(inner, column, total),
        )
        return whole, function

    def _write_multiply_add(
        self, builder: Builder, column: Value, total: Value
    ) -> Value:
        """The same, of a function's parameters."""
        ops = self.ops.with_builder(builder)
        memory = Memory(builder, Scopes(builder), ops)
        column = Value("%column", column.dtype, column.lanes)
        total = Value("%total", total.dtype, total.lanes)
        element = scalar_type(self.lhs.storage.element)
        place = builder.assign(f"getelementptr {element}, ptr %lhs, i64 %offset")
        scalar = self._widened(ops, memory.load_at(self.lhs.storage, place))
        scalar = builder.broadcast(scalar, column.lanes)
        if self.product.group > 1:
            return emit_dot_step(builder, self._dot_step, scalar, column, total)
        if total.dtype.is_floating_point:
            return ops.fma(scalar, column, total)
        return ops.add(total, ops.mul(scalar, column))

    @cached_property
    def _dot_step(self) -> DotStep:
        """The instruction for operands of these dtypes."""
        product = self.product
        met = (product.lhs.dtype, product.rhs.dtype, self.accumulator.dtype)
        return step_of(self.expressions.dot_steps, *met, product.group)


def _steps_per_turn(depth: int, products_per_step: int) -> int:
    """About as many steps as hide the loop's cost, such that none are left over."""
    wanted = -(-PRODUCTS_PER_TURN // products_per_step)
    divisors = [
        steps for steps in range(1, MOST_STEPS_PER_TURN + 1) if depth % steps == 0
    ]
    return min(divisors, key=lambda steps: abs(steps - wanted))
