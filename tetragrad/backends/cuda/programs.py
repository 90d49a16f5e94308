"""Machine code with what launching it needs to know, loaded on a GPU."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.backends.backend import Executable
from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.calls import KernelCall
from tetragrad.backends.cuda.emit.matrix_unit.bulk import TensorMap
from tetragrad.backends.cuda.emit.pieces import emit_pieces, member_table, piece_table
from tetragrad.backends.cuda.emit.program import GridLaunch, emit_program
from tetragrad.backends.cuda.memory import DeviceMemory
from tetragrad.backends.cuda.tensor_maps import EncodedMap
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.tile.in_place import in_place_pairs
from tetragrad.tile.ir import Program

if TYPE_CHECKING:
    from tetragrad.backends.cuda.device import CudaDevice

#: The first line of a program's text; it says how the kernels are launched.
_HEADER = "// launches: "
#: Encoded tensor maps, or tables of addresses, that are kept for the next launch.
MAPS_KEPT = 64
TABLES_KEPT = 8


@frozen
class Facts:
    """What loading machine code needs to know of the program it was made from.

    ``pieces`` launches the program over one of many pieces, where it computes one.
    ``in_place`` are outputs, each with an input whose memory it may have.
    """

    name: str
    slots: int
    scalars: int
    launches: tuple[GridLaunch, ...]
    scratch_bytes: tuple[int, ...]
    in_place: tuple[tuple[int, int], ...]
    pieces: GridLaunch | None = None


def target_text(program: Program, target: Target, active: Settings) -> str:
    """PTX with its launches in front."""
    emitted = emit_program(program, target, active)
    text = emitted.text
    header: dict[str, Any] = {"launches": list(map(_record, emitted.launches))}
    pieces = emit_pieces(program, target, active)
    if pieces is not None:
        more, launch = pieces
        text, header["pieces"] = f"{text}{more}\n", _record(launch)
    return f"{_HEADER}{json.dumps(header)}\n{text}"


def _record(launch: GridLaunch) -> dict[str, Any]:
    """What a file says of a launch."""
    return {**vars(launch), "maps": [vars(entry) for entry in launch.maps]}


def facts_text(text: str, program: Program) -> str:
    """The facts that are kept beside a program's machine code."""
    facts = json.loads(text.partition("\n")[0].removeprefix(_HEADER))
    facts["name"] = program.name
    facts["slots"], facts["scalars"] = len(program.slots), len(program.scalars)
    facts["scratch_bytes"] = [
        max(1, tile.shape[0] * tile.dtype.itemsize) for tile in program.scratch
    ]
    facts["in_place"] = in_place_pairs(program, by_threads=True)
    return json.dumps(facts)


def facts_from(text: str) -> Facts:
    """Facts as they were before they were written down."""
    read = json.loads(text)
    pieces = read.pop("pieces", None)
    launches = tuple(map(_launch_from, read.pop("launches")))
    scratch = tuple(read.pop("scratch_bytes"))
    pairs = tuple((output, entry) for output, entry in read.pop("in_place"))
    return Facts(
        launches=launches,
        scratch_bytes=scratch,
        in_place=pairs,
        pieces=None if pieces is None else _launch_from(pieces),
        **read,
    )


def _launch_from(entry: dict[str, Any]) -> GridLaunch:
    return GridLaunch(**{**entry, "maps": tuple(map(_map_from, entry["maps"]))})


def _map_from(entry: dict[str, Any]) -> TensorMap:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in entry.items()
    }
    return TensorMap(**fields)


class CudaExecutable(Executable):
    """What is launched on a GPU: a few kernels, one after the other."""

    _device: CudaDevice

    def calls(self, addresses: Sequence[int]) -> list[KernelCall]:
        """The kernels, with these arguments; the addresses of scratch come last."""
        raise NotImplementedError

    def launch_all(self, addresses: Sequence[int]) -> None:
        """Launch with device addresses of slots and scratch, host ones of scalars.

        The driver copies all parameters before this returns.
        """
        for call in self.calls(addresses):
            self._device.start(call)


