"""Pack a block of an operand into a tile, in the order the micro-kernel reads it.

Whatever has to be computed for an operand's element (a cast, a mask, a scale) is
computed here, once for each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.kernel.expression import Expression, Guard, Select, literal
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Layout, Map, Space, Statement, Tile
from tetragrad.tile.plans.contraction import Block, strides_of
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    cast,
    fitting_strip,
    loop,
    strips,
)

CACHE_LINE_BYTES = 64
# Vectors that one packing step moves.
PACKED_VECTORS = 2


@dataclass(frozen=True)
class Placed:
    """A block at a place: where its chunk starts."""

    block: Block
    start: Affine

    def guard(self, kernel: Kernel, position: Affine) -> Guard:
        """The condition that a position of the chunked axis exists."""
        size = kernel.axes[self.block.chunked]
        return ((self.start + position).scale(-1).shift(size - 1),)


@dataclass(frozen=True)
class Operand:
    """One side of a contraction: its values, and its blocks along depth and side."""

    name: str
    value: Expression
    depth: Block
    side: Block
    lanes: int
    lanes_along_side: bool

    def vector_axis(self, kernel: Kernel) -> int:
        """The axis to move whole vectors along: where memory is contiguous."""
        side = (self.side.chunked, *self.side.inner)
        depth = (self.depth.chunked, *self.depth.inner)
        contiguous = [
            axis
            for axis in (*side, *depth)
            if 1 in strides_of(self.value, axis)
            and (self.extent(kernel, axis) > 3 or len(side) + len(depth) == 2)
        ]
        if contiguous:
            # An axis on which the tile is contiguous too, if there is one.
            return min(contiguous, key=lambda axis: axis != side[-1])
        return side[-1]

    def extent(self, kernel: Kernel, axis: int) -> int:
        """Positions of an axis within a block."""
        for block in (self.side, self.depth):
            if axis == block.chunked:
                return block.chunk
        return kernel.axes[axis]

    def tile(self, builder: Builder, side_size: int) -> Tile:
        """The tile for a packed block, indexed [depth, side]."""
        kernel = builder.kernel
        depth_size = self.depth.size(kernel)
        depth_axes = (self.depth.chunked, *self.depth.inner)
        dtype = self.value.dtype
        line = CACHE_LINE_BYTES // dtype.itemsize
        by_depth = self.vector_axis(kernel) in depth_axes
        if by_depth and not self.lanes_along_side:
            layout = Layout((1, odd_lines(depth_size, line)))
        else:
            layout = Layout((odd_lines(side_size, line), 1))
        shape = (depth_size, side_size)
        return builder.tile(self.name, shape, dtype, Space.SHARED, layout)


def odd_lines(size: int, line: int) -> int:
    """Round up to an odd number of cache lines, so that rows spread over the sets."""
    if size <= line:
        return size
    lines = -(-size // line)
    return (lines + 1 - lines % 2) * line


def pack(
    operand: Operand, scope: Scope, depth: Placed, side: Placed, tile: Tile
) -> list[Statement]:
    """Write a block of the operand into its tile."""
    return _Packing(operand, scope, depth, side, tile).run()


@dataclass(frozen=True)
class _Position:
    """Where the loops of a packing stand: flat indices, and a guard for the depth."""

    depth: Affine = ZERO
    side: Affine = ZERO
    depth_guard: Guard = ()


@dataclass(frozen=True)
class _Packing:
    operand: Operand
    scope: Scope
    depth: Placed
    side: Placed
    tile: Tile

    def run(self) -> list[Statement]:
        """Loops over all axes of the block, vectors along the best one."""
        kernel = self.scope.builder.kernel
        vector = self.operand.vector_axis(kernel)
        axes = [
            axis
            for placed in (self.depth, self.side)
            for axis in (placed.block.chunked, *placed.block.inner)
            if axis != vector
        ]
        # Walk memory in order: large steps outside.
        axes.sort(key=self._step, reverse=True)
        return self._loops([*axes], vector, self.scope, _Position())

    def _step(self, axis: int) -> int:
        steps = strides_of(self.operand.value, axis)
        return max((abs(step) for step in steps), default=0)

    def _loops(
        self, axes: Sequence[int], vector: int, scope: Scope, position: _Position
    ) -> list[Statement]:
        if not axes:
            return self._strips(vector, scope, position)
        axis, *others = axes

        def step(offset: Affine) -> list[Statement]:
            inner, moved = self._bind(axis, offset, scope, position)
            return self._loops(others, vector, inner, moved)

        return loop(scope.builder, self._extent(axis), step, unroll=True)

    def _strips(
        self, vector: int, scope: Scope, position: _Position
    ) -> list[Statement]:
        """Vectors along one axis; the strip binds the axis to its offset first."""
        extent = self._extent(vector)
        strip = fitting_strip(vector, extent, self.operand.lanes, PACKED_VECTORS)

        def body(inner: Scope) -> list[Statement]:
            bound, moved = self._bind(vector, inner.forms[vector], inner, position)
            return [self._store(bound, moved)]

        return strips(scope, strip, ZERO, extent, body)

    def _extent(self, axis: int) -> int:
        return self.operand.extent(self.scope.builder.kernel, axis)

    def _bind(
        self, axis: int, offset: Affine, scope: Scope, position: _Position
    ) -> tuple[Scope, _Position]:
        """Move along an axis: its form, its place in the tile, its guard."""
        kernel = scope.builder.kernel
        depth, side, guard = position.depth, position.side, position.depth_guard
        if axis in self.depth.block.axes:
            depth = depth + offset.scale(flat_stride(kernel, self.depth.block, axis))
            if axis != self.depth.block.chunked:
                return scope.bind(axis, offset), _Position(depth, side, guard)
            conditions = self.depth.guard(kernel, offset)
            guard = tuple(form for form in conditions if not scope.builder.always(form))
            bound = scope.bind(axis, self.depth.start + offset)
            return bound, _Position(depth, side, guard)
        side = side + offset.scale(flat_stride(kernel, self.side.block, axis))
        if axis != self.side.block.chunked:
            return scope.bind(axis, offset), _Position(depth, side, guard)
        conditions = self.side.guard(kernel, offset)
        bound = scope.bind(axis, self.side.start + offset).with_guard(*conditions)
        return bound, _Position(depth, side, guard)

    def _store(self, scope: Scope, position: _Position) -> Statement:
        """One vector into the tile; beyond the end of the depth it is zero."""
        needed = position.depth_guard
        value = scope.with_guard(*needed).value(self.operand.value)
        value = cast(value, self.tile.dtype)
        if needed:
            value = Select(needed, value, literal(0, self.tile.dtype))
        indices = (position.depth, position.side)
        return Map(scope.collective, self.tile, indices, value, scope.guard)


def flat_stride(kernel: Kernel, block: Block, axis: int) -> int:
    """How far one step of an axis moves the flat index of a block."""
    stride = 1
    for other in reversed((block.chunked, *block.inner)):
        if other == axis:
            return stride
        stride *= kernel.axes[other]
    raise AssertionError(f"axis {axis} is not in {block}")
