"""Replaying recorded runs: all launches in one go, on the buffers of the day.

A program owns *frames*: a set of output buffers, with the arguments of every launch
that writes to them. One is enough while nobody keeps what a replay gave. Otherwise two
take turns, because what one replay wrote may be what the next one reads; so in a
training loop hardly any argument has to be written again.
Outputs that are written in place need no buffer of a frame's.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

import numpy as np

from tetragrad.core.errors import CaptureError
from tetragrad.core.settings import settings
from tetragrad.engine.capture import Run
from tetragrad.engine.cells import Layout, new_buffer
from tetragrad.engine.in_place import REFERENCES_OF_ENTRY, InPlace, find
from tetragrad.engine.realize import check_indices, device
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import InRange

#: How many frames take turns.
FRAMES = 2


class Program:
    """Recorded runs as a function from input buffers to output buffers.

    Args:
        runs: what was recorded.
        sticky: inputs that seldom change between replays, or take turns.
        volatile: inputs that usually are other buffers every time.
        host_data: buffers whose content is part of the record.
        outputs: what a replay gives; each is a result, an input, or host data.
        checks: results that say whether an index was out of range.
        replaced: for results that are the next value of a sticky input, that input.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        sticky: Sequence[Buffer],
        volatile: Sequence[Buffer],
        host_data: Sequence[Buffer],
        outputs: Sequence[Buffer],
        checks: Sequence[tuple[InRange, Buffer]] = (),
        replaced: Mapping[Buffer, Buffer] | None = None,
    ) -> None:
        results = {buffer for run in runs for buffer in run.results}
        fresh = [entry for entry in dict.fromkeys(outputs) if entry in results]
        self._device = _only_device(runs)
        on = None if self._device is None else device(self._device)
        self._layout = layout = Layout((*sticky, *volatile), fresh, on)
        for buffer in host_data:
            layout.keep(buffer)
        for run in runs:
            layout.add(run)
        self.launches = layout.launches
        self._host_data = list(host_data)
        self._checks = list(checks)
        self.frames: list[_Frame] = []
        self._last: _Frame | None = None
        checked = layout.launches_before([buffer for _, buffer in checks])
        lost = {
            output: entry
            for output, entry in (replaced or {}).items()
            if entry not in outputs
        }
        replacements = find(lost, sticky, layout, checked)
        self._in_place = InPlace(replacements, self.frames)
        #: Where the launches are cut, so that indices are checked in between.
        self.cut = checked if checks and replacements else len(self.launches)
        there = {entry.output: entry.position for entry in replacements}
        own = [entry for entry in fresh if entry not in there]
        kept = sorted(set(range(len(sticky))) - set(there.values()))
        self._kept = _Picker(kept, len(sticky))
        self.descriptions = [(e.shape, e.dtype, e.buffer_device) for e in own]
        self.sticky_places = layout.places([sticky[place] for place in kept])
        self.volatile_places = layout.places(volatile)
        self.output_places = layout.places(own)
        order = [*sticky, *volatile, *host_data, *there, *own]
        position = {entry: place for place, entry in enumerate(order)}
        self._outputs = _Picker([position[entry] for entry in outputs], len(order))
        self._all_own = list(outputs) == own

    def replay(self, sticky: list[Buffer], volatile: list[Buffer]) -> list[Buffer]:
        """Run everything on these inputs; returns the outputs."""
        kept = self._kept.pick(sticky)
        frame = self._next_frame(kept)
        frame.bind(kept, volatile)
        self._in_place.bind(sticky)
        timed = settings().debug >= 2
        for number, (part, run) in enumerate(frame.parts):
            if timed:
                self._run_timed(frame, part)
            else:
                run()
            # Nothing has been written in place yet, so a wrong index loses nothing.
            if self._checks and not number:
                check_indices(self._checks)
        if self._all_own:
            return frame.outputs.copy()
        in_place = self._in_place.outputs
        found = [*sticky, *volatile, *self._host_data, *in_place, *frame.outputs]
        return self._outputs.pick(found)

    def _next_frame(self, sticky: list[Buffer]) -> _Frame:
        """The last frame again, if nobody holds its outputs, or else the other one."""
        if self._last is not None and self._last.is_idle():
            return self._last
        if len(self.frames) < FRAMES:
            self._last = _Frame(self, sticky)
            self.frames.append(self._last)
            self._in_place.bind_new(self._last)
        else:
            # The one that was used before it, whose outputs are the older ones.
            first, second = self.frames
            self._last = second if self._last is first else first
        return self._last

    def cells(self) -> np.ndarray:
        """The arguments of all launches, before they are bound to any buffer."""
        return self._layout.cells()

    def parts(self, cells: np.ndarray) -> list[tuple[range, Callable[[], None]]]:
        """Functions that run launches with these arguments, and which those are.

        There is one, or one for the launches up to the cut and one for the others.
        """
        if self._device is None:
            return []
        prepare = device(self._device).prepare
        starts = [*self._layout.starts, len(cells)]
        found = []
        cuts = dict.fromkeys((0, self.cut, len(self.launches)))
        for first, last in itertools.pairwise(cuts):
            executables = [entry.executable for entry in self.launches[first:last]]
            arguments = cells[: starts[last]]
            run = prepare(executables, starts[first:last], arguments)
            found.append((range(first, last), run))
        return found

    def remembered(self, buffer: Buffer) -> int:
        """How many frames hold a buffer as an input."""
        return sum(entry is buffer for f in self.frames for entry in f.sticky)

    def input_changed(self, old: Buffer, new: Buffer) -> None:
        """A frame remembers another input: correct the counts of all frames."""
        for frame in self.frames:
            frame.count(old, -1)
            frame.count(new, 1)

    def _run_timed(self, frame: _Frame, part: range) -> None:
        from tetragrad.engine import profile

        assert self._device is not None
        calls = []
        for number in part:
            launch, start = self.launches[number], self._layout.starts[number]
            stop = start + len(launch.arguments) + len(launch.scalars)
            calls.append((launch, frame.cells[start:stop].tolist()))
        profile.run_timed(device(self._device), calls)


