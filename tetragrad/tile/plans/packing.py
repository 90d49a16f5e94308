"""Pack a block of an operand into a tile, in the order the micro-kernel reads it.

Whatever has to be computed for an operand's element (a cast, a mask, a scale) is
computed here, once for each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard, Select, forms_of, literal
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Layout, Map, Space, Statement, Tile
from tetragrad.tile.layout import CACHE_LINE_BYTES, odd_lines
from tetragrad.tile.plans.contraction import Block, strides_of
from tetragrad.tile.plans.rewrite import walk_until
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    cast,
    fitting_strip,
    loop,
    strips,
)

# Vectors that one packing step moves.
PACKED_VECTORS = 2


@dataclass(frozen=True)
class Run:
    """Neighbouring axes of a block along which an operand moves evenly.

    They are walked as one axis of ``extent`` positions, each of which moves the
    block's flat index by ``stride``. ``size`` is how many positions the kernel has,
    more than ``extent`` where the run contains the block's chunked axis.
    """

    axes: tuple[int, ...]
    extent: int
    stride: int
    size: int
    is_chunked: bool


def runs_of(kernel: Kernel, block: Block, operand: Expression) -> list[Run]:
    """The axes of a block in as few runs as the operand's addresses allow."""
    forms = [form for entry in walk_until({}, operand) for form in forms_of(entry)]
    found: list[Run] = []
    stride = 1
    for axis in reversed((block.chunked, *block.inner)):
        is_chunked = axis == block.chunked
        extent = block.chunk if is_chunked else kernel.axes[axis]
        run = Run((axis,), extent, stride, kernel.axes[axis], is_chunked)
        stride *= extent
        if found and extent > 1 and _continues(forms, axis, found[-1]):
            last = found.pop()
            run = Run(
                (axis, *last.axes),
                extent * last.extent,
                last.stride,
                kernel.axes[axis] * last.extent,
                is_chunked,
            )
        found.append(run)
    return found


def _continues(forms: Sequence[Affine], axis: int, run: Run) -> bool:
    """Whether a step of the axis is a walk along the whole run."""
    return all(
        form.coefficient(axis) == form.coefficient(run.axes[-1]) * run.extent
        for form in forms
    )


@dataclass(frozen=True)
class Window:
    """The part of a block that is packed: flat positions from ``start`` on."""

    start: Affine
    count: int


@dataclass(frozen=True)
class Placed:
    """A block at a place: where its chunk starts.

    With a ``window`` only that part of it is wanted, which takes a block whose
    positions are one run; the tile then holds the window.
    """

    block: Block
    start: Affine
    window: Window | None = None


@dataclass(frozen=True)
class Operand:
    """One side of a contraction: its values, and its blocks along depth and side.

    ``lanes_along_side`` says that the micro-kernel reads whole vectors along the
    side; otherwise it reads single elements, and either order will do. ``at_once``
    packs the block in one collective step. With ``padding``, which is so many elements
    between neighbouring rows, the tile has the order that memory has.
    """

    name: str
    kernel: Kernel
    value: Expression
    depth: Block
    side: Block
    lanes: int
    lanes_along_side: bool
    at_once: bool = False
    padding: int = 0

    @cached_property
    def depth_runs(self) -> list[Run]:
        """Runs of axes along the depth, innermost first."""
        return runs_of(self.kernel, self.depth, self.value)

    @cached_property
    def side_runs(self) -> list[Run]:
        """Runs of axes along the side, innermost first."""
        return runs_of(self.kernel, self.side, self.value)

    @cached_property
    def vector_run(self) -> Run:
        """The run to move whole vectors along: where memory is contiguous.

        If that is not where the tile is, vectors are scattered; gathers are slower.
        """
        runs = self.side_runs + self.depth_runs
        contiguous = [run for run in runs if 1 in strides_of(self.value, run.axes[-1])]
        return max(contiguous or runs, key=lambda run: min(run.extent, self.lanes))

    def panel(self, builder: Builder, side_size: int) -> Tile:
        """A tile for a few columns, one whole row of them after the other."""
        shape = (self.depth.size(self.kernel), side_size)
        return builder.tile(self.name, shape, self.value.dtype, Space.SHARED)

    def tile(self, builder: Builder, side_size: int) -> Tile:
        """The tile for a packed block, indexed [depth, side]."""
        depth_size = self.depth.size(self.kernel)
        dtype = self.value.dtype
        line = CACHE_LINE_BYTES // dtype.itemsize
        by_depth = self.vector_run in self.depth_runs
        if self.padding and by_depth:
            layout = Layout((1, depth_size + self.padding))
        elif self.padding:
            layout = Layout((side_size + self.padding, 1))
        elif by_depth and not self.lanes_along_side:
            layout = Layout((1, odd_lines(depth_size, line)))
        else:
            layout = Layout((odd_lines(side_size, line), 1))
        shape = (depth_size, side_size)
        return builder.tile(self.name, shape, dtype, Space.SHARED, layout)


