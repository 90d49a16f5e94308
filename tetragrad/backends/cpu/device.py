"""The CPU as a device: text, object code, and programs that can be launched."""

from __future__ import annotations

import array
import ctypes
import threading
from collections.abc import Sequence

import numpy as np

from tetragrad.backends.backend import Device, Executable
from tetragrad.backends.cpu import compiler, pool
from tetragrad.backends.cpu.emit import PARALLEL, emit, uses_threads
from tetragrad.backends.cpu.emit_statements import elements_of
from tetragrad.backends.cpu.target import host_target
from tetragrad.backends.cpu.vector import memory_dtype
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.tile.ir import Program

_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)

_SCRATCH_ALIGNMENT = 64


class CpuProgram(Executable):
    """A loaded tile program. Calling it releases the interpreter's lock."""

    def __init__(self, code: bytes, program: Program, target: Target) -> None:
        self.uses_threads = uses_threads(program, target)
        symbols = {PARALLEL: pool.parallel_address()} if self.uses_threads else {}
        # The code stays in memory for as long as the module is referenced.
        self._module = compiler.load(code, symbols)
        self.address = self._module.address(program.name)
        self._entry = _Entry(self.address)
        self._scratch_sizes = [
            elements_of(tile) * memory_dtype(tile.dtype).itemsize
            for tile in program.scratch
        ]

    def launch(self, addresses: Sequence[int]) -> None:
        """Run with the addresses of the slots, then of the scalars' values."""
        cells = array.array("Q", addresses)
        if self._scratch_sizes:
            cells.extend(_scratch.addresses(self._scratch_sizes))
        state = pool.state_address() if self.uses_threads else None
        self._entry(state, cells.buffer_info()[0])


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

    def emit(self, program: Program, settings: Settings) -> str:
        return emit(program, self.target, settings)

    def assemble(self, text: str) -> bytes:
        return compiler.assemble(text)

    def load(self, code: bytes, program: Program) -> CpuProgram:
        return CpuProgram(code, program, self.target)
