"""How the points of a collective statement are spread over a block's threads.

A statement's last axis, its *lanes*, is dealt out in runs of neighbours, so that a
thread moves up to 16 bytes at once and a warp moves whole cache lines:

    lane = sweep * (threads * width) + thread * width + element

Where an element lies depends on the number of lanes alone, so a register tile whose
last dimension lies on lanes always finds the same element in the same thread. What
keeps nothing in registers is dealt out over all of its axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from tetragrad.backends.cuda.emit import division
from tetragrad.backends.cuda.emit.ptx import INDEX, Builder, Value, constant
from tetragrad.core.dtypes import bool_ as _BOOL
from tetragrad.core.frozen import frozen
from tetragrad.tile.ir import Extent

WARP = 32
#: Rows of a product that a warpgroup computes at once.
WARPGROUP_ROWS = 64
#: Statements whose points need more runs than this a thread become a loop.
MOST_RUNS = 16


@frozen
class Coordinate:
    """The position on an axis: a register, if any, plus a constant."""

    register: str | None
    offset: int = 0


@frozen
class Run:
    """Points that a thread handles together: ``width`` neighbours along ``lane``.

    ``mask`` is a predicate that says whether this thread has these points at all.
    ``number`` tells apart the runs of a statement that all threads go through.
    ``reach`` is how far behind the lane's constant part any thread's points lie.
    ``part`` is that of the text which the run is written in, beside others.
    """

    places: dict[int, Coordinate]
    lane: int | None = None
    width: int = 1
    mask: str | None = None
    number: int = 0
    reach: int | None = None
    part: int = 0

    @property
    def kind(self) -> object:
        """What runs have in common that are alike but for constants."""
        places = tuple([(axis, place.register) for axis, place in self.places.items()])
        return places, self.lane, self.width, self.reach


@frozen
class Threads:
    """The threads of a block, and how many neighbours one of them takes."""

    builder: Builder
    count: int
    width: int
    index: Value
    #: Whether products are computed by a warpgroup, which divides them in its own way.
    is_warpgroup: bool = False
    #: Whether every thread should have some of what is dealt out freely.
    is_even: bool = False
    #: Whether threads of one warp may be in different branches.
    may_part: bool = True

    def part(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of a product that one warp has the results of."""
        if self.is_warpgroup:
            return rows // (self.count // WARP), columns
        return warp_part(rows, columns)

    def run_width(self, lanes: int) -> int:
        """Neighbours that a thread takes of so many lanes.

        Only so many that most threads have something to do.
        """
        width = self.width
        while width > 1 and (lanes % width or 8 * lanes < 7 * width * self.count):
            width //= 2
        return width

    def below(self, limit: int) -> str | None:
        """A predicate for the threads below a number; None if those are all."""
        if limit >= self.count:
            return None
        found = self.builder.compute(
            "setp.lt.s32", _BOOL, self.index, constant(limit, INDEX)
        )
        return found.text

    def is_thread(self, number: int) -> str:
        """A predicate for one thread."""
        found = self.builder.compute(
            "setp.eq.s32", _BOOL, self.index, constant(number, INDEX)
        )
        return found.text

    def scaled(self, factor: int) -> str:
        """The thread's number times a constant."""
        if factor == 1:
            return self.index.text
        return self.builder.compute(
            "mul.lo.s32", INDEX, self.index, constant(factor, INDEX)
        ).text

    # --- lanes -------------------------------------------------------------------

    def on_lanes(self, axes: Sequence[Extent]) -> Iterator[Run]:
        """Every thread's runs along the last axis, for all points of the others."""
        *others, (lane, lanes) = axes
        width = self.run_width(lanes)
        sweep = self.count * width
        start = self.scaled(width)
        number = 0
        for place in itertools.product(*(range(size) for _, size in others)):
            fixed = {
                axis: Coordinate(None, position)
                for (axis, _), position in zip(others, place, strict=True)
            }
            for first in range(0, lanes, sweep):
                mask = self.below((lanes - first) // width)
                fixed[lane] = Coordinate(start, first)
                yield Run(dict(fixed), lane, width, mask, number, sweep - 1)
                number += 1

    def everywhere(self, axes: Sequence[Extent]) -> Iterator[Run]:
        """Every point in every thread."""
        places = itertools.product(*(range(size) for _, size in axes))
        for number, place in enumerate(places):
            fixed = {
                axis: Coordinate(None, position)
                for (axis, _), position in zip(axes, place, strict=True)
            }
            yield Run(fixed, number=number)

    # --- a matrix unit's results -------------------------------------------------

    def on_fragments(self, axes: Sequence[Extent]) -> Iterator[Run]:
        """The elements of a product that this thread holds.

        Each warp has a part of the rows and columns. A thread has neighbours in
        columns ``2*(t % 4)`` of rows ``t / 4`` and eight below, in every piece of 16
        by 8 (PTX ISA, "Matrix fragments for mma.m16n8k16").
        """
        *others, (row, rows), (column, columns) = axes
        assert not others, "the axes of a product's results"
        first_row, first_column = self.fragment_start(rows, columns)
        _, warp_columns = self.part(rows, columns)
        number = 0
        for down in self._fragment_rows(rows, columns):
            for across in range(0, warp_columns, 8):
                places = {
                    row: Coordinate(first_row, down),
                    column: Coordinate(first_column, across),
                }
                yield Run(places, column, 2, None, number)
                number += 1

    def on_fragment_rows(self, axes: Sequence[Extent]) -> Iterator[Run]:
        """The rows of which this thread holds results; of four threads all the same."""
        ((row, rows),) = axes
        first_row, _ = self.fragment_start(rows, 8)
        for number, down in enumerate(self._fragment_rows(rows, 8)):
            yield Run({row: Coordinate(first_row, down)}, number=number)

    def _fragment_rows(self, rows: int, columns: int) -> list[int]:
        """Where a warp's pieces of eight rows are, from its first one."""
        if self.is_warpgroup:
            return [
                first + down
                for first in range(0, rows, WARPGROUP_ROWS)
                for down in (0, 8)
            ]
        return list(range(0, self.part(rows, columns)[0], 8))

    def fragment_start(self, rows: int, columns: int) -> tuple[str, str]:
        """The first row and column of a thread's own results."""
        assign = self.builder.assign
        down, across = self.warp_start(rows, columns)
        lane = assign("b32", "and.b32", f"{self.index.text}, 31")
        row = assign("b32", "shr.u32", f"{lane}, 2")
        column = assign("b32", "and.b32", f"{lane}, 3")
        return (
            assign("b32", "add.s32", f"{down}, {row}"),
            assign("b32", "mad.lo.s32", f"{column}, 2, {across}"),
        )

    def warp_start(self, rows: int, columns: int) -> tuple[str, str]:
        """The first row and column of the part that a warp computes."""
        assign = self.builder.assign
        warp_rows, warp_columns = self.part(rows, columns)
        if self.is_warpgroup:
            warp_rows = WARPGROUP_ROWS // (self.count // WARP)
        beside = columns // warp_columns
        warp = assign("b32", "shr.u32", f"{self.index.text}, 5")
        down = assign("b32", "div.u32", f"{warp}, {beside}")
        across = assign("b32", "rem.u32", f"{warp}, {beside}")
        return (
            assign("b32", "mul.lo.s32", f"{down}, {warp_rows}"),
            assign("b32", "mul.lo.s32", f"{across}, {warp_columns}"),
        )

    # --- all axes ----------------------------------------------------------------

    def flat_width(self, axes: Sequence[Extent]) -> int:
        """Neighbours that a thread takes where all axes are dealt out."""
        width, lanes = self.width, axes[-1][1]
        points = math.prod(size for _, size in axes)
        least = self.count if self.is_even else 1
        while width > 1 and (lanes % width or points // width < least):
            width //= 2
        return width

    def flat_runs(self, axes: Sequence[Extent]) -> int:
        """How many runs each thread has where all axes are dealt out."""
        points = math.prod(size for _, size in axes)
        return -(-points // (self.flat_width(axes) * self.count))

    def flat_run(self, axes: Sequence[Extent], sweep: Value | int) -> Run:
        """A thread's run number ``sweep`` where all axes are dealt out."""
        lane, lanes = axes[-1]
        width = self.flat_width(axes)
        row_units = lanes // width
        units = math.prod(size for _, size in axes) // width
        if isinstance(sweep, int) and row_units % self.count == 0:
            return self._inside_rows(axes, sweep, width)
        offset = 0
        index = self.index
        if isinstance(sweep, int):
            if self.count % row_units == 0 or len(axes) == 1:
                offset = sweep * self.count
            else:
                index = self._plus(index, constant(sweep * self.count, INDEX))
        else:
            index = self.builder.compute(
                "mad.lo.s32", INDEX, sweep, constant(self.count, INDEX), self.index
            )
        mask = self._mask(index, offset, units)
        places = self._places(axes, index, offset, width)
        return Run(places, lane, width, mask)

    def _inside_rows(self, axes: Sequence[Extent], sweep: int, width: int) -> Run:
        """A run where one row of lanes has work for all threads, perhaps repeatedly."""
        *others, (lane, lanes) = axes
        row, column = divmod(sweep * self.count, lanes // width)
        places = {lane: Coordinate(self.scaled(width), column * width)}
        for axis, size in reversed(others):
            row, position = divmod(row, size)
            places[axis] = Coordinate(None, position)
        return Run(places, lane, width)

    def _mask(self, index: Value, offset: int, units: int) -> str | None:
        if index is self.index and offset + self.count <= units:
            return None
        limit = constant(units - offset, INDEX)
        return self.builder.compute("setp.lt.s32", _BOOL, index, limit).text

    def _plus(self, index: Value, amount: Value) -> Value:
        if amount.constant == 0:
            return index
        return self.builder.compute("add.s32", INDEX, index, amount)

    def _places(
        self, axes: Sequence[Extent], index: Value, offset: int, width: int
    ) -> dict[int, Coordinate]:
        """Each axis from a flat index, the last axis in runs."""
        lane, lanes = axes[-1]
        row_units = lanes // width
        if len(axes) == 1:
            return {lane: Coordinate(self._times(index, width).text, offset * width)}
        places = {}
        rest, column = self._divide(index, row_units)
        places[lane] = Coordinate(self._times(column, width).text)
        rest_offset = offset // row_units
        others = list(axes[:-1])
        if len(others) > 1:
            rest = self._plus(rest, constant(rest_offset, INDEX))
            rest_offset = 0
        for axis, size in reversed(others[1:]):
            rest, position = self._divide(rest, size)
            places[axis] = Coordinate(position.text)
        places[others[0][0]] = Coordinate(rest.text, rest_offset)
        return places

    def _times(self, index: Value, factor: int) -> Value:
        if factor == 1:
            return index
        return self.builder.compute("mul.lo.s32", INDEX, index, constant(factor, INDEX))

    def _divide(self, index: Value, divisor: int) -> tuple[Value, Value]:
        if divisor == 1:
            return index, constant(0, INDEX)
        whole = division.quotient(self.builder, index.text, divisor)
        rest = division.remainder(self.builder, index.text, divisor)
        return Value(whole, INDEX), Value(rest, INDEX)


def warp_part(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a product that one warp computes on the matrix unit.

    A square of 64 has the sums that just fit into a thread's registers.
    """
    if min(rows, columns) >= 128 and rows % 64 == columns % 64 == 0:
        return 64, 64
    return rows // 2, columns // 2


def wanted_threads(axes: Sequence[Extent], width: int, *, flat: bool) -> int:
    """Threads that have something to do in a statement."""
    if not axes:
        return 1
    lanes = axes[-1][1]
    points = math.prod(size for _, size in axes) if flat else lanes
    return -(-points // width)
