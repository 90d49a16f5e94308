"""Products of float32 tiles with ordinary arithmetic: each thread sums a patch.

A warp has 32 rows and 64 columns of a block, a thread 8 by 8 of them. What it reads for
one step of the depth, 16 numbers, is used 64 times. Operands are read 16 bytes at once,
along the side or along the depth, whichever is contiguous. The positions of a thread
lie so that the addresses of a warp are in different banks either way:

    contiguous along the side     positions 4*t … 4*t + 3, and as many further on
    contiguous along the depth    positions t, t + T, t + 2*T, …  of T threads
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.backends.cuda.emit.matrix_unit.matrix import own_registers
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.emit.spread import WARP, Coordinate, Run, Threads
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.tile.ir import Extent, Mma, Space, Tile

#: Rows and columns of a block, and its warps: four down, two across.
SIDE = 128
WARPS_DOWN, WARPS_ACROSS = 4, 2
THREADS = WARPS_DOWN * WARPS_ACROSS * WARP
#: Threads of a warp down and across, and what each has of a side.
LANES_DOWN, LANES_ACROSS = 4, 8
EACH = 8
#: Elements of 16 bytes.
VECTOR = 4


def is_for_patches(product: Mma) -> bool:
    """Whether a product is of two float32 tiles and makes a whole block."""
    tiles = (product.lhs, product.rhs)
    return (
        product.rows == product.columns == SIDE
        and product.depth % VECTOR == 0
        and all(
            tile.dtype is dtypes.float32
            and tile.space is Space.SHARED
            and _is_in_vectors(tile)
            for tile in tiles
        )
        and product.accumulator.dtype is dtypes.float32
        and not any(form.terms or form.constant for form in product.lhs_offset)
        and not any(form.terms or form.constant for form in product.rhs_offset)
    )


def _is_in_vectors(tile: Tile) -> bool:
    """Whether one dimension is contiguous, and the other's steps are whole vectors."""
    strides = tile.layout.strides
    if len(strides) != 2 or 1 not in strides:
        return False
    return strides[1 - strides.index(1)] % VECTOR == 0


@frozen
class Patches:
    """How the positions of both sides are divided among threads."""

    deep_rows: bool
    deep_columns: bool

    @classmethod
    def of(cls, product: Mma) -> Patches:
        """The division that reads both operands without bank conflicts."""
        lhs, rhs = product.lhs.layout.strides, product.rhs.layout.strides
        return cls(lhs[0] == 1, rhs[0] == 1)

    @property
    def rows(self) -> list[int]:
        """A thread's rows, from its first one."""
        return positions(LANES_DOWN, deep=self.deep_rows)

    @property
    def columns(self) -> list[int]:
        return positions(LANES_ACROSS, deep=self.deep_columns)

    def starts(self, threads: Threads) -> tuple[str, str]:
        """Registers with the first row and the first column of a thread."""
        assign = threads.builder.assign
        index = threads.index.text
        warp = assign("b32", "shr.u32", f"{index}, 5")
        lane = assign("b32", "and.b32", f"{index}, 31")
        down = assign("b32", "div.u32", f"{lane}, {LANES_ACROSS}")
        across = assign("b32", "rem.u32", f"{lane}, {LANES_ACROSS}")
        warp_down = assign("b32", "div.u32", f"{warp}, {WARPS_ACROSS}")
        warp_across = assign("b32", "rem.u32", f"{warp}, {WARPS_ACROSS}")
        rows = assign("b32", "mul.lo.s32", f"{warp_down}, {LANES_DOWN * EACH}")
        columns = assign("b32", "mul.lo.s32", f"{warp_across}, {LANES_ACROSS * EACH}")
        row_step = 1 if self.deep_rows else VECTOR
        column_step = 1 if self.deep_columns else VECTOR
        return (
            assign("b32", "mad.lo.s32", f"{down}, {row_step}, {rows}"),
            assign("b32", "mad.lo.s32", f"{across}, {column_step}, {columns}"),
        )

    def runs(self, threads: Threads, axes: Sequence[Extent]) -> Iterator[Run]:
        """The elements of a block that this thread holds."""
        (row, _), (column, _) = axes
        first_row, first_column = self.starts(threads)
        width = 1 if self.deep_columns else VECTOR
        number = 0
        for down in self.rows:
            for across in self.columns[::width]:
                places = {
                    row: Coordinate(first_row, down),
                    column: Coordinate(first_column, across),
                }
                yield Run(places, column, width, None, number)
                number += 1


def positions(lanes: int, *, deep: bool) -> list[int]:
    """What a thread has of a side, from its first position."""
    if deep:
        return [lanes * number for number in range(EACH)]
    return [
        first + inside
        for first in range(0, lanes * EACH, lanes * VECTOR)
        for inside in range(VECTOR)
    ]


# --- products ------------------------------------------------------------------------


def multiply_patches(
    values: Values, threads: Threads, product: Mma, patches: Patches
) -> None:
    """Add a product to the sums, a few steps of the depth at a time."""
    builder = values.builder
    elements = values.registers[product.accumulator.name]
    own_registers(builder, elements)
    first_row, first_column = patches.starts(threads)
    lhs = _Side(values, product.lhs, first_row, patches.rows)
    rhs = _Side(values, product.rhs, first_column, patches.columns)
    for depth in range(0, product.depth, VECTOR):
        left: dict[tuple[int, int], str] = {}
        for vector in lhs.vectors(depth):
            left |= vector
        # Few registers hold the other operand: a vector is used as it comes.
        for vector in rhs.vectors(depth):
            for (step, column), right in vector.items():
                for row in patches.rows:
                    total = elements[row, column].text
                    factors = f"{left[step, row]}, {right}"
                    builder.line(f"fma.rn.f32 {total}, {factors}, {total}")


@frozen
class _Side:
    """One operand, ``tile[depth, side]``: where this thread reads it."""

    values: Values
    tile: Tile
    start: str
    positions: Sequence[int]

    @property
    def builder(self) -> Builder:
        return self.values.builder

    def vectors(self, depth: int) -> Iterator[dict[tuple[int, int], str]]:
        """Load four steps of the depth: registers by step and position."""
        if self.tile.layout.strides[0] == 1:
            for position in self.positions:
                registers = self._vector(depth, position)
                yield {(step, position): text for step, text in enumerate(registers)}
            return
        for step in range(VECTOR):
            for position in self.positions[::VECTOR]:
                registers = self._vector(depth + step, position)
                yield {(step, position + n): text for n, text in enumerate(registers)}

    def _vector(self, depth: int, position: int) -> list[str]:
        """Four neighbours from a place on."""
        along_depth, along_side = self.tile.layout.strides
        base = self.values.storages[self.tile.name].base
        nbytes = self.tile.dtype.itemsize
        operands = f"{self.start}, {along_side * nbytes}, {base}"
        address = self.builder.assign("b32", "mad.lo.s32", operands)
        offset = (depth * along_depth + position * along_side) * nbytes
        registers = [self.builder.register("f32") for _ in range(VECTOR)]
        shown = ", ".join(registers)
        self.builder.line(f"ld.shared.v4.f32 {{{shown}}}, [{address}+{offset}]")
        return registers
