"""A GPU as a device: text, machine code, memory, and programs to launch."""

from __future__ import annotations

import ctypes
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tetragrad.backends.backend import Device, Executable
from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.bulk import TensorMap
from tetragrad.backends.cuda.emit import GridLaunch, emit_program
from tetragrad.backends.cuda.memory import Copies, DeviceMemory, Pool
from tetragrad.backends.cuda.target import target_for
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DeviceError
from tetragrad.core.settings import Settings
from tetragrad.graph.node import Shape, size_of
from tetragrad.tile.ir import Program

#: The first line of a program's text; it says how the kernels are launched.
_HEADER = "// launches: "
#: Encoded tensor maps that a program keeps for the next launch.
MAPS_KEPT = 64


@dataclass(frozen=True)
class Facts:
    """What loading machine code needs to know of the program it was made from."""

    name: str
    slots: int
    scalars: int
    launches: tuple[GridLaunch, ...]
    scratch_bytes: tuple[int, ...]


def facts_of(text: str, program: Program) -> Facts:
    """The facts that are kept beside a program's machine code."""
    first = text.partition("\n")[0].removeprefix(_HEADER)
    launches = launches_from(json.loads(first))
    scratch = tuple(
        max(1, tile.shape[0] * tile.dtype.itemsize) for tile in program.scratch
    )
    return Facts(
        program.name, len(program.slots), len(program.scalars), launches, scratch
    )


def launches_from(entries: Sequence[dict[str, Any]]) -> tuple[GridLaunch, ...]:
    """Launches as they were before they were written down."""
    return tuple(
        GridLaunch(**{**entry, "maps": tuple(map(_map_from, entry["maps"]))})
        for entry in entries
    )


def _map_from(entry: dict[str, Any]) -> TensorMap:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in entry.items()
    }
    return TensorMap(**fields)


def target_text(program: Program, target: object, active: Settings) -> str:
    """PTX with its launches in front."""
    emitted = emit_program(program, target, active)  # type: ignore[arg-type]
    launches = json.dumps([asdict(entry) for entry in emitted.launches])
    return f"{_HEADER}{launches}\n{emitted.text}"


class CudaProgram(Executable):
    """A loaded tile program: its kernels are launched one after the other."""

    def __init__(self, device: CudaDevice, facts: Facts, code: bytes) -> None:
        self.facts = facts
        self._device = device
        self._module = driver.Module(device.context, code, facts.name)
        self._functions = [
            (self._module.function(entry.name, entry.shared_bytes), entry)
            for entry in facts.launches
        ]
        self._maps: dict[tuple[TensorMap, int], driver.EncodedMap] = {}

    @property
    def scratch_sizes(self) -> tuple[int, ...]:
        return self.facts.scratch_bytes

    def launch(self, addresses: Sequence[int]) -> None:
        """Launch with device addresses of the slots and host ones of the scalars."""
        pool = self._device.pool
        # Freed at the end, and reused by nobody before these kernels have run.
        scratch = [pool.allocate(size) for size in self.facts.scratch_bytes]
        self.launch_all([*addresses, *(entry.address for entry in scratch)])

    def launch_all(self, addresses: Sequence[int]) -> None:
        """The same with the addresses of the scratch blocks at the end.

        The driver copies all parameters before this returns.
        """
        device, first = self._device, self.facts.slots
        device.context.use()
        cells = (ctypes.c_uint64 * max(1, len(addresses)))(*addresses)
        places = [ctypes.addressof(cells) + 8 * n for n in range(len(addresses))]
        last = first + self.facts.scalars
        # A scalar is not an address for the kernel: the driver reads the cell itself.
        places[first:last] = addresses[first:last]
        for function, grid in self._functions:
            device.recent.append(grid.name)
            maps = [self._encoded(entry, cells[entry.parameter]) for entry in grid.maps]
            every = [*places, *(entry.address for entry in maps)]
            parameters = (ctypes.c_void_p * max(1, len(every)))(*every)
            driver.call(
                "cuLaunchKernel",
                function,
                grid.blocks,
                1,
                1,
                grid.threads,
                1,
                1,
                grid.shared_bytes,
                device.context.stream,
                parameters,
                None,
                doing=f"launching {grid.name}",
            )

    def _encoded(self, description: TensorMap, base: int) -> driver.EncodedMap:
        """A tensor map for a buffer at an address; the last few are kept."""
        key = (description, base)
        found = self._maps.get(key)
        if found is None:
            if len(self._maps) >= MAPS_KEPT:
                self._maps.clear()
            found = self._maps[key] = driver.EncodedMap(description, base)
        return found


