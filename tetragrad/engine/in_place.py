"""Outputs of a replay that are written where the inputs that they replace lie.

A training step gives every parameter its next value. Where the launch that computes it
reads each element of the old value just before it writes the new one, no second buffer
is needed: half the memory, and a third less traffic, as no cache line is fetched only
to be overwritten. It is done as long as nobody else holds the old value.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any, Protocol

from tetragrad.core.frozen import frozen
from tetragrad.engine.cells import Description, Layout, Places, new_buffer, write
from tetragrad.graph.leaves import Buffer

#: What ``getrefcount`` gives for an object that only one list holds.
REFERENCES_OF_ENTRY = next(map(sys.getrefcount, [object()]))
#: For an input whose value only its storage holds: it is also in both lists of
#: :class:`InPlace`, and among the inputs of the replay.
_FREE = REFERENCES_OF_ENTRY + 3


class Frame(Protocol):
    """What has the arguments of all launches."""

    cells: memoryview


@frozen(slots=True)
class Overwriting:
    """The launch that writes over an input, and its arguments for both."""

    launch: int
    written: int
    read: int


@frozen(slots=True)
class Replacement:
    """An output that may lie where an input does, and where both are arguments."""

    output: Buffer
    #: Of the input among those of a replay.
    position: int
    input_places: Places
    output_places: Places
    overwriting: Overwriting

    @property
    def description(self) -> Description:
        return self.output.shape, self.output.dtype, self.output.buffer_device


def find(
    next_values: Mapping[Buffer, Buffer],
    position: Mapping[Buffer, int],
    layout: Layout,
    first_launch: int,
) -> list[Replacement]:
    """The outputs that may be written in place by a launch from the first one on.

    Args:
        next_values: for outputs that are the next value of an input, that input.
        position: of every input among those of a replay, which is also the order of
            what is given.
    """
    uses = _Uses(layout)
    pairs: dict[Buffer, tuple[Buffer, Overwriting]] = {}
    for output, entry in next_values.items():
        how = uses.overwriting(layout.number(output), layout.number(entry))
        if how is not None and how.launch >= first_launch:
            pairs[output] = entry, how
    found = [
        Replacement(output, position[entry], read, written, how)
        for (output, (entry, how)), read, written in zip(
            pairs.items(),
            layout.places([entry for entry, _ in pairs.values()]),
            layout.places(list(pairs)),
            strict=True,
        )
    ]
    return sorted(found, key=lambda entry: entry.position)


class _Uses:
    """Which launches use which memory, as arguments of which number."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._found: dict[int, list[tuple[int, int, int]]] = {}
        for launch, span in enumerate(layout.spans):
            for place in span:
                use = (launch, place - span.start, layout.offsets[place])
                self._found.setdefault(layout.registers[place], []).append(use)

    def overwriting(self, output: int, entry: int) -> Overwriting | None:
        """How the launch that writes an output may overwrite an input with it.

        It is the last that reads the input, and knows both by one argument each.
        """
        writes, reads = self._found.get(output, []), self._found.get(entry, [])
        if not writes or not reads:
            return None
        writer, last = writes[0][0], reads[-1][0]
        there = [use for use in (*writes, *reads) if use[0] == writer]
        if writer != last or len(there) != 2:
            return None
        (_, written, first_offset), (_, read, second_offset) = there
        pairs = self._layout.launches[writer].executable.in_place
        if first_offset or second_offset or (written, read) not in pairs:
            return None
        return Overwriting(writer, written, read)


class InPlace:
    """Where the outputs that may be written in place go today.

    Args:
        replacements: those outputs.
        frames: all that have arguments for them; the caller may add more.
    """

    def __init__(
        self, replacements: Sequence[Replacement], frames: Sequence[Frame]
    ) -> None:
        self._replacements = list(replacements)
        self._frames = frames
        self.inputs: list[Any] = [None] * len(replacements)
        self.outputs: list[Any] = [None] * len(replacements)
        self._all_free = [_FREE] * len(replacements)
        #: Whether every output goes where its input lies, today.
        self.is_everywhere = False

    def bind(self, inputs: Sequence[Buffer]) -> None:
        """Read these inputs, and write to them where nobody else holds them."""
        has_changed = inputs != self.inputs or inputs != self.outputs
        if has_changed:
            self._follow(inputs)
        references = list(map(sys.getrefcount, self.inputs))
        if has_changed or references != self._all_free:
            self._avoid_held(references)
            self.is_everywhere = all(map(is_, self.inputs, self.outputs))

    def bind_new(self, frame: Frame) -> None:
        """Give a frame that was added the arguments that all others have."""
        for number, entry in enumerate(self._replacements):
            if self.inputs[number] is not None:
                write(entry.input_places, self.inputs[number], frame.cells)
                write(entry.output_places, self.outputs[number], frame.cells)

    def _follow(self, inputs: Sequence[Buffer]) -> None:
        """Read inputs that are others than last time, and write to them."""
        for number, buffer in enumerate(inputs):
            if buffer is not self.inputs[number]:
                self.inputs[number] = buffer
                for frame in self._frames:
                    places = self._replacements[number].input_places
                    write(places, buffer, frame.cells)
            if buffer is not self.outputs[number]:
                self._write_to(number, buffer)

    def _avoid_held(self, references: Sequence[int]) -> None:
        """Write to new buffers where somebody needs the old value, or owns it."""
        for number, count in enumerate(references):
            if count != _FREE or not self.inputs[number].memory.is_own:
                new = new_buffer(self._replacements[number].description)
                self._write_to(number, new)

    def _write_to(self, number: int, buffer: Buffer) -> None:
        self.outputs[number] = buffer
        for frame in self._frames:
            write(self._replacements[number].output_places, buffer, frame.cells)
