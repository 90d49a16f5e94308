"""Which blocks of rows each grid iteration computes, and in which order.

Blocks differ where a mask ends some rows early, so those with most to do come first.
An iteration that computes several goes to and fro over all of them, as an ox ploughs:

    iteration         0   1   2
    first turn        0   1   2
    second turn       5   4   3
    third turn        6   7   8

It then has as much to do as the others, and what its next block begins with is brought
while the results of the last one are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.affine import Affine, axis_form, of_atom
from tetragrad.kernel.expression import Compute, Indexed, Position, literal
from tetragrad.tile.ir import Extent, Statement, When
from tetragrad.tile.plans.roles.cells import digits_of
from tetragrad.tile.plans.scope import Builder, Scope, loop


@frozen
class RowBlock:
    """A block of rows: the axes that are known there, and where its rows start."""

    scope: Scope
    rows: Affine


@frozen
class RowBlocks:
    """All blocks of ``height`` rows along an axis, of all batches.

    So many ``workers`` are iterations of the grid, or one for each block if 0.
    A batch's blocks follow one another, and share what they read in the cache.
    """

    builder: Builder
    batch: tuple[int, ...]
    row: int
    height: int
    workers: int = 0
    ascending: bool = False

    @cached_property
    def index(self) -> Extent:
        """The axis of the grid."""
        workers = min(self.workers or self.count, self.count)
        return self.builder.axis(workers), workers

    @property
    def turns(self) -> int:
        """Blocks of an iteration; the last turn may leave some without one."""
        return -(-self.count // self.index[1])

    @property
    def chunks(self) -> int:
        """Blocks of one batch."""
        return -(-self.builder.kernel.axes[self.row] // self.height)

    @property
    def batches(self) -> int:
        return math.prod(self.builder.kernel.axes[axis] for axis in self.batch)

    @property
    def count(self) -> int:
        return self.chunks * self.batches

    def each(self, body: Callable[[RowBlock], list[Statement]]) -> list[Statement]:
        """The body for every block of a grid iteration, one after the other."""

        def turn(form: Affine) -> list[Statement]:
            number = self.number(form)
            statements = body(self.block(number))
            left = number.scale(-1).shift(self.count - 1)
            if self.builder.always(left):
                return statements
            return [When((left,), tuple(statements))]

        return loop(self.builder, self.turns, turn)

    def number(self, turn: Affine) -> Affine:
        """The place of a turn's block among all: every second turn goes back."""
        index, workers = self.index
        there = turn.scale(workers) + axis_form(index)
        if self.turns == 1:
            return there
        back = turn.shift(1).scale(workers).shift(-1) + axis_form(index).scale(-1)
        (parity, _) = digits_of(turn, (2, -(-self.turns // 2)), self.turns)
        is_even = Compute(
            ops.Eq, dtypes.bool_, (_value(parity), literal(0, dtypes.int64))
        )
        chosen = (is_even, _value(there), _value(back))
        number = Compute(ops.Where, dtypes.int64, chosen)
        return of_atom(Indexed(number, 0, self.turns * workers - 1))

    def block(self, number: Affine) -> RowBlock:
        """The block at a place: its batch, and where its rows start."""
        chunks, batches = self.chunks, self.batches
        chunk, batch = digits_of(number, (chunks, batches), self.count)
        if not self.ascending:
            chunk = chunk.scale(-1).shift(chunks - 1)
        scope, sizes = Scope(self.builder), self.builder.kernel.axes
        axes = self.batch[::-1]
        digits = digits_of(batch, [sizes[axis] for axis in axes], batches)
        for axis, digit in zip(axes, digits, strict=False):
            scope = scope.bind(axis, digit)
        return RowBlock(scope, chunk.scale(self.height))


def balanced_workers(costs: Sequence[float], batches: int, units: int) -> int:
    """How many workers have done sooner, if up to an eighth of the units may rest.

    The blocks of a batch cost so much each. Where a batch has nearly as many as there
    are workers, some of them would always meet those with most to do.
    """
    count = len(costs) * batches
    if count <= units:
        return units

    def longest(workers: int) -> float:
        turns = numpy.zeros((-(-count // workers), workers))
        turns.flat[:count] = numpy.tile(costs, batches)
        turns[1::2] = turns[1::2, ::-1]
        return float(turns.sum(axis=0).max())

    return min(range(units, units - units // 8, -1), key=longest)


def _value(form: Affine) -> Position:
    return Position(form, dtypes.int64)