def pack(
    operand: Operand, scope: Scope, depth: Placed, side: Placed, tile: Tile
) -> list[Statement]:
    """Write a block of the operand into its tile."""
    return _Packing(operand, depth, side, tile).run(scope)


@dataclass(frozen=True)
class _Position:
    """Where the loops of a packing stand: flat indices, and a guard for the depth."""

    depth: Affine = ZERO
    side: Affine = ZERO
    depth_guard: Guard = ()


@dataclass(frozen=True)
class _Packing:
    operand: Operand
    depth: Placed
    side: Placed
    tile: Tile

    def run(self, scope: Scope) -> list[Statement]:
        """Loops over all runs of the block, vectors along the best one."""
        vector = self.operand.vector_run
        runs = [
            run
            for run in self.operand.depth_runs + self.operand.side_runs
            if run is not vector
        ]
        # Walk memory in order: large steps outside.
        runs.sort(key=self._step, reverse=True)
        return self._loops(runs, scope, _Position())

    def _step(self, run: Run) -> int:
        steps = strides_of(self.operand.value, run.axes[-1])
        return max((abs(step) for step in steps), default=0)

    def _loops(
        self, runs: Sequence[Run], scope: Scope, position: _Position
    ) -> list[Statement]:
        if not runs:
            return self._strips(scope, position)
        run, *others = runs

        def step(offset: Affine) -> list[Statement]:
            return self._loops(others, *self._bind(run, offset, scope, position))

        count = self._window(run).count
        if not self.operand.at_once:
            return loop(scope.builder, count, step, unroll=True)
        axis = scope.builder.axis(count)
        wider = scope.with_collective((axis, count))
        return self._loops(others, *self._bind(run, axis_form(axis), wider, position))

    def _strips(self, scope: Scope, position: _Position) -> list[Statement]:
        """Vectors along one run: a strip gives the offset, then the run is bound."""
        run = self.operand.vector_run
        axis = run.axes[-1]
        count = self._window(run).count
        strip = fitting_strip(axis, count, self.operand.lanes, PACKED_VECTORS)

        def body(inner: Scope) -> list[Statement]:
            bound, moved = self._bind(run, inner.forms[axis], inner, position)
            return [self._store(bound, moved)]

        return strips(scope, strip, ZERO, count, body)

    def _window(self, run: Run) -> Window:
        """The positions of a run to visit."""
        placed = self._placed(run)
        return placed.window or Window(ZERO, run.extent)

    def _placed(self, run: Run) -> Placed:
        along_depth = run.axes[-1] in self.operand.depth.axes
        return self.depth if along_depth else self.side

    def _bind(
        self, run: Run, offset: Affine, scope: Scope, position: _Position
    ) -> tuple[Scope, _Position]:
        """Move along a run: the form of its axes, its place in the tile, its guard."""
        placed = self._placed(run)
        flat = offset + self._window(run).start
        if run.is_chunked:
            flat = flat + placed.start.scale(run.extent // placed.block.chunk)
        for axis in run.axes[:-1]:
            scope = scope.bind(axis, ZERO)
        scope = scope.bind(run.axes[-1], flat)
        exists = flat.scale(-1).shift(run.size - 1)
        depth, side, guard = position.depth, position.side, position.depth_guard
        if placed is self.side:
            side = side + offset.scale(run.stride)
            return scope.with_guard(exists), _Position(depth, side, guard)
        if not scope.builder.always(exists):
            guard = (*guard, exists)
        return scope, _Position(depth + offset.scale(run.stride), side, guard)

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
