"""One captured call: what must hold for a replay, what it runs, what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tetragrad.capture.effects import Effects, GradChanges, Maker
from tetragrad.capture.guards import Guards, shown
from tetragrad.capture.sources import Storages, StorageSource, TensorSource
from tetragrad.capture.tree import Description, build
from tetragrad.engine import realize as engine
from tetragrad.engine.replay import Program
from tetragrad.graph.leaves import Buffer
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.storage import Storage


class Captured:
    """A captured call that can be replayed.

    Args:
        program: gives the new values of the written storages, in order, and then those
            of the new storages that results and effects show.
        guards: what must hold.
        sticky: the storages that the program reads, as it is told of them.
        volatile: the arguments that it reads, by their places among the tensors.
        effects: what changes.
        result: what is returned, around the result's tensors.
        result_tensors: where these come from.
    """

    def __init__(
        self,
        program: Program,
        guards: Guards,
        sticky: Sequence[StorageSource],
        volatile: Sequence[int],
        effects: Effects,
        result: Description,
        result_tensors: Sequence[TensorSource],
    ) -> None:
        self.program = program
        self.guards = guards
        self.effects = effects
        self._kept = Storages([sticky[place] for place in program.kept])
        self._replaced = Storages([sticky[place] for place in program.replaced])
        self._volatile = list(volatile)
        in_place = set(program.written_in_place)
        self._written = [
            source
            for number, source in enumerate(effects.written)
            if number not in in_place
        ]
        self._grads = GradChanges(effects, result_tensors) if effects.grads else None
        self._result = result
        self._result_tensors = list(result_tensors)

    def first_change(self, tensors: Sequence[TensorBase]) -> str | None:
        """What forbids a replay with these arguments, or None."""
        return self.guards.first_change(tensors)

    def replay(self, tensors: Sequence[TensorBase]) -> Any:
        """Run on the current values; returns what the function would."""
        program = self.program
        kept = _buffers(self._kept.find(tensors), program.last_kept)
        replaced = self._replaced.find(tensors)
        old = _buffers(replaced, program.last_replaced)
        storages = [tensors[index].storage for index in self._volatile]
        volatile = _buffers(storages, ())
        # Found before anything changes: a gradient may be replaced below.
        written = [source.find(tensors) for source in self._written]
        new, outputs = program.replay(kept, volatile, old)
        if new != old:
            for storage, buffer in zip(replaced, new, strict=True):
                storage.value = buffer
        for storage, buffer in zip(written, outputs, strict=False):
            storage.value = buffer
        maker = Maker(tensors, outputs[len(written) :])
        made = [maker.make(source) for source in self._result_tensors]
        if self._grads is not None:
            self._grads.apply(tensors, maker)
        for change in self.effects.places:
            tensor = change.tensor
            value = change.constant if tensor is None else maker.make(tensor)
            change.place.write(value)
        return build(self._result, iter(made))

    def explain(self) -> list[str]:
        """Lines about launches, buffers and guards."""
        program, effects = self.program, self.effects
        num_inputs = len(program.kept) + len(program.replaced)
        lines = [f"  {len(program.launches)} launches"]
        lines += [f"    {launch.name}" for launch in program.launches]
        lines.append(
            f"  reads {len(self._volatile)} arguments and {num_inputs} other tensors; "
            f"writes {len(effects.written)} tensors and {len(effects.grads)} "
            f"gradients; makes {program.num_outputs - len(effects.written)} new ones"
        )
        expected = self.guards.comparison.expected
        lines.append(f"  compares {len(expected)} places")
        lines += [f"    {place.name} = {shown(value)}" for place, value in expected]
        return lines


def _buffers(storages: Sequence[Storage], usual: Sequence[Buffer]) -> list[Buffer]:
    """The current values, computing those that are pending.

    ``usual`` is what they were last time: then there is nothing to look at.
    """
    values: list[Any] = [storage.value for storage in storages]
    if values == usual or set(map(type, values)) <= _ONLY_BUFFERS:
        return values
    found = engine.realize(values)
    for storage, buffer in zip(storages, found, strict=True):
        if not storage.tracked:
            storage.value = buffer
    return found


_ONLY_BUFFERS = {Buffer}
