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
from typing import Any

import numpy as np

from tetragrad.backends.backend import Executable
from tetragrad.core.errors import CaptureError
from tetragrad.core.settings import settings
from tetragrad.engine.capture import Run
from tetragrad.engine.cells import Layout, new_buffer, write
from tetragrad.engine.checks import InputChecks, ResultChecks, distinct
from tetragrad.engine.host_launch import is_host_launch
from tetragrad.engine.in_place import REFERENCES_OF_ENTRY, InPlace, Replacement, find
from tetragrad.engine.kept import forget
from tetragrad.engine.realize import device
from tetragrad.engine.schedule import Launch
from tetragrad.engine.updates import narrowed_launches
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
        next_values: for results that are the next value of a sticky input, that input.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        sticky: Sequence[Buffer],
        volatile: Sequence[Buffer],
        host_data: Sequence[Buffer],
        outputs: Sequence[Buffer],
        checks: Sequence[tuple[InRange, Buffer]] = (),
        next_values: Mapping[Buffer, Buffer] | None = None,
    ) -> None:
        self.runs, self.sticky = list(runs), list(sticky)
        self._rest = (volatile, host_data, outputs, checks)
        self._host_data = list(host_data)
        #: Whether it gives inputs their next values.
        self.changes_inputs = bool(next_values)
        self.num_outputs = len(outputs)
        results = {buffer for run in runs for buffer in run.results}
        fresh = [entry for entry in dict.fromkeys(outputs) if entry in results]
        self._device = _only_device(runs)
        self._on = None if self._device is None else device(self._device)
        layout = self._laid_out((*sticky, *volatile), fresh)
        self.launches = layout.launches
        inputs = {*sticky, *volatile}
        given = [entry for entry in distinct(checks) if entry[1] in inputs]
        self._checks = [entry for entry in distinct(checks) if entry[1] not in inputs]
        self._result_checks = ResultChecks(self._checks)
        replacements = self._replace(layout, outputs, next_values or {})
        there = {entry.output for entry in replacements}
        own = [entry for entry in fresh if entry not in there]
        others = [entry for entry in outputs if entry not in there]
        #: The outputs that overwrite an input, by their positions.
        self.written_in_place = [
            place for place, entry in enumerate(outputs) if entry in there
        ]
        kept = [sticky[place] for place in self.kept]
        replaced = [sticky[place] for place in self.replaced]
        self._input_checks = InputChecks(given, [kept, volatile, replaced])
        self.descriptions = [(e.shape, e.dtype, e.buffer_device) for e in own]
        self.kept_places = layout.places(kept)
        self.volatile_places = layout.places(volatile)
        self.output_places = layout.places(own)
        self._sources = None
        if others != own:
            self._sources = _sources_of(others, [own, kept, volatile, host_data])

    def _laid_out(self, inputs: Sequence[Buffer], fresh: Sequence[Buffer]) -> Layout:
        """Which memory every argument of the recorded launches is."""
        layout = self._layout = Layout(inputs, fresh, self._on)
        for buffer in self._host_data:
            layout.keep(buffer)
        for run in self.runs:
            layout.add(run)
        return layout

    def _replace(
        self,
        layout: Layout,
        outputs: Sequence[Buffer],
        next_values: Mapping[Buffer, Buffer],
    ) -> list[Replacement]:
        """Let next values be written where the inputs lie, as far as that can be."""
        checked = layout.launches_before([buffer for _, buffer in self._checks])
        #: The launches that are calls of the host's, by their numbers.
        self._on_host = [
            number
            for number, launch in enumerate(self.launches)
            if is_host_launch(launch)
        ]
        lost = {
            output: entry
            for output, entry in next_values.items()
            if entry not in outputs
        }
        position = {entry: place for place, entry in enumerate(self.sticky)}
        # What the host computes may fail, and must find everything as it was.
        first = max([checked, *(number + 1 for number in self._on_host)])
        replacements = find(lost, position, layout, first)
        #: Where the launches are cut, so that indices are checked in between.
        self.cut = checked if self._checks and replacements else len(self.launches)
        self.frames: list[_Frame] = []
        self._last: _Frame | None = None
        self._in_place = InPlace(replacements, self.frames)
        #: What takes the launches' place while every output goes where its input is.
        self.narrow_launches = self.launches
        if self._on is not None and replacements:
            self.narrow_launches = narrowed_launches(
                self.launches, replacements, self._on
            )
        #: The sticky inputs that are overwritten, by their positions, and the others.
        self.replaced = [entry.position for entry in replacements]
        self.kept = sorted(set(range(len(self.sticky))) - set(self.replaced))
        return replacements

    def reading(self, runs: Sequence[Run]) -> Program:
        """The same with runs that read more: further leaves, which are sticky too."""
        more = [
            leaf
            for run, known in zip(runs, self.runs, strict=True)
            for leaf in run.leaves[len(known.leaves) :]
        ]
        return Program(runs, [*self.sticky, *more], *self._rest)

    @property
    def last_kept(self) -> list[Buffer]:
        """The kept inputs of the last replay."""
        return [] if self._last is None else self._last.kept

    @property
    def last_replaced(self) -> list[Buffer]:
        """The inputs that the last replay overwrote."""
        return self._in_place.inputs

    def replay(
        self,
        kept: list[Buffer],
        volatile: Sequence[Buffer],
        replaced: Sequence[Buffer] | None = (),
    ) -> tuple[list[Buffer], list[Buffer]]:
        """Run everything on these inputs.

        Gives the next values of those that are replaced, and the other outputs.
        ``replaced`` is None where they are what the last replay gave, all of them were
        written in place, and nobody else has held any since then.
        """
        in_place = self._in_place
        self._input_checks.check(kept, volatile, replaced or in_place.inputs)
        frame = self._next_frame()
        if kept != frame.kept:
            frame.bind(kept)
        for places, buffer in zip(self.volatile_places, volatile, strict=True):
            write(places, buffer, frame.cells)
        forget(frame.outputs)
        if replaced:
            in_place.bind(replaced)
            forget(in_place.outputs)
        parts = frame.narrow_parts if in_place.is_everywhere else frame.parts
        for part, run in parts:
            if settings().debug >= 2:
                self._run_timed(frame, part)
            else:
                run()
            # Nothing has been written in place yet, so a wrong index loses nothing.
            if self._checks and part.stop == self.cut:
                self._result_checks.check()
        outputs = frame.outputs.copy()
        if self._sources is not None:
            known = outputs, kept, volatile, self._host_data
            outputs = [known[where][place] for where, place in self._sources]
        return in_place.outputs, outputs

    def _next_frame(self) -> _Frame:
        """The last frame again, if nobody holds its outputs, or else the other one."""
        last = self._last
        if last is not None and last.is_idle():
            return last
        if len(self.frames) < FRAMES:
            self._last = _Frame(self)
            self.frames.append(self._last)
            self._in_place.bind_new(self._last)
        else:
            # The one that was used before it, whose outputs are the older ones.
            first, second = self.frames
            self._last = second if last is first else first
            self._last.replace_held_outputs()
        return self._last

    def cells(self) -> np.ndarray:
        """The arguments of all launches, before they are bound to any buffer."""
        return self._layout.cells()

    def parts(
        self, launches: Sequence[Launch], cells: np.ndarray
    ) -> list[tuple[range, Callable[[], None]]]:
        """Functions that run launches with these arguments, and which those are.

        There is one, unless indices are checked or the host is called in between.
        """
        if self._device is None:
            return []
        prepare = device(self._device).prepare
        starts = [*self._layout.starts, len(cells)]
        found: list[tuple[range, Callable[[], None]]] = []
        around = {place for number in self._on_host for place in (number, number + 1)}
        cuts = sorted({0, self.cut, len(launches), *around})
        for first, last in itertools.pairwise(cuts):
            executables = [entry.executable for entry in launches[first:last]]
            arguments = cells[: starts[last]]
            if first in self._on_host:
                run = _host_call(executables[0], arguments[starts[first] :])
            else:
                run = prepare(executables, starts[first:last], arguments)
            found.append((range(first, last), run))
        return found

    def remembered(self, buffer: Buffer) -> int:
        """How many frames hold a buffer as an input."""
        return sum(entry is buffer for f in self.frames for entry in f.kept)

    def input_changed(self, old: Buffer | None, new: Buffer) -> None:
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

    def __init__(self, program: Program) -> None:
        self._program = program
        self.kept: list[Any] = [None] * len(program.kept)
        self.outputs = [new_buffer(entry) for entry in program.descriptions]
        arguments = program.cells()
        self.cells = arguments.data
        for places, buffer in zip(program.output_places, self.outputs, strict=True):
            write(places, buffer, self.cells)
        self.parts = self.narrow_parts = program.parts(program.launches, arguments)
        if program.narrow_launches is not program.launches:
            self.narrow_parts = program.parts(program.narrow_launches, arguments)
        self._position = {id(entry): i for i, entry in enumerate(self.outputs)}
        # The references that an output has while nobody else holds it.
        self._idle = [
            REFERENCES_OF_ENTRY + program.remembered(entry) for entry in self.outputs
        ]

    def is_idle(self) -> bool:
        """Whether nobody but the program holds any output."""
        return list(map(sys.getrefcount, self.outputs)) == self._idle

    def replace_held_outputs(self) -> None:
        """Write to outputs that nobody holds."""
        references = list(map(sys.getrefcount, self.outputs))
        if references == self._idle:
            return
        for index, idle in enumerate(self._idle):
            if references[index] != idle:
                del self._position[id(self.outputs[index])]
                buffer = new_buffer(self._program.descriptions[index])
                self.outputs[index] = buffer
                self._position[id(buffer)] = index
                self._idle[index] = REFERENCES_OF_ENTRY
                write(self._program.output_places[index], buffer, self.cells)

    def bind(self, kept: Sequence[Buffer]) -> None:
        """Read from these inputs from now on."""
        for index, places in enumerate(self._program.kept_places):
            old, new = self.kept[index], kept[index]
            if old is not new:
                self.kept[index] = new
                write(places, new, self.cells)
                self._program.input_changed(old, new)

    def count(self, buffer: Buffer | None, change: int) -> None:
        """Some frame remembers, or forgets, a buffer that may be an output here."""
        index = self._position.get(id(buffer))
        if index is not None:
            self._idle[index] += change


def _host_call(executable: Executable, cells: np.ndarray) -> Callable[[], None]:
    return lambda: executable.launch(cells.tolist())


def _sources_of(
    outputs: Sequence[Buffer], lists: Sequence[Sequence[Buffer]]
) -> list[tuple[int, int]]:
    """For each output, the list that it is in and its place there."""
    found = {
        entry: (number, place)
        for number, entries in enumerate(lists)
        for place, entry in enumerate(entries)
    }
    return [found[entry] for entry in outputs]


def _only_device(runs: Sequence[Run]) -> str | None:
    """The device that everything runs on, or None if nothing runs."""
    names = list(dict.fromkeys(run.device for run in runs))
    if len(names) > 1:
        raise CaptureError(
            f"a captured function runs on {len(names)} devices: {', '.join(names)}",
            hint="capture the part on each device as a function of its own",
        )
    return names[0] if names else None
