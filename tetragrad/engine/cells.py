"""Which memory every argument of every launch of a replay is.

The arguments of all launches stand in one array of addresses, the *cells*; native code
reads them there. A replay on other buffers writes their addresses into their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tetragrad.backends.backend import Device
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError
from tetragrad.engine.capture import Run
from tetragrad.engine.realize import device, scalar_cells
from tetragrad.engine.schedule import Launch, Source
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Shape, size_of

#: The shape, dtype and device of a buffer.
Description = tuple[Shape, DType, str]


class Layout:
    """Which memory every argument of every launch is: a register and an offset.

    A register is a block of memory: an input or output, different in every replay,
    or one with a fixed address (host data, temporaries, constants).
    """

    def __init__(
        self, inputs: Sequence[Buffer], outputs: Sequence[Buffer], on: Device | None
    ) -> None:
        self.count = 0
        self._device = on
        self.fixed: dict[int, int] = {}
        self.launches: list[Launch] = []
        self.starts: list[int] = []
        self.registers: list[int] = []
        self.offsets: list[int] = []
        self._numbers: dict[Buffer, int] = {}
        self._kept: list[object] = []
        for buffer in (*inputs, *outputs):
            self._numbers[buffer] = self._new()

    def keep(self, buffer: Buffer) -> None:
        """Let every replay find this buffer as it is now."""
        if buffer not in self._numbers:
            self._numbers[buffer] = self._new(address_of(buffer), buffer)

    def add(self, run: Run) -> None:
        """Append the launches of one run."""
        for leaf in run.leaves:
            _check_known(leaf, self._numbers)
        for result in run.results:
            # Only later runs read it: nobody outside sees that it is used again.
            self.keep(result)
        arena = self._own(run.schedule.arena_bytes)
        constants = scalar_cells(run.constants)
        scalars = self._new(constants.ctypes.data, constants)
        numbers = {
            Source.LEAF: [self._numbers[leaf] for leaf in run.leaves],
            Source.OUTPUT: [self._numbers[result] for result in run.results],
        }
        for launch in run.schedule.launches:
            self.launches.append(launch)
            self.starts.append(len(self.registers))
            for argument in launch.arguments:
                if argument.source is Source.ARENA:
                    self._cell(arena, argument.position + argument.offset)
                else:
                    number = numbers[argument.source][argument.position]
                    self._cell(number, argument.offset)
            for slot in launch.scalars:
                self._cell(scalars, 8 * slot)
            for nbytes in launch.executable.scratch_sizes:
                self._cell(self._own(nbytes))

    def number(self, buffer: Buffer) -> int:
        """The register of an input or output."""
        return self._numbers[buffer]

    def places(self, buffers: Sequence[Buffer]) -> list[Places]:
        """Where each of these inputs and outputs stands among the arguments."""
        found: dict[int, Places] = {}
        for place, (register, offset) in enumerate(
            zip(self.registers, self.offsets, strict=True)
        ):
            found.setdefault(register, []).append((place, offset))
        return [found.get(self.number(entry), []) for entry in buffers]

    @property
    def spans(self) -> list[range]:
        """The places of each launch's arguments."""
        return [range(*span) for span in pairwise([*self.starts, len(self.registers)])]

    def launches_before(self, written: Sequence[Buffer]) -> int:
        """How many launches there are until all these results are written."""
        registers = {self.number(entry) for entry in written}
        ends = [
            number
            for number, span in enumerate(self.spans, start=1)
            if any(self.registers[place] in registers for place in span)
        ]
        return max(ends, default=0)

    def cells(self) -> np.ndarray:
        """The arguments of all launches, without the addresses of what is replaced."""
        addresses = np.zeros(max(self.count, 1), np.uint64)
        for register, address in self.fixed.items():
            addresses[register] = address
        offsets = np.array(self.offsets, np.uint64)
        return addresses[np.array(self.registers, np.int64)] + offsets

    def _new(self, address: int | None = None, owner: object = None) -> int:
        number = self.count
        self.count += 1
        if address is not None:
            self.fixed[number] = address
            self._kept.append(owner)
        return number

    def _own(self, nbytes: int) -> int:
        assert self._device is not None
        memory = self._device.allocate(nbytes)
        return self._new(memory.address, memory)

    def _cell(self, register: int, offset: int = 0) -> None:
        self.registers.append(register)
        self.offsets.append(offset)


#: Where a buffer's address stands among the arguments, each with what is added to it:
#: a launch that reads a part of a buffer is given the address of that part.
Places = list[tuple[int, int]]


def write(places: Places, buffer: Buffer, cells: memoryview) -> None:
    """Make the arguments at these places refer to another buffer."""
    address = address_of(buffer)
    for place, offset in places:
        cells[place] = address + offset


def _check_known(leaf: Buffer, known: dict[Buffer, int]) -> None:
    if leaf not in known:
        raise CaptureError(
            f"a captured function uses a value of shape {leaf.shape} that it neither "
            "computed nor read from a tensor",
            hint="pass it as an argument; do not keep parts of its graph elsewhere",
        )


def address_of(buffer: Buffer) -> int:
    """Where the elements of a buffer start."""
    address: int = buffer.arguments[0].address
    return address


def new_buffer(description: Description) -> Buffer:
    """A buffer of this shape, dtype and device, whose elements nobody has written."""
    shape, dtype, device_name = description
    memory = device(device_name).allocate(size_of(shape) * dtype.itemsize)
    return Buffer(memory, shape, dtype, device_name)
