"""Products by instructions for whole tiles: Intel's advanced matrix extensions.

    configure the tile registers
    load the totals                            16 rows of 16 columns each
    for 16 groups of the depth:
        load tiles of lhs and rhs              16 rows (or groups) of 64 bytes
        total += lhs tile x rhs tile           each with each
    store the totals, release the registers

A processor has eight tile registers, which LLVM does not allocate: instructions name
them by number. Rows of ``lhs`` have the order of the depth, and ``rhs`` has a row of
columns for each group, as products by vectors want it too.
"""

from __future__ import annotations

import itertools

from tetragrad.backends.cpu.emit.expressions import Expressions
from tetragrad.backends.cpu.emit.operands import ProductOperand, emit_fetch, operand_of
from tetragrad.backends.cpu.emit.vector import scalar_type
from tetragrad.core.target import DotStep
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.tile.ir import Mma

REGISTERS = 8
#: Of a register's row.
ROW_BYTES = 64
#: Columns of a total, of four bytes each.
COLUMNS = ROW_BYTES // 4
#: What ``ldtilecfg`` reads: bytes of a register's row from here on, in two bytes
#: each, and then its rows.
_CONFIGURATION_BYTES, _WIDTHS_AT, _ROWS_AT = 64, 16, 48

_DECLARATIONS = (
    "declare void @llvm.x86.ldtilecfg(ptr)",
    "declare void @llvm.x86.tilerelease()",
    "declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)",
    "declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)",
)


def emit_tiles(expressions: Expressions, product: Mma, step: DotStep) -> None:
    """Write one Mma statement with tile registers."""
    forms = [*product.lhs_offset, *product.rhs_offset]
    expressions.evaluate(expressions.prepare([], forms))
    _TileProduct(expressions, product, step).emit()


class _TileProduct:
    """One product: which registers hold what, and the loop over the depth."""

    def __init__(self, expressions: Expressions, product: Mma, step: DotStep) -> None:
        self.expressions, self.product, self.step = expressions, product, step
        self.builder = expressions.builder
        self.lhs = operand_of(expressions, product.lhs, product.group)
        self.rhs = operand_of(expressions, product.rhs, product.group)
        assert self.lhs.by_step == 1 and self.rhs.by_side == 1
        assert product.depth % step.groups == 0, "packing fills the last tile"
        self.rows = _parts(product.rows, step.rows)
        self.columns = _parts(product.columns, COLUMNS)
        # Registers: totals, then tiles of each operand.
        self.first_lhs = len(self.rows) * len(self.columns)
        self.first_rhs = self.first_lhs + len(self.rows)
        assert self.first_rhs + len(self.columns) <= REGISTERS

    def emit(self) -> None:
        """The whole product."""
        self.builder.declarations.update(_DECLARATIONS)
        self._fetch_ahead()
        self._line(f"ldtilecfg(ptr {self._configuration()})")
        self._move_totals("tileloadd64")
        scopes = self.expressions.scopes
        turn = scopes.fresh_axis()
        with scopes.loop(turn, self.product.depth // self.step.groups):
            self._turn(axis_form(turn).scale(self.step.groups))
        self._move_totals("tilestored64")
        self._line("tilerelease()")

    def _turn(self, depth: Affine) -> None:
        """One tile of the depth."""
        sides = (
            (self.lhs, self.product.lhs_offset, self.rows, self.first_lhs),
            (self.rhs, self.product.rhs_offset, self.columns, self.first_rhs),
        )
        for operand, offset, parts, first in sides:
            form = operand.form(offset, depth, ZERO)
            corner = self.expressions.memory.pointer(operand.storage, form)
            self._load_operand(operand, corner, parts, first)
        for row, column in itertools.product(
            range(len(self.rows)), range(len(self.columns))
        ):
            self._multiply(row, column)

    def _load_operand(
        self,
        operand: ProductOperand,
        corner: str,
        parts: list[tuple[int, int]],
        first: int,
    ) -> None:
        """A tile for each part of a side, from the corner of a region on."""
        # Neighbouring rows of a register are positions of lhs, but groups of rhs.
        between = operand.by_side if operand is self.lhs else operand.by_step
        for number, (start, _) in enumerate(parts, start=first):
            place = self._moved(corner, operand.element_type, start * operand.by_side)
            self._line(f"tileloadd64(i8 {number}, ptr {place}, i64 {4 * between})")

    def _multiply(self, row: int, column: int) -> None:
        total = row * len(self.columns) + column
        operands = (total, self.first_lhs + row, self.first_rhs + column)
        name = self.step.name
        immediate = ", ".join(["i8 immarg"] * len(operands))
        self.builder.declarations.add(f"declare void @llvm.x86.{name}({immediate})")
        self._line(f"{name}({', '.join(f'i8 {number}' for number in operands)})")

    def _move_totals(self, instruction: str) -> None:
        """Between registers and the accumulator."""
        accumulator = self.product.accumulator
        storage = self.expressions.tiles[accumulator.name]
        by_row, by_column = accumulator.layout.strides
        assert by_column == 1, "an accumulator's columns lie next to each other"
        element = scalar_type(storage.element)
        parts = itertools.product(self.rows, self.columns)
        for number, ((row, _), (column, _)) in enumerate(parts):
            place = self._moved(storage.base, element, row * by_row + column)
            self._line(f"{instruction}(i8 {number}, ptr {place}, i64 {4 * by_row})")

    def _fetch_ahead(self) -> None:
        """Ask for what is needed after this product."""
        ahead = self.product.ahead
        if ahead is not None:
            axis, count = ahead.parts
            with self.expressions.scopes.loop(axis, count):
                emit_fetch(self.expressions, ahead.fetch)

    # --- registers ---------------------------------------------------------------

    def _configuration(self) -> str:
        """The name of a constant that says how large each register is."""
        data = bytearray(_CONFIGURATION_BYTES)
        data[0] = 1  # the palette of eight registers
        for number, (rows, width) in enumerate(self._shapes()):
            data[_WIDTHS_AT + 2 * number] = width
            data[_ROWS_AT + number] = rows
        shape = f"{self.product.rows}_{self.product.columns}"
        name = f"@tiles_{self.step.name}_{shape}"
        text = "".join(f"\\{byte:02x}" for byte in data)
        self.builder.declarations.add(
            f"{name} = private unnamed_addr constant "
            f'[{_CONFIGURATION_BYTES} x i8] c"{text}", align 64'
        )
        return name

    def _shapes(self) -> list[tuple[int, int]]:
        """Rows, and bytes of a row, of each register."""
        rows = [count for _, count in self.rows]
        widths = [4 * count for _, count in self.columns]
        totals = list(itertools.product(rows, widths))
        lhs = [(count, 4 * self.step.groups) for count in rows]
        return [*totals, *lhs, *((self.step.groups, width) for width in widths)]

    def _moved(self, pointer: str, element: str, offset: int) -> str:
        if not offset:
            return pointer
        return self.builder.assign(
            f"getelementptr {element}, ptr {pointer}, i64 {offset}"
        )

    def _line(self, call: str) -> None:
        self.builder.line(f"call void @llvm.x86.{call}")


def _parts(size: int, most: int) -> list[tuple[int, int]]:
    """The first position and the length of each register's part of a side."""
    return [(start, min(most, size - start)) for start in range(0, size, most)]