class LaunchSequence:
    """Launches in order, recorded as one once they come again with equal arguments."""

    def __init__(
        self,
        device: CudaDevice,
        programs: Sequence[CudaProgram],
        starts: Sequence[int],
        cells: np.ndarray,
    ) -> None:
        self._device = device
        self._programs = programs
        self._bounds = list(zip(starts, [*starts[1:], len(cells)], strict=True))
        self._cells = cells
        self._last = b""
        self._graph: driver.Graph | None = None

    def __call__(self) -> None:
        arguments = self._cells.tobytes()
        if arguments != self._last:
            self._graph, self._last = None, arguments
            self._launch()
            return
        if self._graph is None:
            self._graph = driver.Graph(self._device.context, self._launch)
        self._graph.launch()

    def _launch(self) -> None:
        for program, (start, stop) in zip(self._programs, self._bounds, strict=True):
            program.launch_all(self._cells[start:stop].tolist())


class CudaDevice(Device):
    """One NVIDIA GPU."""

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
        self.pool = Pool(self.context)
        self._copies = Copies(self.context)
        # Names of the kernels launched last: one of them is to blame for a fault.
        self.recent: deque[str] = deque(maxlen=4)

    @property
    def dlpack_stream(self) -> int | None:
        return self.context.stream.value

    # --- code --------------------------------------------------------------------

    def emit(self, program: Program, settings: Settings) -> str:
        return target_text(program, self.target, settings)

    def assemble(self, text: str, program: Program) -> bytes:
        facts = json.dumps(asdict(facts_of(text, program)))
        code = driver.assemble(self.context, text, program.name)
        return facts.encode() + b"\n" + code

    def load(self, code: bytes) -> CudaProgram:
        line, _, machine_code = code.partition(b"\n")
        read = json.loads(line)
        launches = launches_from(read.pop("launches"))
        scratch = tuple(read.pop("scratch_bytes"))
        facts = Facts(launches=launches, scratch_bytes=scratch, **read)
        return CudaProgram(self, facts, machine_code)

    # --- memory ------------------------------------------------------------------

    def allocate(self, nbytes: int) -> DeviceMemory:
        return self.pool.allocate(nbytes)

    def check_fits(self, nbytes: int, purpose: str) -> None:
        """The pool says so itself, once what it keeps has been given back."""

    def copy_in(self, memory: DeviceMemory, array: np.ndarray) -> None:
        if array.nbytes:
            self._copies.to_device(memory.address, array)

    def copy_out(self, memory: DeviceMemory, shape: Shape, dtype: DType) -> np.ndarray:
        nbytes = size_of(shape) * dtype.itemsize
        self.synchronize()
        found = self._copies.to_host(memory.address, nbytes)
        return found.view(dtype.numpy).reshape(shape)

    def synchronize(self) -> None:
        try:
            self.context.synchronize()
        except DeviceError as error:
            names = ", ".join(self.recent)
            raise DeviceError(f"{error}; launched last: {names}") from error

    # --- launches ----------------------------------------------------------------

    def prepare(
        self,
        executables: Sequence[Executable],
        starts: Sequence[int],
        cells: np.ndarray,
    ) -> Callable[[], None]:
        programs = [entry for entry in executables if isinstance(entry, CudaProgram)]
        return LaunchSequence(self, programs, starts, cells)


def _number_of(name: str) -> int:
    _, _, number = name.partition(":")
    if number and not number.isdecimal():
        raise DeviceError(f"there is no device {name!r}", hint='use "cuda" or "cuda:0"')
    return int(number or 0)
