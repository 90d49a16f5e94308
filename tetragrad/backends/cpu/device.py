"""The CPU as a device: text, object code, and programs that can be launched."""

from __future__ import annotations

import ctypes
import json
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from tetragrad.backends.backend import Device, Executable
from tetragrad.backends.cpu import compiler, pool, sequence
from tetragrad.backends.cpu.host import available_cores
from tetragrad.backends.cpu.pieces import CpuPieces
from tetragrad.backends.cpu.target import host_target
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target

if TYPE_CHECKING:
    from tetragrad.tile.ir import Program

# Packed bytes reach native code twice as fast as an array made for ctypes.
_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)

_SCRATCH_ALIGNMENT = 64
#: Threads that assemble programs, at most.
MOST_ASSEMBLERS = 8


@frozen
class Facts:
    """What loading object code needs to know of the program it was made from."""

    name: str
    arguments: int
    uses_threads: bool
    scratch_bytes: list[int]
    in_place: list[list[int]]


def facts_of(program: Program, target: Target) -> Facts:
    """The facts that are kept beside a program's object code."""
    # Emitters are imported when something is emitted: kept code needs none of them.
    from tetragrad.backends.cpu.emit.program import uses_threads
    from tetragrad.backends.cpu.emit.statements import elements_of
    from tetragrad.backends.cpu.emit.vector import memory_dtype
    from tetragrad.tile.in_place import in_place_pairs

    sizes = [
        elements_of(tile) * memory_dtype(tile.dtype).itemsize
        for tile in program.scratch
    ]
    arguments = len(program.slots) + len(program.scalars) + len(sizes)
    threads = uses_threads(program, target)
    pairs = [list(pair) for pair in in_place_pairs(program)]
    return Facts(program.name, arguments, threads, sizes, pairs)


class CpuProgram(Executable):
    """A loaded tile program. Calling it releases the interpreter's lock."""

    def __init__(self, facts: Facts, object_code: bytes) -> None:
        self.uses_threads = facts.uses_threads
        symbols = {pool.PARALLEL: pool.parallel_address()} if self.uses_threads else {}
        # The code stays in memory for as long as the module is referenced.
        self._module = compiler.load(object_code, symbols, [facts.name])
        self.address = self._module.address(facts.name)
        self._entry = _Entry(self.address)
        self._scratch_sizes = tuple(facts.scratch_bytes)
        self._in_place = tuple((output, entry) for output, entry in facts.in_place)
        self.arguments = facts.arguments
        self._pack = struct.Struct(f"{facts.arguments}Q").pack

    @property
    def scratch_sizes(self) -> tuple[int, ...]:
        return self._scratch_sizes

    @property
    def in_place(self) -> tuple[tuple[int, int], ...]:
        return self._in_place

    def launch(self, addresses: Sequence[int]) -> None:
        """Run with the addresses of the slots, then of the scalars' values."""
        if self._scratch_sizes:
            addresses = [*addresses, *_scratch.addresses(self._scratch_sizes)]
        state = pool.state_address() if self.uses_threads else None
        self._entry(state, self._pack(*addresses))


class _Scratch(threading.local):
    """Memory for the scratch tiles of whatever this thread launches, kept for reuse."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)

    def addresses(self, sizes: Sequence[int]) -> list[int]:
        """Where tiles of these sizes in bytes may be, one after the other."""
        places, total = [], 0
        for size in sizes:
            places.append(total)
            total += -(-size // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT
        if self._block.nbytes < total + _SCRATCH_ALIGNMENT:
            self._block = np.empty(total + _SCRATCH_ALIGNMENT, np.uint8)
        start = self._block.ctypes.data
        start += -start % _SCRATCH_ALIGNMENT
        return [start + place for place in places]


_scratch = _Scratch()


class CpuDevice(Device):
    """This machine's processor and its memory."""

    def __init__(self, name: str, target: Target | None = None) -> None:
        self.name = name
        self.target = target or host_target()
        self.assemblers = min(MOST_ASSEMBLERS, available_cores())

    def prepare(
        self,
        executables: Sequence[Executable],
        starts: Sequence[int],
        cells: np.ndarray,
    ) -> Callable[[], None]:
        first = cells.ctypes.data
        rows, kept = [], []
        uses_threads = False
        for executable, start in zip(executables, starts, strict=True):
            assert isinstance(executable, CpuProgram | CpuPieces)
            arguments = first + 8 * start
            if isinstance(executable, CpuPieces):
                block = executable.launch_block(arguments)
                arguments = block.ctypes.data
                kept.append(block)
            rows.append([executable.address, arguments])
            uses_threads = uses_threads or executable.uses_threads
        return sequence.prepare(rows, (cells, *kept), uses_threads=uses_threads)

    def over_pieces(
        self,
        whole: Executable,
        rest: Executable,
        steps: Sequence[int],
        counts: Sequence[int],
        piece: int,
    ) -> Executable:
        assert isinstance(whole, CpuProgram) and isinstance(rest, CpuProgram)
        return CpuPieces(whole, rest, steps, counts, piece)

    def emit(self, program: Program, settings: Settings) -> str:
        from tetragrad.backends.cpu.emit.program import emit

        return emit(program, self.target, settings)

    def assemble(self, text: str, program: Program) -> bytes:
        facts = json.dumps(asdict(facts_of(program, self.target)))
        return facts.encode() + b"\n" + compiler.assemble(text)

    def keep_own_code(self, kept: Callable[[Callable[[], bytes]], bytes]) -> None:
        pool.make_by(lambda: kept(pool.pool_object_code))

    def load(self, code: bytes) -> CpuProgram:
        facts, _, object_code = code.partition(b"\n")
        return CpuProgram(Facts(**json.loads(facts)), object_code)
