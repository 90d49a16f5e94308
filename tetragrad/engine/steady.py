"""Replays whose weights stay the same read packed forms of them.

A program is replayed as it was recorded until its sticky inputs have been the same
buffers for some replays. Then a second program takes over, in which the launches that
multiply by such an input read its packed form (``tetragrad/engine/kept.py``), as one
more sticky input. When an input changes, the first one is there again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from tetragrad.core.settings import settings
from tetragrad.engine.capture import Run
from tetragrad.engine.kept import Form, can_keep, forms_of, packed
from tetragrad.engine.realize import device
from tetragrad.engine.replay import Program
from tetragrad.engine.schedule import Argument, Launch, Source
from tetragrad.graph.leaves import Buffer

#: Replays on the same inputs before anything is packed.
REPLAYS_BEFORE = 2

_KEPT = attrgetter("memory.kept")


class Steady:
    """A program that may be replayed as one that reads packed forms.

    Args:
        program: as it was recorded. Where it changes what it reads, nothing is packed.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._last: list[Buffer] = []
        self._same = 0
        self._may_pack = bool(program.sticky) and not program.changes_inputs
        #: The program that reads packed forms, the inputs that they are of, and what
        #: the memory of those kept when they were packed.
        self._packed: Program | None = None
        self._inputs: list[tuple[int, Form]] = []
        self._operands: list[Buffer] = []
        self._known: list[Any] = []
        self._forms: list[Buffer] = []

    def replay(
        self,
        kept: list[Buffer],
        volatile: Sequence[Buffer],
        replaced: Sequence[Buffer] | None = (),
    ) -> tuple[list[Buffer], list[Buffer]]:
        """Run on these inputs, as :meth:`Program.replay` does."""
        if not self._may_pack:
            return self._program.replay(kept, volatile, replaced)
        if kept != self._last:
            self._last, self._same = kept, 0
        self._same += 1
        if self._same > REPLAYS_BEFORE and self._have_forms(kept):
            assert self._packed is not None
            return self._packed.replay([*kept, *self._forms], volatile)
        return self._program.replay(kept, volatile, replaced)

    def _have_forms(self, kept: Sequence[Buffer]) -> bool:
        """Whether there is a packed form of each input that is wanted, as it is now."""
        if self._same == REPLAYS_BEFORE + 1:
            if self._packed is None:
                self._find_inputs(kept)
            self._operands = [kept[place] for place, _ in self._inputs]
        elif list(map(_KEPT, self._operands)) == self._known:
            return self._packed is not None
        return self._may_pack and self._pack()

    def _find_inputs(self, kept: Sequence[Buffer]) -> None:
        """Divide the launches that multiply by a sticky input."""
        place_of = {entry: place for place, entry in enumerate(self._program.sticky)}
        runs, self._inputs = [], []
        for run in self._program.runs:
            found = [
                (place_of[leaf], form)
                for form in forms_of(run.schedule, device(run.device), settings())
                if (leaf := run.leaves[form.argument.position]) in place_of
            ]
            found = [entry for entry in found if can_keep(kept[entry[0]].memory)]
            runs.append(_reading(run, [form for _, form in found]))
            self._inputs += found
        self._may_pack = bool(self._inputs)
        if self._may_pack:
            self._packed = self._program.reading(runs)

    def _pack(self) -> bool:
        """Find or make all packed forms."""
        forms = []
        for operand, (_, form) in zip(self._operands, self._inputs, strict=True):
            memory = packed(operand, form)
            if memory is None:
                self._may_pack = False
                return False
            forms.append(form.wrapped(memory))
        self._forms = forms
        self._known = list(map(_KEPT, self._operands))
        return True


def _reading(run: Run, forms: Sequence[Form]) -> Run:
    """A run whose launches read packed forms, each of them a leaf of its own."""
    launches: list[Launch] = list(run.schedule.launches)
    leaves = list(run.leaves)
    for form in forms:
        launch = form.launch
        arguments = list(launch.arguments)
        arguments[form.slot] = Argument(Source.LEAF, len(leaves))
        launches[form.number] = replace(launch, arguments=tuple(arguments))
        leaves.append(form.wrapped(object()))
    schedule = replace(run.schedule, launches=tuple(launches))
    return replace(run, schedule=schedule, leaves=tuple(leaves))
