"""One kernel over the pieces of many buffers: the step of an optimiser, say.

A piece's program computes at most ``PIECE`` elements; its last scalar says how many.
Beside its ordinary kernel it gets one whose blocks find their piece in tables:

    pieces    for each piece its member, and its number within the member
    members   the bytes by which an element moves each slot; then for each member the
              addresses of its slots, its scalars, and its number of elements

A few iterations of the program run side by side in one block, which then goes on with
the next ones: so it has enough threads, and reads the tables seldom.
What is computed for a whole piece has no guards, and moves 16 bytes at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.blocks import Block, SharedMemory
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.program import (
    GridLaunch,
    scalar_at,
    stored_slots,
)
from tetragrad.backends.cuda.emit.ptx import INDEX, Builder, Value, constant
from tetragrad.backends.cuda.emit.spread import Coordinate, Threads
from tetragrad.backends.cuda.emit.statements import Statements
from tetragrad.backends.cuda.emit.thread_counts import (
    FLAT_THREADS,
    thread_count,
    widths_of,
)
from tetragrad.backends.cuda.emit.tiles import find_homes
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.core import dtypes
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.expression import Given, Scalar
from tetragrad.tile.ir import Grid, Program, When
from tetragrad.tile.plans.pieces import PIECE

#: Threads of a multiprocessor that there must be registers for, of four elements each:
#: so many loads in flight are needed to use the memory fully.
PIECE_THREADS = 1536
#: How often a block goes on.
ROUNDS = 4
#: What a cell of a table takes.
CELL_BYTES = 8


def piece_grid(program: Program) -> Grid | None:
    """The one grid of a program for a piece that may end early; None for others."""
    if program.scratch or len(program.body) != 1:
        return None
    (grid,) = program.body
    if not isinstance(grid, Grid) or len(grid.body) != 1:
        return None
    (inner,) = grid.body
    if not isinstance(inner, When) or not inner.guard or not program.scalars:
        return None
    atoms = {atom for atom, _ in inner.guard[0].terms}
    return grid if _count_of(program) in atoms else None


def _count_of(program: Program) -> Given:
    """The value that says how many elements a piece has."""
    return Given(Scalar(len(program.scalars) - 1, dtypes.int64), 1, PIECE)


def emit_pieces(
    program: Program, target: Target, settings: Settings
) -> tuple[str, GridLaunch] | None:
    """The kernel over pieces, and its launch for a single one.

    None unless the program computes a piece.
    """
    grid = piece_grid(program)
    if grid is None:
        return None
    emitter = _PiecesEmitter(program, grid, target, settings)
    name = f"{program.name}_pieces"
    return emitter.kernel(name), emitter.launch(name)


class _PiecesEmitter:
    """Writes a piece's grid as a kernel that reads where it works from tables."""

    def __init__(
        self, program: Program, grid: Grid, target: Target, settings: Settings
    ) -> None:
        self.program = program
        self.grid = grid
        self.contract = settings.fma
        self.builder = Builder()
        self.ops = Operations(self.builder, target.features)
        self.homes = find_homes(grid.body)
        widths = widths_of(program, grid)
        self.iterations = math.prod(extent for _, extent in grid.axes)
        count = thread_count(grid, self.homes, widths)
        self.together = math.gcd(max(1, FLAT_THREADS // count), self.iterations)
        self.rounds = math.gcd(ROUNDS, self.iterations // self.together)
        self.blocks = self.iterations // (self.together * self.rounds)
        self.threads = count * self.together
        index = Value(self.builder.assign("b32", "mov.u32", "%tid.x"), INDEX)
        self.group, thread = self._divide(index, count)
        self.threads_of_one = Threads(self.builder, count, widths.even, thread)
        block = Value(self.builder.assign("b32", "mov.u32", "%ctaid.x"), INDEX)
        piece, self.part = self._divide(block, self.blocks)
        self.values = self._values(piece)

    # --- where ---------------------------------------------------------------------

    def _divide(self, number: Value, divisor: int) -> tuple[Value, Value]:
        by = constant(divisor, INDEX)
        compute = self.builder.compute
        return (
            compute("div.u32", INDEX, number, by),
            compute("rem.u32", INDEX, number, by),
        )

    def _table(self, place: int) -> str:
        generic = self.builder.assign("b64", "ld.param.b64", f"[p{place}]")
        return self.builder.assign("b64", "cvta.to.global.u64", generic)

    def _values(self, piece: Value) -> Values:
        """The slots and scalars of the member that a piece belongs to."""
        assign, program = self.builder.assign, self.program
        slots, scalars = len(program.slots), len(program.scalars)
        pieces, members = self._table(0), self._table(1)
        entry = assign("b64", "mad.wide.u32", f"{piece.text}, {CELL_BYTES}, {pieces}")
        member, index = self.builder.register("b32"), self.builder.register("b32")
        self.builder.line(f"ld.global.nc.v2.b32 {{{member}, {index}}}, [{entry}]")
        row_bytes = (slots + scalars) * CELL_BYTES
        row = assign("b64", "mad.wide.u32", f"{member}, {row_bytes}, {members}")
        offset = assign("b64", "mul.wide.u32", f"{index}, {PIECE}")
        storages = [
            Storage(self._moved(members, row, place, offset), slot.dtype, "global")
            for place, slot in enumerate(program.slots)
        ]
        first = 2 * slots
        found = [
            scalar_at(self.ops, dtype, "global.nc", f"[{row}+{CELL_BYTES * cell}]")
            for cell, dtype in enumerate(program.scalars, first)
        ]
        left = assign("b64", "sub.s64", f"{found[-1].text}, {offset}")
        self.is_whole = assign("pred", "setp.ge.s64", f"{left}, {PIECE}")
        count = Value(assign("b64", "min.s64", f"{left}, {PIECE}"), dtypes.int64)
        written = frozenset(stored_slots(self.grid.body))
        return Values(self.ops, storages, [*found[:-1], count], written)

    def _moved(self, members: str, row: str, place: int, offset: str) -> str:
        """A slot's address at the start of a piece."""
        assign = self.builder.assign
        slots = len(self.program.slots)
        step = assign("b64", "ld.global.nc.b64", f"[{members}+{CELL_BYTES * place}]")
        cell = CELL_BYTES * (slots + place)
        start = assign("b64", "ld.global.nc.b64", f"[{row}+{cell}]")
        moved = assign("b64", "mad.lo.s64", f"{offset}, {step}, {start}")
        return assign("b64", "cvta.to.global.u64", moved)

    # --- what ----------------------------------------------------------------------

    def kernel(self, name: str) -> str:
        """The whole text of the kernel."""
        for whole in (True, False):
            self.values.ample = _count_of(self.program) if whole else None
            with self.builder.only_if(self.is_whole, negated=not whole):
                self._rounds()
        return "\n".join(
            [
                f".visible .entry {name}(.param .b64 p0, .param .b64 p1)",
                f".maxntid {self.threads}, 1, 1",
                f".minnctapersm {self._least_blocks()}",
                "{",
                *self.builder.declarations(),
                *self.builder.lines,
                "\tret;",
                "}",
            ]
        )

    def launch(self, name: str) -> GridLaunch:
        """How the kernel is launched over one piece."""
        return GridLaunch(name, self.blocks, self.threads, 0)

    def _least_blocks(self) -> int:
        """Blocks that a multiprocessor must have room for; wider ones need more."""
        is_wide = self.threads_of_one.width > 4
        threads = PIECE_THREADS // 2 if is_wide else PIECE_THREADS
        return max(1, threads // self.threads)

    def _rounds(self) -> None:
        """The iterations of a block, one after the other."""
        builder = self.builder
        first = builder.assign(
            "b32", "mad.lo.s32", f"{self.part.text}, {self.rounds}, 0"
        )
        number, last = builder.register("b32"), builder.register("b32")
        more, again = builder.register("pred"), builder.label()
        builder.line(f"mov.b32 {number}, {first}")
        builder.line(f"add.s32 {last}, {number}, {self.rounds}")
        builder.place(again)
        with builder.scope():
            operands = f"{number}, {self.together}, {self.group.text}"
            iteration = builder.assign("b32", "mad.lo.s32", operands)
            self._one_round(Value(iteration, INDEX))
        builder.line(f"add.s32 {number}, {number}, 1")
        builder.line(f"setp.lt.s32 {more}, {number}, {last}")
        builder.line(f"@{more} bra {again}")

    def _one_round(self, rest: Value) -> None:
        """One iteration of the program."""
        for axis, extent in reversed(self.grid.axes):
            rest, position = self._divide(rest, extent)
            self.values.extents[axis] = extent
            self.values.places[axis] = Coordinate(position.text)
        block = Block(self.ops, self.threads_of_one, SharedMemory(self.builder))
        statements = Statements(self.values, self.homes, block, contract=self.contract)
        statements.emit(self.grid.body)


# --- tables --------------------------------------------------------------------------


def piece_table(counts: Sequence[int]) -> np.ndarray:
    """For every piece its member, and its number within the member."""
    pieces = [-(-count // PIECE) for count in counts]
    members = np.repeat(np.arange(len(counts), dtype=np.uint32), pieces)
    indices = [np.arange(number, dtype=np.uint32) for number in pieces]
    return np.stack([members, np.concatenate(indices)], axis=1)


def member_table(
    steps: Sequence[int],
    counts: Sequence[int],
    slots: Sequence[int],
    scalars: Sequence[int],
) -> np.ndarray:
    """The steps; then for each member its addresses, scalars and elements."""
    addresses = np.array(slots, np.uint64).reshape(len(counts), -1)
    cells = np.array(scalars, np.uint64).reshape(len(counts), -1)
    elements = np.array(counts, np.uint64).reshape(-1, 1)
    rows = np.concatenate([addresses, cells, elements], axis=1)
    return np.concatenate([np.array(steps, np.uint64), rows.reshape(-1)])
