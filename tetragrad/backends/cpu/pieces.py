"""One launch of a small program on the pieces of many buffers.

The driver is one function for all such launches. It gets a table with the addresses
of all buffers, and one that does not change from launch to launch with their sizes.
From both it makes the arguments of one piece after the other; threads share the
pieces.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tetragrad.backends.backend import Executable
from tetragrad.backends.cpu import compiler, pool
from tetragrad.core.once import once

if TYPE_CHECKING:
    from tetragrad.backends.cpu.device import CpuProgram

#: Elements from which on a launch is shared among threads, in so many parts.
SHARED_FROM = 1 << 15
PARTS = 16
#: Arguments of one piece, at most: they are put together on the stack.
MOST_ARGUMENTS = 128

_NAME = "tetragrad_run_pieces"

# The sizes are numbers of eight bytes: what to call for a whole piece, the numbers of
# slots and scalars, the size of a piece, the number of parts; the addresses of the
# slots' steps, of the members' counts, and of the number of pieces before each member;
# the number of members, and what to call for a shorter piece.
_TEXT = f"""\
declare void @{pool.PARALLEL}(ptr, ptr, ptr, i64)

define internal i64 @size(ptr %sizes, i64 %place) {{
  %cell = getelementptr i64, ptr %sizes, i64 %place
  %value = load i64, ptr %cell
  ret i64 %value
}}

define internal i64 @table_entry(ptr %sizes, i64 %place, i64 %index) {{
  %address = call i64 @size(ptr %sizes, i64 %place)
  %table = inttoptr i64 %address to ptr
  %value = call i64 @size(ptr %table, i64 %index)
  ret i64 %value
}}

define void @{_NAME}(ptr %pool, ptr %launch) {{
  %sizes = load ptr, ptr %launch
  %cells_cell = getelementptr ptr, ptr %launch, i64 1
  %cells = load ptr, ptr %cells_cell
  %parts = call i64 @size(ptr %sizes, i64 4)
  %shared = alloca [3 x ptr]
  store ptr %sizes, ptr %shared
  %second = getelementptr ptr, ptr %shared, i64 1
  store ptr %cells, ptr %second
  %third = getelementptr ptr, ptr %shared, i64 2
  store ptr %pool, ptr %third
  %alone = icmp sle i64 %parts, 1
  br i1 %alone, label %serial, label %parallel
serial:
  call void @run_part(ptr %shared, i64 0, i64 1)
  ret void
parallel:
  call void @{pool.PARALLEL}(ptr %pool, ptr @run_part, ptr %shared, i64 %parts)
  ret void
}}

