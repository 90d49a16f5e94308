"""The matrix product of tiles: a rank-1 update per step, totals in registers.

for k:   columns = rhs[k, n…]                     whole vectors
         for m:  total[m, n…] += lhs[k, m] * columns
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from tetragrad.backends.cpu.emit_addresses import Mask
from tetragrad.backends.cpu.emit_expressions import Expressions, tile_form
from tetragrad.backends.cpu.emit_memory import Storage
from tetragrad.backends.cpu.emit_scopes import VectorAxis, chunks
from tetragrad.backends.cpu.vector import Value, lanes_for
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.tile.ir import Mma, Tile

#: Steps of k in one turn of the loop: addresses then are constants from one pointer.
DEPTH_UNROLLING = 4


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
        self.depth_axis, self.step_axis = self._fresh_axes()
        row_axis, column_axis = self._fresh_axes()
        self.row_axis = row_axis
        lanes = lanes_for([self.accumulator.dtype], expressions.vector_bytes)
        self.vectors = [
            VectorAxis(column_axis, start, width)
            for start, width in chunks(0, product.columns, lanes)
        ]
        turns = axis_form(self.depth_axis).scale(DEPTH_UNROLLING)
        depth = axis_form(self.step_axis) + turns
        self.lhs_form = _region(product.lhs, product.lhs_offset, depth, row_axis)
        self.rhs_form = _region(product.rhs, product.rhs_offset, depth, column_axis)
        indices = (axis_form(row_axis), axis_form(column_axis))
        self.total_form = tile_form(self.accumulator, indices)
        self.storage = self._storage(self.accumulator)

    def _fresh_axes(self) -> tuple[int, int]:
        return self.scopes.fresh_axis(), self.scopes.fresh_axis()

    def emit(self) -> None:
        """The loop over the depth, and what its unrolling leaves over."""
        whole, rest = divmod(self.product.depth, DEPTH_UNROLLING)
        if whole:
            with self.scopes.loop(self.depth_axis, whole):
                self._steps(range(DEPTH_UNROLLING))
        if rest:
            start = whole * DEPTH_UNROLLING
            with self.scopes.unrolled([self.depth_axis], [0]):
                self._steps(range(start, start + rest))

    def _steps(self, steps: range) -> None:
        """Some rank-1 updates; totals are read before and written after them all."""
        totals = {place: self._total(*place) for place in self._places()}
        for step in steps:
            with self.scopes.unrolled([self.step_axis], [step]):
                self._step(totals)
        for (row, vector), total in totals.items():
            with self._at(row, vector):
                self.memory.store(self.storage, self.total_form, total, Mask())

    def _places(self) -> Iterator[tuple[int, VectorAxis]]:
        return itertools.product(range(self.product.rows), self.vectors)

    @contextmanager
    def _at(self, row: int, vector: VectorAxis) -> Iterator[None]:
        with (
            self.scopes.unrolled([self.row_axis], [row]),
            self.scopes.lanes_along(vector),
        ):
            yield

    def _total(self, row: int, vector: VectorAxis) -> Value:
        with self._at(row, vector):
            return self.memory.load(self.storage, self.total_form)

    def _step(self, totals: dict[tuple[int, VectorAxis], Value]) -> None:
        columns = {vector: self._column(vector) for vector in self.vectors}
        for row in range(self.product.rows):
            with self.scopes.unrolled([self.row_axis], [row]):
                scalar = self._load(self.product.lhs, self.lhs_form)
            for vector, column in columns.items():
                total = totals[row, vector]
                totals[row, vector] = self._multiply_add(scalar, column, total)

    def _column(self, vector: VectorAxis) -> Value:
        with self.scopes.lanes_along(vector):
            return self._load(self.product.rhs, self.rhs_form)

    def _load(self, tile: Tile, form: Affine) -> Value:
        value = self.memory.load(self._storage(tile), form)
        return self.ops.cast(value, self.accumulator.dtype)

    def _multiply_add(self, scalar: Value, column: Value, total: Value) -> Value:
        scalar = self.expressions.builder.broadcast(scalar, column.lanes)
        if total.dtype.is_floating_point:
            return self.ops.fma(scalar, column, total)
        return self.ops.add(total, self.ops.mul(scalar, column))

    def _storage(self, tile: Tile) -> Storage:
        return self.expressions.tiles[tile.name]


def _region(
    tile: Tile, offset: tuple[Affine, Affine], depth: Affine, axis: int
) -> Affine:
    """The place of element [depth, axis] of a tile's region."""
    return tile_form(tile, (offset[0] + depth, offset[1] + axis_form(axis)))
