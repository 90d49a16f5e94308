"""The matrix product of tiles: a rank-1 update per step, totals in registers.

for k:   columns = rhs[k, n…]                     whole vectors
         for m:  total[m, n…] += lhs[k, m] * columns
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tetragrad.backends.cpu.emit_expressions import Expressions, tile_form
from tetragrad.backends.cpu.emit_memory import Storage
from tetragrad.backends.cpu.emit_scopes import VectorAxis, chunks
from tetragrad.backends.cpu.vector import Value, lanes_for
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.tile.ir import Mma, Tile

#: Products in one turn of the loop over k, which hide what the loop itself costs;
#: more would only make the text longer.
PRODUCTS_PER_TURN = 16
MOST_STEPS_PER_TURN = 4


def emit_product(expressions: Expressions, product: Mma) -> None:
    """Write one Mma statement."""
    expressions.evaluate(
        expressions.prepare([], [*product.lhs_offset, *product.rhs_offset])
    )
    _MicroKernel(expressions, product).emit()


class _MicroKernel:
    """The steps along the depth of one product."""

    def __init__(self, expressions: Expressions, product: Mma) -> None:
        self.expressions = expressions
        self.scopes = expressions.scopes
        self.memory = expressions.memory
        self.ops = expressions.ops
        self.product = product
        self.accumulator = product.accumulator
        self.lhs, self.rhs = self._storage(product.lhs), self._storage(product.rhs)
        self.totals = self._storage(self.accumulator)
        self.depth_axis, self.step_axis = self._fresh_axes()
        self.row_axis, self.column_axis = self._fresh_axes()
        lanes = lanes_for([self.accumulator.dtype], expressions.vector_bytes)
        self.vectors = [
            VectorAxis(self.column_axis, start, width)
            for start, width in chunks(0, product.columns, lanes)
        ]
        wanted = -(-PRODUCTS_PER_TURN // (product.rows * len(self.vectors)))
        self.turn = min(MOST_STEPS_PER_TURN, wanted)
        depth = axis_form(self.depth_axis).scale(self.turn) + axis_form(self.step_axis)
        row, column = axis_form(self.row_axis), axis_form(self.column_axis)
        self.lhs_form = _region(product.lhs, product.lhs_offset, depth, row)
        self.rhs_form = _region(product.rhs, product.rhs_offset, depth, column)

    def _fresh_axes(self) -> tuple[int, int]:
        return self.scopes.fresh_axis(), self.scopes.fresh_axis()

    def _storage(self, tile: Tile) -> Storage:
        return self.expressions.tiles[tile.name]

    def emit(self) -> None:
        """The loop over the depth, and what its unrolling leaves over."""
        whole, rest = divmod(self.product.depth, self.turn)
        if whole:
            with self.scopes.loop(self.depth_axis, whole):
                self._steps(range(self.turn))
        if rest:
            start = whole * self.turn
            with self.scopes.unrolled([self.depth_axis], [0]):
                self._steps(range(start, start + rest))

    def _steps(self, steps: range) -> None:
        """Some rank-1 updates; totals are read before and written after them all."""
        totals = {place: self._total(*place) for place in self._places()}
        # Elements then are at constants from one pointer to each region's corner.
        corner = [self.row_axis, self.column_axis, self.step_axis]
        with self.scopes.unrolled(corner, [0, 0, 0]):
            lhs = self.memory.pointer(self.lhs, self.lhs_form)
            rhs = self.memory.pointer(self.rhs, self.rhs_form)
        for step in steps:
            columns = {
                vector: self._column(rhs, step, vector) for vector in self.vectors
            }
            for row in range(self.product.rows):
                scalar = self._scalar(lhs, step, row)
                for place, column in columns.items():
                    total = totals[row, place]
                    totals[row, place] = self._multiply_add(scalar, column, total)
        for (row, vector), total in totals.items():
            offset = self._offset(row, vector)
            self.memory.store_at(self.totals, self.totals.base, total, offset)

    def _places(self) -> Iterator[tuple[int, VectorAxis]]:
        return itertools.product(range(self.product.rows), self.vectors)

    def _offset(self, row: int, vector: VectorAxis) -> int:
        """Where a vector of totals is in the accumulator."""
        by_row, by_column = self.accumulator.layout.strides
        assert by_column == 1, "an accumulator's columns lie next to each other"
        return row * by_row + vector.start

    def _total(self, row: int, vector: VectorAxis) -> Value:
        offset = self._offset(row, vector)
        return self.memory.load_at(self.totals, self.totals.base, offset, vector.lanes)

    def _scalar(self, corner: str, step: int, row: int) -> Value:
        """lhs[step, row]"""
        by_step, by_row = self.product.lhs.layout.strides
        value = self.memory.load_at(self.lhs, corner, step * by_step + row * by_row)
        return self.ops.cast(value, self.accumulator.dtype)

    def _column(self, corner: str, step: int, vector: VectorAxis) -> Value:
        """rhs[step, columns of a vector]"""
        by_step, by_column = self.product.rhs.layout.strides
        if by_column == 1:
            offset = step * by_step + vector.start
            value = self.memory.load_at(self.rhs, corner, offset, vector.lanes)
        else:
            with (
                self.scopes.unrolled([self.step_axis], [step]),
                self.scopes.lanes_along(vector),
            ):
                value = self.memory.load(self.rhs, self.rhs_form)
        return self.ops.cast(value, self.accumulator.dtype)

    def _multiply_add(self, scalar: Value, column: Value, total: Value) -> Value:
        scalar = self.expressions.builder.broadcast(scalar, column.lanes)
        if total.dtype.is_floating_point:
            return self.ops.fma(scalar, column, total)
        return self.ops.add(total, self.ops.mul(scalar, column))


def _region(
    tile: Tile, offset: tuple[Affine, Affine], depth: Affine, side: Affine
) -> Affine:
    """The place of element [depth, side] of a tile's region."""
    return tile_form(tile, (offset[0] + depth, offset[1] + side))
