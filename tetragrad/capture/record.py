"""Running a function once while noting everything that a replay needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tetragrad.capture.captured import Captured
from tetragrad.capture.effects import Effects, GradEffect, PlaceEffect
from tetragrad.capture.guards import GradGuard, Guards, Sharing
from tetragrad.capture.places import MISSING, Comparison, Kind, Place, is_constant
from tetragrad.capture.sources import (
    ArgumentHandle,
    FixedHandle,
    FixedStorage,
    FreshTensor,
    HandleSource,
    StorageOf,
    StorageOfGrad,
    Storages,
    StorageSource,
    TensorSource,
)
from tetragrad.capture.state import PythonState
from tetragrad.capture.tree import Description, Flattened, build
from tetragrad.capture.watch import GRAD, STEPS, STORAGE, VALUE, Watch, watching
from tetragrad.core.errors import CaptureError
from tetragrad.core.frozen import frozen
from tetragrad.engine import capture
from tetragrad.engine import realize as engine
from tetragrad.engine.capture import Recorder
from tetragrad.engine.replay import Program
from tetragrad.graph.leaves import Buffer
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.generator import default_generator
from tetragrad.tensor.storage import Storage


@frozen
class Outcome:
    """What a capturing call gave: the result, and a replay or why there is none."""

    result: Any
    captured: Captured | None
    reason: str = ""


#: The reason that a call which found pending state gives.
DEFERRED = "state was still pending"


class _Unrepeatable(Exception):
    """The function did something that is allowed, but that no replay can repeat."""


def record(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    flattened: Flattened,
    title: str,
    *,
    may_defer: bool,
) -> Outcome:
    """Call a function and capture the call.

    With ``may_defer``, a call that finds state still pending (a model that was just
    made) runs as it would uncaptured, and gives no capture.

    Raises:
        CaptureError: the function did something that must not be captured; all
            tensors from outside are as they were before.
    """
    # Its state must come from outside, or each replay would start it anew.
    default_generator()
    recorder = Recorder()
    watch = Watch(recorder, may_defer=may_defer)
    state = PythonState(recorder)
    with capture.recording(recorder), watching(watch):
        try:
            for tensor in flattened.tensors:
                watch.read_argument(STORAGE.__get__(tensor))
            state.visit(function, title)
            for value in flattened.objects:
                state.visit(value, flattened.name_of(value))
            state.visit(np.random.mtrand._rand, "numpy.random")
            with state.observing():
                result = function(*args, **kwargs)
            if recorder.error is not None:
                raise recorder.error
            state.check_generators()
            finish = _Finish(recorder, watch, state, flattened.tensors)
            if recorder.is_deferred:
                result, _ = finish.describe_result(result)
                return Outcome(result, None, DEFERRED)
            return finish.outcome(result)
        except CaptureError:
            watch.roll_back()
            # An error that the function caught and turned into another is ours too.
            raise
        except Exception:
            if recorder.error is not None:
                watch.roll_back()
                raise recorder.error from None
            raise
        finally:
            watch.remove_boundaries()


class _Finish:
    """Turns the notes of a capture into a replay."""

    def __init__(
        self,
        recorder: Recorder,
        watch: Watch,
        state: PythonState,
        arguments: Sequence[TensorBase],
    ) -> None:
        self.recorder = recorder
        self.watch = watch
        self.state = state
        self.arguments = list(arguments)
        self._positions: dict[int, int] = {}
        for index, tensor in enumerate(arguments):
            self._positions.setdefault(id(tensor), index)
            self._positions.setdefault(id(STORAGE.__get__(tensor)), index)
        self._fresh: dict[int, Storage] = {}
        self._made: dict[int, FreshTensor] = {}

    def outcome(self, result: Any) -> Outcome:
        result, flattened = self.describe_result(result)
        changes = self.state.effects()
        try:
            tensors = [self._source(entry) for entry in flattened.tensors]
            grads = self._grad_effects()
            places = self._place_effects(changes)
            self._check_handles()
            reason = ""
        except _Unrepeatable as error:
            reason = str(error)
        written = self._written()
        final = [note.storage for note in written] + list(self._fresh.values())
        self._realize(final)
        if reason:
            return Outcome(result, None, reason)
        effects = Effects(
            tuple(self._storage_source(note.storage) for note in written),
            tuple(grads),
            tuple(places),
        )
        captured = self._captured(final, effects, flattened.description, tensors)
        return Outcome(result, captured)

    def describe_result(self, result: Any) -> tuple[Any, Flattened]:
        """Take the result apart; tensors in it lose their graph.

        A replay gives values and no graph, so the first call gives no graph either.

        Raises:
            CaptureError: a replay could not give such a result.
        """
        flattened = Flattened(result, "the result")
        self._check_result(flattened)
        detached = [self._without_graph(entry) for entry in flattened.tensors]
        pairs = zip(detached, flattened.tensors, strict=True)
        if any(new is not old for new, old in pairs):
            result = build(flattened.description, iter(detached))
            flattened.tensors = detached
        return result, flattened

    def _without_graph(self, tensor: TensorBase) -> TensorBase:
        storage, steps = STORAGE.__get__(tensor), STEPS.__get__(tensor)
        if self.watch.is_born(tensor) and storage.carries_gradient(steps):
            return tensor.detach()
        return tensor

    # --- results ---------------------------------------------------------------

    def _check_result(self, flattened: Flattened) -> None:
        for value in flattened.objects:
            name = flattened.name_of(value)
            raise CaptureError(
                f"{name} of a captured function is a {type(value).__name__}",
                hint="return tensors, numbers, text, and lists, tuples, dicts or data "
                "classes of them",
            )

    def _source(self, tensor: TensorBase) -> TensorSource:
        """Where a replay gets this tensor from."""
        known = self._handle_source(tensor)
        if known is not None:
            return known
        found = self._made.get(id(tensor))
        if found is not None:
            return found
        storage = STORAGE.__get__(tensor)
        where: int | FixedStorage | StorageOf
        if self.watch.is_born(storage):
            self._fresh.setdefault(id(storage), storage)
            where = list(self._fresh).index(id(storage))
        else:
            outside = self._storage_source(storage)
            if isinstance(outside, StorageOfGrad):
                raise _Unrepeatable("it returns or keeps a view of a .grad")
            where = outside
        steps, cls = STEPS.__get__(tensor), type(tensor)
        made = FreshTensor(where, steps, cls, tensor._origin)
        self._made[id(tensor)] = made
        return made

    def _handle_source(self, tensor: TensorBase) -> HandleSource | None:
        """The source of a tensor from outside, or None for a new one."""
        if self.watch.is_born(tensor):
            return None
        position = self._positions.get(id(tensor))
        if position is not None:
            return ArgumentHandle(position)
        if id(tensor) in self._grad_handles():
            raise _Unrepeatable("it returns or keeps a .grad from before")
        return FixedHandle(tensor)

    def _storage_source(self, storage: Storage) -> StorageSource:
        position = self._positions.get(id(storage))
        if position is not None:
            return StorageOf(ArgumentHandle(position))
        owner = self._grad_storages().get(id(storage))
        if owner is not None:
            return StorageOfGrad(owner)
        return FixedStorage(storage)

    # --- gradients -------------------------------------------------------------

    def _grad_handles(self) -> dict[int, TensorBase]:
        """The tensors that were found as some tensor's ``.grad``."""
        notes = self.watch.grads.values()
        return {id(note.before): note.handle for note in notes if note.was_read}

    def _grad_storages(self) -> dict[int, HandleSource]:
        found: dict[int, HandleSource] = {}
        for note in self.watch.grads.values():
            if note.was_read and note.before is not None:
                source = self._handle_source(note.handle)
                assert source is not None
                found[id(STORAGE.__get__(note.before))] = source
        return found

    def _grad_guards(self) -> list[GradGuard]:
        guards = []
        for note in self.watch.grads.values():
            source = self._handle_source(note.handle)
            if note.was_read and source is not None:
                guards.append(GradGuard(source, note.kind))
        return guards

    def _grad_effects(self) -> list[GradEffect]:
        effects = []
        for note in self.watch.grads.values():
            after = GRAD.__get__(note.handle)
            if after is not note.before:
                source = self._handle_source(note.handle)
                assert source is not None
                grad = None if after is None else self._source(after)
                effects.append(GradEffect(source, grad))
        return effects

    # --- Python values ---------------------------------------------------------

    def _place_effects(
        self, changes: Iterable[tuple[Place, Any, Any]]
    ) -> list[PlaceEffect]:
        effects = []
        for place, _, new in changes:
            writable = place.kind in (Kind.ITEM, Kind.ATTRIBUTE, Kind.CELL)
            if writable and isinstance(new, TensorBase):
                effects.append(PlaceEffect(place, self._source(new), None))
            elif writable and is_constant(new) and new is not MISSING:
                effects.append(PlaceEffect(place, None, new))
            else:
                raise _Unrepeatable(f"it changes {place.name}")
        return effects

    def _check_handles(self) -> None:
        for note in self.watch.handles.values():
            storage, steps = STORAGE.__get__(note.handle), STEPS.__get__(note.handle)
            if storage is not note.storage or steps is not note.steps:
                line = note.handle.line
                raise _Unrepeatable(
                    f"it changes what the tensor made at {line} is, not only its value"
                )

    # --- values ----------------------------------------------------------------

    def _written(self) -> list[Any]:
        """The storages from outside whose value is another one now."""
        found = []
        for key, note in self.watch.written.items():
            value = VALUE.__get__(note.storage)
            known = self.watch.inputs.get(key)
            if known is None or value is not known[1]:
                found.append(note)
            if note.storage.tracked and not note.tracked:
                raise CaptureError(
                    "a captured function writes a value that carries a gradient into "
                    "a tensor from outside",
                    hint="write x.detach(), or write under no_grad()",
                )
        return found

    def _realize(self, storages: Sequence[Storage]) -> None:
        values = [VALUE.__get__(storage) for storage in storages]
        self._buffers = engine.realize(values)
        for storage, buffer in zip(storages, self._buffers, strict=True):
            # What the call made is handed out as replays do it, without its graph:
            # reading it later would compute it again, fused with other things.
            if not storage.tracked or id(storage) in self._fresh:
                VALUE.__set__(storage, buffer)
                storage.tracked = False

    def _captured(
        self,
        final: Sequence[Storage],
        effects: Effects,
        description: Description,
        tensors: Sequence[TensorSource],
    ) -> Captured:
        sticky, volatile = self._inputs()
        program = Program(
            self.recorder.runs,
            [buffer for _, buffer in sticky],
            [buffer for _, buffer in volatile],
            self.recorder.host_data,
            self._buffers,
            self.recorder.checks,
            self._next_values(effects.written, sticky),
        )
        sources = [source for source, _ in sticky]
        compared, counted = self.state.expected()
        guards = Guards(
            Comparison(compared),
            Comparison([*counted, *self._handle_places()]),
            self._grad_guards(),
            self._sharing(),
            Storages(sources),
        )
        return Captured(
            program,
            guards,
            sources,
            [index for index, _ in volatile],
            effects,
            description,
            tensors,
        )

    def _inputs(
        self,
    ) -> tuple[list[tuple[StorageSource, Buffer]], list[tuple[int, Buffer]]]:
        """The inputs that are used: known ones, those of gradients; and arguments."""
        used = {leaf for run in self.recorder.runs for leaf in run.leaves}
        used.update(self._buffers)
        sticky: list[tuple[StorageSource, Buffer]] = []
        volatile: list[tuple[int, Buffer]] = []
        for storage, buffer in self.watch.inputs.values():
            if buffer in used:
                source = self._storage_source(storage)
                if isinstance(source, StorageOf):
                    volatile.append((source.source.index, buffer))
                else:
                    sticky.append((source, buffer))
        sticky.sort(key=lambda entry: isinstance(entry[0], StorageOfGrad))
        return sticky, volatile

    def _next_values(
        self,
        written: Sequence[StorageSource],
        inputs: Sequence[tuple[StorageSource, Buffer]],
    ) -> dict[Buffer, Buffer]:
        """The next values of storages that are inputs too, with the value of now."""
        now = dict(inputs)
        next_values = zip(self._buffers, written, strict=False)
        return {buffer: now[source] for buffer, source in next_values if source in now}

    # --- guards ----------------------------------------------------------------

    def _handle_places(self) -> list[tuple[Place, Any]]:
        """Tensors from outside must go on showing the same storage the same way."""
        grads = self._grad_handles()
        expected: list[tuple[Place, Any]] = []
        for key, note in self.watch.handles.items():
            if key in self._positions or key in grads:
                continue
            name = f"the tensor made at {note.handle.line}"
            for slot, value in (("storage", note.storage), ("steps", note.steps)):
                place = Place(note.handle, Kind.ATTRIBUTE, slot, name)
                expected.append((place, value))
        return expected

    def _sharing(self) -> Sharing:
        """Arguments that the function also reads in other ways; what it so reads."""
        grads = self._grad_handles()
        hidden = {
            id(note.storage)
            for key, note in self.watch.handles.items()
            if key not in self._positions and key not in grads
        }
        for _, value in self.state.places.values():
            if isinstance(value, TensorBase):
                hidden.add(id(STORAGE.__get__(value)))
        storages = [STORAGE.__get__(tensor) for tensor in self.arguments]
        pinned = {
            index: storage
            for index, storage in enumerate(storages)
            if id(storage) in hidden
        }
        return Sharing(pinned, frozenset(hidden))
