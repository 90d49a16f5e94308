"""A GPU as a device: text, machine code, memory, and programs to launch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_size_t, c_uint64
from statistics import median
from typing import Any

import numpy as np

from tetragrad.backends import holdings
from tetragrad.backends.backend import Device, Executable
from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.calls import Graph, KernelCall, Node, last_recorded
from tetragrad.backends.cuda.copies import Copies
from tetragrad.backends.cuda.faults import Progress
from tetragrad.backends.cuda.launches import LaunchSequence
from tetragrad.backends.cuda.memory import ALIGNMENT, DeviceMemory, MemoryAlias, Pool
from tetragrad.backends.cuda.programs import (
    CudaExecutable,
    CudaPieces,
    CudaProgram,
    facts_from,
    facts_text,
    target_text,
)
from tetragrad.backends.cuda.target import target_for
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DeviceError
from tetragrad.core.settings import Settings
from tetragrad.graph.node import Shape, size_of
from tetragrad.tile.ir import Program
from tetragrad.tile.plans.pieces import PIECE

#: Threads that assemble programs, at most.
MOST_ASSEMBLERS = 16
#: How a kernel is timed: launches in one replay, at most and in about so many seconds,
#: and how many replays.
MOST_REPEATED, SECONDS_REPEATED = 48, 3e-4
REPLAYS = 5
#: The last launch that may use a block which somebody has: any.
NEVER_SURE = sys.maxsize


class CudaDevice(Device):
    """One NVIDIA GPU."""

    # The driver's assembler is slow, and works in several threads. It does some of its
    # work when code is loaded.
    assemblers = min(MOST_ASSEMBLERS, os.cpu_count() or 1)
    loads_in_threads = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.dlpack_device = (2, _number_of(name))
        self.context = driver.Context(_number_of(name))
        facts = self.context.facts()
        target = target_for(*facts.capability, facts.units)
        if target is None:
            major, minor = facts.capability
            raise DeviceError(
                f"{facts.name} has compute capability {major}.{minor}; this backend "
                "writes code for 8.0 and newer",
                hint='use device="cpu"',
            )
        self.target = target
        self.progress = Progress(self.context)
        self.pool = Pool(self.context, self.progress)
        holdings.pools.append(self.pool)
        self._copies = Copies(self.context)

    @property
    def dlpack_stream(self) -> int | None:
        return self.context.stream.value

    # --- code --------------------------------------------------------------------

    def emit(self, program: Program, settings: Settings) -> str:
        return target_text(program, self.target, settings)

    def assemble(self, text: str, program: Program) -> bytes:
        facts = facts_text(text, program)
        with self.blaming():
            code = driver.assemble(self.context, text, program.name)
        return facts.encode() + b"\n" + code

    def load(self, code: bytes) -> CudaProgram:
        line, _, machine_code = code.partition(b"\n")
        with self.blaming():
            return CudaProgram(self, facts_from(line.decode()), machine_code)

    # --- memory ------------------------------------------------------------------

    def allocate(self, nbytes: int) -> DeviceMemory:
        try:
            return self.pool.allocate(nbytes)
        except driver.GpuFault as fault:
            raise self._blamed(fault) from fault

    def check_fits(self, nbytes: int, purpose: str) -> None:
        with self.blaming():
            self.pool.check_fits(nbytes, purpose)

    def copy_in(self, memory: DeviceMemory, array: np.ndarray) -> None:
        """Copy to a block; to a new one while kernels run, unless they still use it."""
        behind = memory.since > self.progress.done
        self._write(memory.address, array, behind=behind)
        # From now on it has a user, whose launches are not counted.
        memory.since = NEVER_SURE

    def copy_out(self, memory: DeviceMemory, shape: Shape, dtype: DType) -> np.ndarray:
        return self.read_at(memory.address, shape, dtype)

    def read_at(self, address: int, shape: Shape, dtype: DType) -> np.ndarray:
        nbytes = size_of(shape) * dtype.itemsize
        with self.blaming():
            found = self._copies.to_host(address, nbytes)
        return found.view(dtype.numpy).reshape(shape)

    def write_at(self, address: int, array: np.ndarray) -> None:
        self._write(address, array, behind=True)

    def _write(self, address: int, array: np.ndarray, *, behind: bool) -> None:
        if array.nbytes:
            with self.blaming():
                self._copies.to_device(address, array, behind=behind)

    def part(self, memory: Any, start: int, nbytes: int) -> Any:
        """Shared where kernels can rely on the address, as they do on a block's."""
        address = memory.address + start
        if address % ALIGNMENT == 0:
            return MemoryAlias(nbytes, address, memory)
        return self.copied_part(memory, start, nbytes)

    def copied_part(
        self, memory: Any, start: int, nbytes: int, room: int = 0
    ) -> DeviceMemory:
        """Copied among the kernels, and counted as one of them."""
        copy = self.allocate(max(nbytes, room))
        self.context.use()
        with self.blaming(), self.context.lock:
            driver.call(
                "cuMemcpyDtoDAsync_v2",
                c_uint64(copy.address),
                c_uint64(memory.address + start),
                c_size_t(nbytes),
                self.context.stream,
                doing=f"copying {nbytes:,} bytes on the GPU",
            )
            self.progress.launched("copy_of_a_slice")
        return copy

    def upload(self, table: np.ndarray) -> DeviceMemory:
        """A copy of an array in memory of its own."""
        memory = self.allocate(table.nbytes)
        self.copy_in(memory, table)
        return memory

    def synchronize(self) -> None:
        with self.blaming():
            self.context.synchronize()

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Say of a fault that is noticed here which kernel it was."""
        try:
            yield
        except driver.GpuFault as fault:
            if isinstance(fault.__cause__, driver.GpuFault):
                raise
            raise self._blamed(fault) from fault

    def _blamed(self, fault: driver.GpuFault) -> driver.GpuFault:
        culprit = self.progress.culprit()
        return driver.GpuFault(
            f"{self.name} stopped in {culprit or 'an unknown kernel'}: {fault}",
            hint="what was on the GPU is lost to this process, which can go on with "
            'device="cpu"; TETRAGRAD_DEBUG=2 runs repeated kernels one by one and so '
            "names them",
        )

    # --- launches ----------------------------------------------------------------

    def start(self, call: KernelCall) -> None:
        """Let a kernel run behind all that was launched before."""
        self.context.use()
        try:
            with self.context.lock:
                call.launch(self.context.stream)
                if not self.context.is_recording:
                    self.progress.launched(call.grid.name)
        except driver.GpuFault as fault:
            raise self._blamed(fault) from fault

    def record(self, call: KernelCall) -> Node:
        """Record a kernel instead, and where its arguments can be changed."""
        self.start(call)
        return last_recorded(self.context.stream)

    def timed(
        self,
        executable: Executable,
        addresses: Sequence[int],
        clock: Callable[[], float],
    ) -> float:
        """The median of several replays of a few launches, by the GPU's own clock."""
        assert isinstance(executable, CudaExecutable)
        scratch = [self.allocate(size) for size in executable.scratch_sizes]
        places = [*addresses, *(entry.address for entry in scratch)]
        start, stop = driver.Event(self.context), driver.Event(self.context)

        def seconds(action: Callable[[], None]) -> float:
            start.record()
            action()
            stop.record()
            return stop.seconds_since(start)

        with self.blaming():
            # The first launch loads the code.
            executable.launch_all(places)
            once = seconds(lambda: executable.launch_all(places))
            count = max(1, min(MOST_REPEATED, int(SECONDS_REPEATED / max(once, 1e-9))))

            def repeat() -> None:
                for _ in range(count):
                    executable.launch_all(places)

            graph = Graph(self.context, repeat)
            return median(seconds(graph.launch) for _ in range(REPLAYS)) / count

    def launch_timed(self, executable: Executable, addresses: Sequence[int]) -> float:
        """By the GPU's own clock; the few microseconds of a launch are part of it."""
        start, stop = driver.Event(self.context), driver.Event(self.context)
        with self.blaming():
            self.context.synchronize()
            start.record()
            executable.launch(addresses)
            stop.record()
            return stop.seconds_since(start)

    def over_pieces(
        self,
        whole: Executable,
        rest: Executable,
        steps: Sequence[int],
        counts: Sequence[int],
        piece: int,
    ) -> CudaPieces:
        """One kernel; the program for a shorter piece also has one for whole pieces."""
        assert isinstance(rest, CudaProgram) and piece == PIECE
        return CudaPieces(self, rest, steps, counts)

    def prepare(
        self,
        executables: Sequence[Executable],
        starts: Sequence[int],
        cells: np.ndarray,
    ) -> Callable[[], None]:
        programs = [entry for entry in executables if isinstance(entry, CudaExecutable)]
        return LaunchSequence(self, programs, starts, cells)


def _number_of(name: str) -> int:
    _, _, number = name.partition(":")
    if number and not number.isdecimal():
        raise DeviceError(f"there is no device {name!r}", hint='use "cuda" or "cuda:0"')
    return int(number or 0)