class CudaProgram(CudaExecutable):
    """A loaded tile program."""

    def __init__(self, device: CudaDevice, facts: Facts, code: bytes) -> None:
        self.facts = facts
        self._device = device
        self._module = driver.Module(device.context, code, facts.name)
        self._functions = [
            (self._module.function(entry.name, entry.shared_bytes), entry)
            for entry in facts.launches
        ]
        self._maps: dict[tuple[TensorMap, int], EncodedMap] = {}

    @property
    def scratch_sizes(self) -> tuple[int, ...]:
        return self.facts.scratch_bytes

    @property
    def in_place(self) -> tuple[tuple[int, int], ...]:
        return self.facts.in_place

    def launch(self, addresses: Sequence[int]) -> None:
        """Launch with device addresses of the slots and host ones of the scalars."""
        pool = self._device.pool
        # Freed at the end, and reused by nobody before these kernels have run.
        scratch = [pool.allocate(size) for size in self.facts.scratch_bytes]
        self.launch_all([*addresses, *(entry.address for entry in scratch)])

    def calls(self, addresses: Sequence[int]) -> list[KernelCall]:
        first = self.facts.slots
        cells = (ctypes.c_uint64 * max(1, len(addresses)))(*addresses)
        places = [ctypes.addressof(cells) + 8 * n for n in range(len(addresses))]
        last = first + self.facts.scalars
        # A scalar is not an address for the kernel: the driver reads the cell itself.
        places[first:last] = addresses[first:last]
        found = []
        for function, grid in self._functions:
            maps = [self._encoded(entry, cells[entry.parameter]) for entry in grid.maps]
            every = [*places, *(entry.address for entry in maps)]
            found.append(KernelCall(function, grid, every, (cells, maps)))
        return found

    def pieces_function(self) -> tuple[ctypes.c_void_p, GridLaunch]:
        """The kernel over pieces, where this program computes one."""
        pieces = self.facts.pieces
        assert pieces is not None, "a piece that may end early"
        return self._module.function(pieces.name, pieces.shared_bytes), pieces

    def _encoded(self, description: TensorMap, base: int) -> EncodedMap:
        """A tensor map for a buffer at an address; the last few are kept."""
        key = (description, base)
        found = self._maps.get(key)
        if found is None:
            if len(self._maps) >= MAPS_KEPT:
                self._maps.clear()
            found = self._maps[key] = EncodedMap(description, base)
        return found


class CudaPieces(CudaExecutable):
    """A program that is run on every piece of several buffers by one kernel.

    The tables that say where the pieces lie are kept on the GPU: in a captured step
    the addresses come again, and nothing is copied.
    """

    def __init__(
        self,
        device: CudaDevice,
        program: CudaProgram,
        steps: Sequence[int],
        counts: Sequence[int],
    ) -> None:
        self._device = device
        # Keeps the machine code loaded.
        self._program = program
        self._steps, self._counts = tuple(steps), tuple(counts)
        table = piece_table(counts)
        function, one = program.pieces_function()
        self._function = function
        self._grid = replace(one, blocks=one.blocks * len(table))
        self._pieces = device.upload(table)
        self._members: dict[bytes, DeviceMemory] = {}

    @property
    def in_place(self) -> tuple[tuple[int, int], ...]:
        slots = len(self._steps)
        starts = range(0, slots * len(self._counts), slots)
        pairs = self._program.in_place
        return tuple((start + o, start + i) for start in starts for o, i in pairs)

    def launch(self, addresses: Sequence[int]) -> None:
        self.launch_all(addresses)

    def calls(self, addresses: Sequence[int]) -> list[KernelCall]:
        slots = len(self._steps) * len(self._counts)
        scalars = [
            ctypes.c_uint64.from_address(cell).value for cell in addresses[slots:]
        ]
        table = member_table(self._steps, self._counts, addresses[:slots], scalars)
        members = self._uploaded(table)
        cells = (ctypes.c_uint64 * 2)(self._pieces.address, members.address)
        places = [ctypes.addressof(cells), ctypes.addressof(cells) + 8]
        kept = (cells, members)
        return [KernelCall(self._function, self._grid, places, kept)]

    def _uploaded(self, table: np.ndarray) -> DeviceMemory:
        """The table on the GPU; the last few are kept there."""
        key = table.tobytes()
        found = self._members.get(key)
        if found is None:
            if len(self._members) >= TABLES_KEPT:
                self._members.pop(next(iter(self._members)))
            found = self._members[key] = self._device.upload(table)
        return found
