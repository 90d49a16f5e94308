"""Packed forms of operands that do not change, kept with the memory they are from.

A product packs the columns that it multiplies. For a layer's weights that is the same
work at every launch; where it is a good part of the product, a kernel packs them once,
and another one reads what it left (``tetragrad/tile/plans/choose_kept.py``). The form
is kept with the block of memory, lives as long as that, and is forgotten when a replay
writes there. Memory that others can write to, as NumPy or another library, has none
([decision 23](../../docs/decisions/0023-packed-weights.md)).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.core.settings import Settings
from tetragrad.engine.memory import Memory
from tetragrad.engine.schedule import Launch, Schedule, Source
from tetragrad.graph.leaves import Buffer

if TYPE_CHECKING:
    from tetragrad.tile.plans.choose_kept import Apart

#: Runs of a schedule until its launches are looked at, and of a launch on the same
#: memory until that is packed: what is computed once or twice is not worth it.
RUNS_BEFORE = 2

_lock = threading.RLock()


class Form:
    """How one launch of a schedule can read a packed form of one of its arguments.

    Args:
        number: of the launch.
        launch: as it is.
        apart: its kernel in two parts.
    """

    def __init__(
        self, number: int, launch: Launch, apart: Apart, on: Device, active: Settings
    ) -> None:
        self.number = number
        self.slot = apart.slot
        self.argument = launch.arguments[apart.slot]
        self._launch, self._apart = launch, apart
        self._device, self._settings = on, active
        self.key = (self.argument.offset, apart.first)

    @cached_property
    def _executables(self) -> list[Executable]:
        # The compiler is imported when something is compiled.
        from tetragrad.engine.assembly import executables

        kernels = [self._apart.first, self._apart.rest]
        return executables(kernels, self._device, self._settings)

    @cached_property
    def launch(self) -> Launch:
        """What reads the packed form, with all arguments as they were."""
        return replace(
            self._launch,
            work=self._apart.rest,
            executable=self._executables[1],
            reasons=(*self._launch.reasons, "kept: reads an operand packed before"),
        )

    def pack(self, buffer: Buffer) -> Memory:
        """A packed form of a buffer as it is now."""
        packed = self._apart.rest.slots[self.slot]
        memory: Memory = self._device.allocate(packed.numel * packed.dtype.itemsize)
        source = buffer.memory.address + self.argument.offset
        self._executables[0].launch([source, memory.address])
        return memory

    def wrapped(self, memory: object) -> Buffer:
        """A packed form as an argument of its own, whichever memory has it."""
        packed = self._apart.rest.slots[self.slot]
        return Buffer(memory, (packed.numel,), packed.dtype, self._device.name)


def forms_of(schedule: Schedule, on: Device, active: Settings) -> Iterator[Form]:
    """The launches that could read packed forms of what the schedule is given."""
    if not active.keep_packed or not on.has_host_memory:
        return
    # Plans are imported where they are made.
    from tetragrad.tile.plans.choose_kept import set_apart

    for number, launch in enumerate(schedule.launches):
        apart = set_apart(launch.kernel, on.target, active)
        if apart is not None:
            form = Form(number, launch, apart, on, active)
            if form.argument.source is Source.LEAF:
                yield form


def packed_again(buffer: Buffer, form: Form) -> Memory | None:
    """The packed form of a buffer, if the launch has read the same before."""
    memory = buffer.memory
    if not can_keep(memory):
        return None
    with _lock:
        if memory.kept is None:
            memory.kept = {}
        if form.key not in memory.kept:
            memory.kept[form.key] = None
            return None
    return packed(buffer, form)


def packed(buffer: Buffer, form: Form) -> Memory | None:
    """The packed form of a buffer, which is kept; None if there is no room for it."""
    global _any_kept
    memory = buffer.memory
    with _lock:
        if memory.kept is None:
            memory.kept = {}
        if memory.kept.get(form.key) is None:
            try:
                memory.kept[form.key] = form.pack(buffer)
            except OutOfMemoryError:
                return None
            _any_kept = True
        found: Memory = memory.kept[form.key]
        return found


#: Whether any form was ever kept: else nothing has to be forgotten.
_any_kept = False


def can_keep(memory: Any) -> bool:
    """Whether only replays write to a block of memory."""
    return isinstance(memory, Memory) and memory.is_own


def forget(buffers: Iterable[Buffer]) -> None:
    """Buffers are written to: what was packed of them is old."""
    if _any_kept:
        for buffer in buffers:
            if getattr(buffer.memory, "kept", None):
                buffer.memory.kept = None


def read_packed(
    schedule: Schedule,
    leaves: Sequence[Buffer],
    calls: list[tuple[Launch, list[int]]],
    on: Device,
    active: Settings,
) -> None:
    """Let calls of a schedule read packed forms of what they have read before."""
    uses = schedule.uses
    uses.runs += 1
    if uses.runs == RUNS_BEFORE:
        uses.forms = list(forms_of(schedule, on, active))
    for form in uses.forms:
        found = packed_again(leaves[form.argument.position], form)
        if found is not None:
            _, addresses = calls[form.number]
            addresses[form.slot] = found.address
            calls[form.number] = (form.launch, addresses)
