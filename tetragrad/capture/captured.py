"""One captured call: what must hold for a replay, what it runs, what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from tetragrad.capture.effects import Effects, GradChanges, Maker, Results
from tetragrad.capture.guards import Guards, shown
from tetragrad.capture.lending import Lending
from tetragrad.capture.places import Comparison
from tetragrad.capture.sources import Storages, StorageSource, TensorSource
from tetragrad.capture.tree import Description
from tetragrad.engine import realize as engine
from tetragrad.engine.replay import Program
from tetragrad.engine.steady import Steady
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
        self._steady = Steady(program)
        self.guards = guards
        self.effects = effects
        self._kept = Storages([sticky[place] for place in program.kept])
        self._replaced = Storages([sticky[place] for place in program.replaced])
        #: The storages that are kept, and the gradients when they were found.
        self._found_kept: list[Storage] = []
        self._found_grads: object = None
        is_known = bool(self._replaced.known) and not self._replaced.has_grads
        self._lending = Lending(self._replaced.known) if is_known else None
        self._volatile = list(volatile)
        in_place = set(program.written_in_place)
        self._written = [
            source
            for number, source in enumerate(effects.written)
            if number not in in_place
        ]
        self._has_effects = bool(effects.written or effects.grads or effects.places)
        self._grads = GradChanges(effects, result_tensors) if effects.grads else None
        self._result = Results(result, result_tensors, effects)

    def first_change(self, tensors: Sequence[TensorBase]) -> str | None:
        """What forbids a replay with these arguments, or None."""
        return self.guards.first_change(tensors)

    def replay(self, tensors: Sequence[TensorBase]) -> Any:
        """Run on the current values; returns what the function would."""
        program = self.program
        kept = _buffers(self._kept_storages(tensors), program.last_kept)
        storages = [tensors[index].storage for index in self._volatile]
        volatile = _buffers(storages, ())
        if not self._has_effects:
            _, outputs = self._steady.replay(kept, volatile)
            return self._result.build(tensors, outputs)
        # Found before anything changes: a gradient may be replaced below.
        written = [source.find(tensors) for source in self._written]
        if self._lending is not None and self._lending.are_untouched():
            _, outputs = self._steady.replay(kept, volatile, None)
        else:
            outputs = self._replace_values(tensors, kept, volatile)
        for storage, buffer in zip(written, outputs, strict=False):
            storage.value = buffer
        return self._with_effects(tensors, outputs[len(written) :])

    def _kept_storages(self, tensors: Sequence[TensorBase]) -> list[Storage]:
        """The storages that are read, and not overwritten where they lie."""
        known = self.guards.known_grads
        if known is not self._found_grads:
            self._found_kept = self._kept.find(tensors)
            self._found_grads = known
        return self._found_kept

    def _replace_values(
        self,
        tensors: Sequence[TensorBase],
        kept: list[Buffer],
        volatile: Sequence[Buffer],
    ) -> list[Buffer]:
        """Replay, and give storages their next values; returns the other outputs."""
        program, lending = self.program, self._lending
        storages = self._replaced.find(tensors)
        old = _buffers(storages, program.last_replaced)
        if lending is not None:
            lending.lend(old)
        new, outputs = self._steady.replay(kept, volatile, old)
        if new != old:
            for storage, buffer in zip(storages, new, strict=True):
                storage.value = buffer
        elif lending is not None:
            lending.confirm()
        return outputs

    def _with_effects(
        self, tensors: Sequence[TensorBase], outputs: Sequence[Buffer]
    ) -> Any:
        """Change gradients and places; returns what the function would."""
        maker = Maker(tensors, outputs)
        result = self._result.build_with(maker)
        if self._grads is not None:
            self._grads.apply(tensors, maker)
        for change in self.effects.places:
            tensor = change.tensor
            value = change.constant if tensor is None else maker.make(tensor)
            change.place.write(value)
        return result

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
        lines += self._places("compares", self.guards.comparison)
        lines += self._places("counts changes of", self.guards.counted)
        return lines

    def _places(self, what: str, comparison: Comparison) -> list[str]:
        expected = comparison.expected
        named = [f"    {place.name} = {shown(value)}" for place, value in expected]
        return [f"  {what} {len(expected)} places", *named]


def _buffers(storages: Sequence[Storage], usual: Sequence[Buffer]) -> list[Buffer]:
    """The current values, computing those that are pending.

    ``usual`` is what they were last time: then there is nothing to look at.
    """
    values: list[Any] = list(map(_VALUE, storages))
    if values == usual or set(map(type, values)) <= _ONLY_BUFFERS:
        return values
    found = engine.realize(values)
    for storage, buffer in zip(storages, found, strict=True):
        if not storage.tracked:
            storage.value = buffer
    return found


_VALUE = attrgetter("value")
_ONLY_BUFFERS = {Buffer}
