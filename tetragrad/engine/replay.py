"""Replaying recorded runs: all launches in one go, on the buffers of the day.

A program owns *frames*: a set of output buffers, with the arguments of every launch
that writes to them. Two frames take turns, because what one replay wrote is what the
next one reads; so in a training loop hardly any argument has to be written again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tetragrad.backends.backend import Device
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError
from tetragrad.core.settings import settings
from tetragrad.engine.capture import Run
from tetragrad.engine.realize import check_indices, device, scalar_cells
from tetragrad.engine.schedule import Launch, Source
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import InRange
from tetragrad.graph.node import Shape, size_of

#: How many frames take turns.
FRAMES = 2


class _Layout:
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

    def places(self, count: int) -> list[Places]:
        """Where each of the first registers stands among the arguments."""
        registers = np.array(self.registers, np.int64)
        offsets = np.array(self.offsets, np.uint64)
        found = [np.flatnonzero(registers == number) for number in range(count)]
        return [Places(at, _single(offsets[at])) for at in found]

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


@dataclass(frozen=True, slots=True)
class Places:
    """Where a buffer's address stands among the arguments, and what is added to it.

    A launch that reads a part of a buffer is given the address of that part.
    """

    at: np.ndarray
    offsets: np.ndarray | int

    def write(self, cells: np.ndarray, buffer: Buffer) -> None:
        """Make the arguments refer to another buffer."""
        cells[self.at] = self.offsets + address_of(buffer)


def _single(offsets: np.ndarray) -> np.ndarray | int:
    """One number for all, if they are equal: it is added faster."""
    first = int(offsets[0]) if len(offsets) else 0
    return first if (offsets == first).all() else offsets


def _check_known(leaf: Buffer, known: dict[Buffer, int]) -> None:
    if leaf not in known:
        raise CaptureError(
            f"a captured function uses a value of shape {leaf.shape} that it neither "
            "computed nor read from a tensor",
            hint="pass it as an argument; do not keep parts of its graph elsewhere",
        )


class Program:
    """Recorded runs as a function from input buffers to output buffers.

    Args:
        runs: what was recorded.
        sticky: inputs that seldom change between replays, or take turns.
        volatile: inputs that usually are other buffers every time.
        host_data: buffers whose content is part of the record.
        outputs: what a replay gives; each is a result, an input, or host data.
        checks: results that say whether an index was out of range.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        sticky: Sequence[Buffer],
        volatile: Sequence[Buffer],
        host_data: Sequence[Buffer],
        outputs: Sequence[Buffer],
        checks: Sequence[tuple[InRange, Buffer]] = (),
    ) -> None:
        results = {buffer for run in runs for buffer in run.results}
        fresh = [entry for entry in dict.fromkeys(outputs) if entry in results]
        self._device = _only_device(runs)
        on = None if self._device is None else device(self._device)
        layout = _Layout((*sticky, *volatile), fresh, on)
        for buffer in host_data:
            layout.keep(buffer)
        for run in runs:
            layout.add(run)
        self.launches = layout.launches
        self.shapes = [(entry.shape, entry.dtype, entry.device) for entry in fresh]
        self._layout = layout
        places = layout.places(len(sticky) + len(volatile) + len(fresh))
        self.sticky_places = places[: len(sticky)]
        self.volatile_places = places[len(sticky) : len(places) - len(fresh)]
        self.output_places = places[len(places) - len(fresh) :]
        self._host_data = list(host_data)
        self._checks = list(checks)
        order = [*sticky, *volatile, *host_data, *fresh]
        position = {entry: place for place, entry in enumerate(order)}
        self._picks = [position[entry] for entry in outputs]
        self._all_fresh = list(outputs) == fresh
        self.frames: list[_Frame] = []
        self._turn = 0

    def replay(self, sticky: list[Buffer], volatile: list[Buffer]) -> list[Buffer]:
        """Run everything on these inputs; returns the outputs."""
        if len(self.frames) < FRAMES:
            self.frames.append(_Frame(self, sticky))
        frame = self.frames[self._turn]
        self._turn = (self._turn + 1) % FRAMES
        frame.bind(sticky, volatile)
        if settings().debug >= 2:
            self._run_timed(frame)
        else:
            frame.run()
        if self._checks:
            check_indices(self._checks)
        if self._all_fresh:
            return frame.outputs.copy()
        pool = [*sticky, *volatile, *self._host_data, *frame.outputs]
        return [pool[pick] for pick in self._picks]

    def new_cells(self, memory_of: Sequence[Buffer | None]) -> np.ndarray:
        """The arguments of all launches, for these inputs and outputs."""
        layout = self._layout
        addresses = np.zeros(max(layout.count, 1), np.uint64)
        for register, buffer in enumerate(memory_of):
            if buffer is not None:
                addresses[register] = address_of(buffer)
        for register, address in layout.fixed.items():
            addresses[register] = address
        offsets = np.array(layout.offsets, np.uint64)
        return addresses[np.array(layout.registers, np.int64)] + offsets

    def prepare(self, cells: np.ndarray) -> Callable[[], None]:
        """A function that runs all launches with these arguments."""
        if self._device is None:
            return _nothing
        executables = [launch.executable for launch in self.launches]
        return device(self._device).prepare(executables, self._layout.starts, cells)

    def remembered(self, buffer: Buffer) -> int:
        """How many frames hold a buffer as an input."""
        return sum(entry is buffer for f in self.frames for entry in f.sticky)

    def input_changed(self, old: Buffer, new: Buffer) -> None:
        """A frame remembers another input: correct the counts of all frames."""
        for frame in self.frames:
            frame.count(old, -1)
            frame.count(new, 1)

    def _run_timed(self, frame: _Frame) -> None:
        calls = []
        for launch, start in zip(self.launches, self._layout.starts, strict=True):
            stop = start + len(launch.arguments) + len(launch.scalars)
            calls.append((launch, frame.cells[start:stop].tolist()))
        if self._device is not None:
            from tetragrad.engine import profile

            profile.run_timed(device(self._device), calls)