class _Frame:
    """One set of output buffers, and the launch arguments that write to them."""

    def __init__(self, program: Program, sticky: list[Buffer]) -> None:
        self.program = program
        self.sticky = list(sticky)
        self.outputs = [new_buffer(entry) for entry in program.descriptions]
        self.cells = program.cells()
        for places, buffer in zip(program.sticky_places, sticky, strict=True):
            places.write(self.cells, buffer)
        for places, buffer in zip(program.output_places, self.outputs, strict=True):
            places.write(self.cells, buffer)
        self.parts = program.parts(self.cells)
        self._position = {id(entry): i for i, entry in enumerate(self.outputs)}
        # The references that an output has while nobody else holds it.
        self._idle = [
            REFERENCES_OF_ENTRY + program.remembered(entry) for entry in self.outputs
        ]
        for entry in self.sticky:
            for frame in program.frames:
                frame.count(entry, 1)

    def is_idle(self) -> bool:
        """Whether nobody but the program holds any output."""
        return list(map(sys.getrefcount, self.outputs)) == self._idle

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
                buffer = new_buffer(self.program.descriptions[index])
                self.outputs[index] = buffer
                self._position[id(buffer)] = index
                self._idle[index] = REFERENCES_OF_ENTRY
                self.program.output_places[index].write(self.cells, buffer)


class _Picker:
    """Picks entries of a list by their positions, at once."""

    def __init__(self, positions: Sequence[int], total: int) -> None:
        self._positions = positions
        self._is_all = list(positions) == list(range(total))
        self._get = itemgetter(*positions) if len(positions) > 1 else None

    def pick(self, entries: list[Buffer]) -> list[Buffer]:
        """The entries at the positions; the list itself if that is all of them."""
        if self._is_all:
            return entries
        if self._get is None:
            return [entries[position] for position in self._positions]
        return list(self._get(entries))


def _only_device(runs: Sequence[Run]) -> str | None:
    """The device that everything runs on, or None if nothing runs."""
    names = list(dict.fromkeys(run.device for run in runs))
    if len(names) > 1:
        raise CaptureError(
            f"a captured function runs on {len(names)} devices: {', '.join(names)}",
            hint="capture the part on each device as a function of its own",
        )
    return names[0] if names else None
