"""Reductions inside expressions: a loop with its running value in a register.

Σ_k load[i, k]   with lanes along i:  one vector register, a loop over k
                 the same for all lanes:  lanes along k, several registers, and
                 their combination after the loop
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from tetragrad.backends.cpu.emit.expressions import Expressions
from tetragrad.backends.cpu.emit.scopes import VectorAxis, chunks
from tetragrad.backends.cpu.emit.vector import (
    Value,
    constant,
    scalar_type,
    type_of,
    vector_of,
)
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Reduction, walk
from tetragrad.kernel.substitution import substitute
from tetragrad.tile.ir import Extent, TileLoad

#: Independent running values, so that one addition need not wait for the last.
CHAINS = 4


@frozen
class Running:
    """A running value: a stack slot that LLVM turns into a register."""

    slot: str
    dtype: DType
    lanes: int


class Reductions:
    """Emits the reductions that expressions meet."""

    def __init__(self, expressions: Expressions, extents: Mapping[int, int]) -> None:
        self.expressions = expressions
        self.scopes = expressions.scopes
        self.builder = expressions.builder
        self.memory = expressions.memory
        self.ops = expressions.ops
        self.extents = extents

    def reduce(self, reduction: Reduction) -> Value:
        """The reduction's value at the current point, rounded to its dtype."""
        axes = [(axis, self.extents[axis]) for axis in reduction.axes]
        if any(extent == 0 for _, extent in axes):
            nothing = reduction.op.identity(reduction.dtype)
            return constant(nothing, reduction.dtype)
        result = self._reduce_lanes(reduction, axes)
        if result is None:
            result = self._reduce_points(reduction, axes)
        return self.ops.cast(result, reduction.dtype)

    def _reduce_points(self, reduction: Reduction, axes: Sequence[Extent]) -> Value:
        """One element of the loop at a time, for each lane of the statement."""
        vector = self.scopes.vector
        varies = vector is not None and vector.axis in reduction.free_axes
        lanes = vector.lanes if varies and vector else 1
        running = self._start(reduction, lanes)
        with self._loops(axes):
            self._combine(reduction, running, reduction.body, lanes)
        return self._read(running)

    def _reduce_lanes(
        self, reduction: Reduction, axes: Sequence[Extent]
    ) -> Value | None:
        """Lanes along the last axis, if the statement's lanes play no part."""
        vector = self.scopes.vector
        axis, extent = axes[-1]
        lanes = self.expressions.lanes_for([reduction.body], reduction.accumulator)
        varies = vector is not None and vector.axis in reduction.free_axes
        if varies or extent < 2 * lanes or not _may_substitute(reduction.body):
            return None
        chains = min(CHAINS, extent // lanes)
        running = [self._start(reduction, lanes) for _ in range(chains)]
        rest = self._start(reduction, 1)
        with self._loops(axes[:-1]):
            done = self._whole_vectors(reduction, axis, extent, running, lanes)
            self._remaining_points(reduction, axis, (done, extent), rest, lanes)
        total = self._read(running[0])
        for chain in running[1:]:
            total = self.ops.combine(reduction.op, total, self._read(chain))
        total = self.ops.combine_lanes(reduction.op, total)
        return self.ops.combine(reduction.op, total, self._read(rest))

    def _whole_vectors(
        self,
        reduction: Reduction,
        axis: int,
        extent: int,
        running: Sequence[Running],
        lanes: int,
    ) -> int:
        """Fold in as many whole vectors as fit; how far that got."""
        step = lanes * len(running)
        outer = self.scopes.fresh_axis()
        form = Affine(0, ((axis, 1), (outer, step)))
        body = substitute(reduction.body, {axis: form})
        with self._loops([(outer, extent // step)]):
            for number, chain in enumerate(running):
                vector = VectorAxis(axis, number * lanes, lanes)
                with self.scopes.lanes_along(vector):
                    self._combine(reduction, chain, body, lanes)
        return extent // step * step

    def _remaining_points(
        self,
        reduction: Reduction,
        axis: int,
        span: tuple[int, int],
        rest: Running,
        lanes: int,
    ) -> None:
        for start, width in chunks(*span, lanes):
            with self.scopes.lanes_along(VectorAxis(axis, start, width)):
                self._combine(reduction, rest, reduction.body, width)

    def _loops(self, axes: Sequence[Extent]) -> ExitStack:
        loops = ExitStack()
        for axis, extent in axes:
            loops.enter_context(self.scopes.loop(axis, extent))
        return loops

    def _start(self, reduction: Reduction, lanes: int) -> Running:
        """A running value that is the identity."""
        dtype = reduction.accumulator
        slot = self.builder.stack_slot(vector_of(scalar_type(dtype), lanes), 1)
        running = Running(slot, dtype, lanes)
        identity = constant(reduction.op.identity(reduction.dtype), dtype)
        self._write(running, identity)
        return running

    def _read(self, running: Running) -> Value:
        whole = vector_of(scalar_type(running.dtype), running.lanes)
        text = self.builder.assign(f"load {whole}, ptr {running.slot}")
        return Value(text, running.dtype, running.lanes)

    def _write(self, running: Running, value: Value) -> None:
        value = self.builder.broadcast(value, running.lanes)
        self.builder.line(f"store {type_of(value)} {value.text}, ptr {running.slot}")

    def _combine(
        self, reduction: Reduction, running: Running, body: Expression, width: int
    ) -> None:
        """Fold the body's ``width`` lanes into a running value."""
        recipe = self.expressions.prepare([body], [])
        value = self.expressions.evaluate(recipe)[body]
        value = self.builder.broadcast(self.ops.cast(value, running.dtype), width)
        if running.lanes < width:
            value = self.ops.combine_lanes(reduction.op, value)
        combined = self.ops.combine(reduction.op, self._read(running), value)
        self._write(running, combined)


def _may_substitute(body: Expression) -> bool:
    """Whether the body's axes can be rewritten: tiles are addressed as they stand."""
    return not any(isinstance(entry, TileLoad) for entry in walk(body))