class _Frame:
    """One set of output buffers, and the launch arguments that write to them."""

    def __init__(self, program: Program, sticky: list[Buffer]) -> None:
        self.program = program
        self.sticky = list(sticky)
        self.outputs = [_new_buffer(shape) for shape in program.shapes]
        volatile = [None] * len(program.volatile_places)
        self.cells = program.new_cells([*sticky, *volatile, *self.outputs])
        self.run = program.prepare(self.cells)
        self._position = {id(entry): i for i, entry in enumerate(self.outputs)}
        # The references that an output has while nobody else holds it.
        self._idle = [
            REFERENCES_OF_ENTRY + program.remembered(entry) for entry in self.outputs
        ]
        for entry in self.sticky:
            for frame in program.frames:
                frame.count(entry, 1)

    def bind(self, sticky: list[Buffer], volatile: list[Buffer]) -> None:
        """Read from these inputs; write to outputs that nobody holds."""
        if sticky != self.sticky:
            self._bind_sticky(sticky)
        references = list(map(sys.getrefcount, self.outputs))
        if references != self._idle:
            self._replace_held_outputs(references)
        for places, buffer in zip(self.program.volatile_places, volatile, strict=True):
            places.write(self.cells, buffer)

    def count(self, buffer: Buffer, change: int) -> None:
        """Some frame remembers, or forgets, a buffer that may be an output here."""
        index = self._position.get(id(buffer))
        if index is not None:
            self._idle[index] += change

    def _bind_sticky(self, sticky: list[Buffer]) -> None:
        for index, places in enumerate(self.program.sticky_places):
            old, new = self.sticky[index], sticky[index]
            if old is not new:
                self.sticky[index] = new
                places.write(self.cells, new)
                self.program.input_changed(old, new)

    def _replace_held_outputs(self, references: list[int]) -> None:
        for index, idle in enumerate(self._idle):
            if references[index] != idle:
                del self._position[id(self.outputs[index])]
                buffer = _new_buffer(self.program.shapes[index])
                self.outputs[index] = buffer
                self._position[id(buffer)] = index
                self._idle[index] = REFERENCES_OF_ENTRY
                self.program.output_places[index].write(self.cells, buffer)


#: What ``getrefcount`` gives for an object that only one list holds.
REFERENCES_OF_ENTRY = next(map(sys.getrefcount, [object()]))


def address_of(buffer: Buffer) -> int:
    """Where the elements of a buffer start."""
    address: int = buffer.arguments[0].address
    return address


def _new_buffer(description: tuple[Shape, DType, str]) -> Buffer:
    shape, dtype, device_name = description
    memory = device(device_name).allocate(size_of(shape) * dtype.itemsize)
    return Buffer(memory, shape, dtype, device_name)


def _only_device(runs: Sequence[Run]) -> str | None:
    """The device that everything runs on, or None if nothing runs."""
    names = list(dict.fromkeys(run.device for run in runs))
    if len(names) > 1:
        raise CaptureError(
            f"a captured function runs on {len(names)} devices: {', '.join(names)}",
            hint="capture the part on each device as a function of its own",
        )
    return names[0] if names else None


def _nothing() -> None:
    """There is nothing to launch."""
