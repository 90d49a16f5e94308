"""Products of half-width floats on the matrix unit: ldmatrix and mma.sync.

A block's four or eight warps each compute a part of the results. In every step of 16
along the depth a warp reads its rows and columns as pieces of 8 by 8, transposed where
the tile has the other order, and multiplies every piece of 16 rows by every one of 8
columns. Sums stay in the registers that :meth:`Threads.on_fragments` describes.
"""

from __future__ import annotations

from tetragrad.backends.cuda.emit import formats
from tetragrad.backends.cuda.emit.ptx import Builder, Value
from tetragrad.backends.cuda.emit.spread import Threads, warp_part
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.tile.ir import Mma, Tile

ROWS, COLUMNS, DEPTH = 16, 8, 16

Key = tuple[int, ...]


def multiply_fragments(values: Values, threads: Threads, product: Mma) -> None:
    """Add a product to the accumulator's elements that this thread holds."""
    offsets = (*product.lhs_offset, *product.rhs_offset)
    if any(form.terms or form.constant for form in offsets):
        raise UnsupportedError("a part of a tile as operand of the matrix unit on CUDA")
    builder = values.builder
    elements = values.registers[product.accumulator.name]
    own_registers(builder, elements)
    down, across = threads.warp_start(product.rows, product.columns)
    lhs = _Side(values, threads, product.lhs, down, first_is_depth=False)
    rhs = _Side(values, threads, product.rhs, across, first_is_depth=True)
    kind = formats.HALVES[product.lhs.dtype]
    name = f"mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32"
    warp_rows, warp_columns = warp_part(product.rows, product.columns)
    for depth in range(0, product.depth, DEPTH):
        rows = [lhs.load(place, depth) for place in range(0, warp_rows, ROWS)]
        columns = [
            pair
            for place in range(0, warp_columns, 2 * COLUMNS)
            for pair in _pairs(rhs.load(place, depth))
        ]
        for row, left in enumerate(rows):
            for column, right in enumerate(columns):
                sums = [
                    elements[key].text for key in _keys(row * ROWS, column * COLUMNS)
                ]
                shown = f"{{{', '.join(sums)}}}"
                builder.line(
                    f"{name} {shown}, {{{', '.join(left)}}}, "
                    f"{{{', '.join(right)}}}, {shown}"
                )


def _pairs(registers: tuple[str, ...]) -> list[tuple[str, str]]:
    first, second, third, fourth = registers
    return [(first, second), (third, fourth)]


def _keys(row: int, column: int) -> list[Key]:
    """The four results of a piece of 16 by 8 that one thread holds, in order."""
    return [
        (row, column),
        (row, column + 1),
        (row + 8, column),
        (row + 8, column + 1),
    ]


def own_registers(builder: Builder, elements: dict[Key, Value]) -> None:
    """Give each element a register that the matrix unit may change."""
    for key, value in elements.items():
        if value.text not in builder.changing:
            register = builder.register("f32")
            builder.move(register, "f32", value)
            builder.changing.add(register)
            elements[key] = Value(register, value.dtype)


@frozen
class _Side:
    """One operand: where this thread's rows of 8 elements start, and how it goes on.

    The operand is ``tile[depth, side]``. ``first_is_depth`` says that the first two of
    the four pieces that are loaded together follow one another along the depth.
    """

    values: Values
    threads: Threads
    tile: Tile
    start: str
    first_is_depth: bool

    @property
    def strides(self) -> tuple[int, ...]:
        return self.tile.layout.strides

    def load(self, place: int, depth: int) -> tuple[str, ...]:
        """Four pieces of 8 by 8: 16 along the side by 16 along the depth."""
        by_depth = self.strides[0] == 1
        builder = self.values.builder
        offset = (depth * self.strides[0] + place * self.strides[1]) * 2
        registers = tuple(builder.register("b32") for _ in range(4))
        transposed = "" if by_depth else ".trans"
        builder.line(
            f"ldmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 "
            f"{{{', '.join(registers)}}}, [{self._base(by_depth)}+{offset}]"
        )
        return registers

    def _base(self, by_depth: bool) -> str:
        """The address of the row of 8 elements that this thread names."""
        assign = self.values.builder.assign
        lane = assign("b32", "and.b32", f"{self.threads.index.text}, 31")
        row = assign("b32", "and.b32", f"{lane}, 7")
        piece = assign("b32", "shr.u32", f"{lane}, 3")
        low = assign("b32", "and.b32", f"{piece}, 1")
        high = assign("b32", "shr.u32", f"{piece}, 1")
        along_depth, along_side = (low, high) if self.first_is_depth else (high, low)
        depth = assign("b32", "mul.lo.s32", f"{along_depth}, 8")
        side = assign("b32", "mad.lo.s32", f"{along_side}, 8, {self.start}")
        if by_depth:
            side = assign("b32", "add.s32", f"{side}, {row}")
        else:
            depth = assign("b32", "add.s32", f"{depth}, {row}")
        place = assign("b32", "mul.lo.s32", f"{depth}, {self.strides[0]}")
        place = assign("b32", "mad.lo.s32", f"{side}, {self.strides[1]}, {place}")
        base = self.values.storages[self.tile.name].base
        return assign("b32", "mad.lo.s32", f"{place}, 2, {base}")