define internal void @run_part(ptr %shared, i64 %part, i64 %parts) {{
start:
  %sizes = load ptr, ptr %shared
  %second = getelementptr ptr, ptr %shared, i64 1
  %cells = load ptr, ptr %second
  %third = getelementptr ptr, ptr %shared, i64 2
  %pool = load ptr, ptr %third
  %whole_address = call i64 @size(ptr %sizes, i64 0)
  %whole = inttoptr i64 %whole_address to ptr
  %rest_address = call i64 @size(ptr %sizes, i64 9)
  %rest = inttoptr i64 %rest_address to ptr
  %slots = call i64 @size(ptr %sizes, i64 1)
  %scalars = call i64 @size(ptr %sizes, i64 2)
  %piece = call i64 @size(ptr %sizes, i64 3)
  %members = call i64 @size(ptr %sizes, i64 8)
  %total = call i64 @table_entry(ptr %sizes, i64 7, i64 %members)
  %scaled = mul i64 %part, %total
  %first = udiv i64 %scaled, %parts
  %next_part = add i64 %part, 1
  %next_scaled = mul i64 %next_part, %total
  %last = udiv i64 %next_scaled, %parts
  %row = alloca [{MOST_ARGUMENTS} x i64]
  %count = alloca i64
  %arguments = add i64 %slots, %scalars
  %count_cell = getelementptr i64, ptr %row, i64 %arguments
  %count_address = ptrtoint ptr %count to i64
  store i64 %count_address, ptr %count_cell
  %all_slots = mul i64 %members, %slots
  %any = icmp ult i64 %first, %last
  br i1 %any, label %next, label %end

next:
  %number = phi i64 [ %first, %start ], [ %following, %run ]
  %before = phi i64 [ 0, %start ], [ %member, %run ]
  br label %find
find:
  %member = phi i64 [ %before, %next ], [ %later, %find ]
  %later = add i64 %member, 1
  %end_of_member = call i64 @table_entry(ptr %sizes, i64 7, i64 %later)
  %is_later = icmp uge i64 %number, %end_of_member
  br i1 %is_later, label %find, label %found
found:
  %first_piece = call i64 @table_entry(ptr %sizes, i64 7, i64 %member)
  %index = sub i64 %number, %first_piece
  %offset = mul i64 %index, %piece
  %elements = call i64 @table_entry(ptr %sizes, i64 6, i64 %member)
  %left = sub i64 %elements, %offset
  %is_whole = icmp uge i64 %left, %piece
  %here = select i1 %is_whole, i64 %piece, i64 %left
  store i64 %here, ptr %count
  %slot_base = mul i64 %member, %slots
  br label %slot
slot:
  %s = phi i64 [ 0, %found ], [ %s_next, %slot ]
  %slot_place = add i64 %slot_base, %s
  %address = call i64 @size(ptr %cells, i64 %slot_place)
  %step = call i64 @table_entry(ptr %sizes, i64 5, i64 %s)
  %moved = mul i64 %offset, %step
  %moved_address = add i64 %address, %moved
  %slot_cell = getelementptr i64, ptr %row, i64 %s
  store i64 %moved_address, ptr %slot_cell
  %s_next = add i64 %s, 1
  %more_slots = icmp ult i64 %s_next, %slots
  br i1 %more_slots, label %slot, label %slots_done
slots_done:
  %own_scalars = mul i64 %member, %scalars
  %scalar_base = add i64 %all_slots, %own_scalars
  %has_scalars = icmp ugt i64 %scalars, 0
  br i1 %has_scalars, label %scalar, label %run
scalar:
  %q = phi i64 [ 0, %slots_done ], [ %q_next, %scalar ]
  %scalar_place = add i64 %scalar_base, %q
  %scalar_address = call i64 @size(ptr %cells, i64 %scalar_place)
  %q_place = add i64 %slots, %q
  %scalar_cell = getelementptr i64, ptr %row, i64 %q_place
  store i64 %scalar_address, ptr %scalar_cell
  %q_next = add i64 %q, 1
  %more_scalars = icmp ult i64 %q_next, %scalars
  br i1 %more_scalars, label %scalar, label %run
run:
  %entry = select i1 %is_whole, ptr %whole, ptr %rest
  call void %entry(ptr %pool, ptr %row)
  %following = add i64 %number, 1
  %more = icmp ult i64 %following, %last
  br i1 %more, label %next, label %end
end:
  ret void
}}
"""
_Driver = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


@once
def _driver() -> tuple[compiler.LoadedModule, int, Callable[[int | None, int], None]]:
    """The compiled driver, with the module that keeps it in memory."""
    symbols = {pool.PARALLEL: pool.parallel_address()}
    module = compiler.load(compiler.assemble(_TEXT), symbols)
    address = module.address(_NAME)
    return module, address, _Driver(address)


class CpuPieces(Executable):
    """Programs that are run on every piece of several buffers in one launch."""

    uses_threads = True

    def __init__(
        self,
        whole: CpuProgram,
        rest: CpuProgram,
        steps: Sequence[int],
        counts: Sequence[int],
        piece: int,
    ) -> None:
        assert not whole.scratch_sizes and not rest.scratch_sizes
        assert rest.arguments <= MOST_ARGUMENTS
        self._programs = (whole, rest)
        self._slots, self._members = len(steps), len(counts)
        _, self.address, self._run = _driver()
        pieces = [-(-count // piece) for count in counts]
        self._tables = [
            np.array(table, np.int64)
            for table in (steps, counts, np.cumsum([0, *pieces]))
        ]
        parts = PARTS if sum(counts) >= SHARED_FROM else 1
        self._sizes = np.array(
            [
                whole.address,
                len(steps),
                whole.arguments - len(steps),
                piece,
                min(parts, sum(pieces)),
                *(table.ctypes.data for table in self._tables),
                len(counts),
                rest.address,
            ],
            np.uint64,
        )

    @property
    def in_place(self) -> tuple[tuple[int, int], ...]:
        whole, rest = self._programs
        both = [pair for pair in whole.in_place if pair in rest.in_place]
        starts = range(0, self._members * self._slots, self._slots)
        return tuple((start + o, start + i) for start in starts for o, i in both)

    def launch_block(self, cells: int) -> np.ndarray:
        """What the driver is given, for arguments that lie at an address."""
        return np.array([self._sizes.ctypes.data, cells], np.uint64)

    def launch(self, addresses: Sequence[int]) -> None:
        """Run with the addresses of all members' slots, then of their scalars."""
        cells = np.array(addresses, np.uint64)
        block = self.launch_block(cells.ctypes.data)
        self._run(pool.state_address(), block.ctypes.data)
