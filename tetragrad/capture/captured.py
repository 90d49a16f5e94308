"""One captured call: what must hold for a replay, what it runs, what it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter, is_
from sys import getrefcount
from typing import Any

from tetragrad.capture.places import Comparison, Kind, Place
from tetragrad.capture.tree import Description, build
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings, settings
from tetragrad.engine import realize as engine
from tetragrad.engine.in_place import REFERENCES_OF_ENTRY
from tetragrad.engine.replay import Program
from tetragrad.graph.leaves import Buffer
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.storage import Storage, View


@frozen(slots=True)
class FixedHandle:
    """A tensor that existed before the capture and is not an argument."""

    handle: TensorBase

    def find(self, tensors: Sequence[TensorBase]) -> TensorBase:
        return self.handle


@frozen(slots=True)
class ArgumentHandle:
    """A tensor among the arguments."""

    index: int

    def find(self, tensors: Sequence[TensorBase]) -> TensorBase:
        return tensors[self.index]


HandleSource = FixedHandle | ArgumentHandle


@frozen(slots=True)
class FixedStorage:
    """A storage that existed before the capture."""

    storage: Storage

    def find(self, tensors: Sequence[TensorBase]) -> Storage:
        return self.storage


@frozen(slots=True)
class StorageOf:
    """The storage of an argument."""

    source: ArgumentHandle

    def find(self, tensors: Sequence[TensorBase]) -> Storage:
        return self.source.find(tensors).storage


@frozen(slots=True)
class StorageOfGrad:
    """The storage of a tensor's ``.grad``."""

    source: HandleSource

    def find(self, tensors: Sequence[TensorBase]) -> Storage:
        grad = self.source.find(tensors).grad
        assert grad is not None
        return grad.storage


StorageSource = FixedStorage | StorageOf | StorageOfGrad


@frozen(slots=True)
class FreshTensor:
    """A new tensor: which new or known storage it shows, and how."""

    storage: int | FixedStorage | StorageOf
    steps: View
    cls: type[TensorBase]
    origin: Any


TensorSource = FixedHandle | ArgumentHandle | FreshTensor


@frozen(slots=True)
class GradGuard:
    """What ``.grad`` was when the captured function read it."""

    source: HandleSource
    kind: tuple[Any, ...] | None


def kind_of_grad(grad: TensorBase | None) -> tuple[Any, ...] | None:
    """Everything about a gradient but its value; None if there is none."""
    if grad is None:
        return None
    storage = grad.storage
    value = storage.value
    return (
        type(grad),
        grad.steps,
        value.shape,
        value.dtype,
        value.device or settings().device,
        storage.tracked,
    )


@frozen(slots=True)
class GradEffect:
    """A tensor whose ``.grad`` the function replaced."""

    source: HandleSource
    grad: TensorSource | None


@frozen(slots=True)
class PlaceEffect:
    """A Python value that the function replaced: by a tensor or by a constant."""

    place: Place
    tensor: TensorSource | None
    constant: Any


@frozen
class Effects:
    """What a replay changes, apart from returning its result."""

    written: tuple[StorageSource, ...]
    grads: tuple[GradEffect, ...]
    places: tuple[PlaceEffect, ...]


class Captured:
    """A captured call that can be replayed.

    The program's outputs are the new values of the written storages, in order, and
    then those of the new storages that results and effects show.
    """

    def __init__(
        self,
        program: Program,
        comparison: Comparison,
        sticky: Sequence[StorageSource],
        volatile: Sequence[StorageSource],
        grad_guards: Sequence[GradGuard],
        pinned: dict[int, Storage],
        hidden: set[int],
        effects: Effects,
        result: Description,
        result_tensors: Sequence[TensorSource],
        num_fresh: int,
    ) -> None:
        self.program = program
        self.comparison = comparison
        self.effects = effects
        self._sticky = _Finder(sticky)
        self._fixed = [s.storage for s in sticky if isinstance(s, FixedStorage)]
        self._volatile_sources = list(volatile)
        self._tracked = [storage.tracked for storage in self._fixed]
        self._guarded = [guard.source for guard in grad_guards]
        self._grad_kinds = [guard.kind for guard in grad_guards]
        self._pinned = pinned
        self._hidden = hidden
        self._result = result
        self._result_tensors = list(result_tensors)
        self._num_fresh = num_fresh
        self._settings = settings()
        self._targets: list[Storage] | None = None
        if all(isinstance(entry, FixedStorage) for entry in effects.written):
            self._targets = [entry.find(()) for entry in effects.written]
        self._grads = _unshared(effects, result_tensors)
        self._grad_owners = [
            source.handle
            for source, _, _ in self._grads
            if isinstance(source, FixedHandle)
        ]
        if len(self._grad_owners) < len(self._grads):
            self._grad_owners = []
        self._free_references = [HELD_BY_OWNER] * (2 * len(effects.grads))
        self._last_grads: list[Any] = [None] * len(effects.grads)
        self._last_storages: list[Any] = [None] * len(effects.grads)

    # --- before ----------------------------------------------------------------

    def first_change(self, tensors: Sequence[TensorBase]) -> str | None:
        """What forbids a replay with these arguments, or None."""
        active = settings()
        if active is not self._settings and not _same_code(active, self._settings):
            return "the settings"
        changed = self.comparison.first_change()
        if changed is not None:
            place, old, new = changed
            if place.kind in (Kind.NAMES, Kind.CONTENT):
                return f"{place.name} changed"
            return f"{place.name} was {_shown(old)}, is {_shown(new)}"
        grads = [source.find(tensors).grad for source in self._guarded]
        if list(map(kind_of_grad, grads)) != self._grad_kinds:
            return "a .grad that is read (None, or a tensor)"
        if list(map(_TRACKED, self._fixed)) != self._tracked:
            return "whether a tensor carries a gradient"
        return self._changed_sharing(tensors)

    def _changed_sharing(self, tensors: Sequence[TensorBase]) -> str | None:
        """Whether arguments share their values with other tensors as they did."""
        for index, tensor in enumerate(tensors):
            storage = tensor.storage
            pinned = self._pinned.get(index)
            if pinned is None and id(storage) in self._hidden:
                return f"tensor argument {index} is one that the function also reads"
            if pinned is not None and pinned is not storage:
                return f"tensor argument {index} was one that the function also reads"
        if not self._sticky.all_fixed:
            grads = list(map(id, self._sticky.of_grads(tensors)))
            passed = {id(tensor.storage) for tensor in tensors}
            is_alone = passed.isdisjoint(grads) and self._hidden.isdisjoint(grads)
            if len(set(grads)) != len(grads) or not is_alone:
                return "which gradients share their values"
        return None

    # --- replay ----------------------------------------------------------------

    def replay(self, tensors: Sequence[TensorBase]) -> Any:
        """Run on the current values; returns what the function would."""
        sticky = _buffers(self._sticky.find(tensors))
        volatile = _buffers([entry.find(tensors) for entry in self._volatile_sources])
        # Found before anything changes: a gradient may be replaced below.
        targets = self._targets
        if targets is None:
            targets = [source.find(tensors) for source in self.effects.written]
        outputs = self.program.replay(sticky, volatile)
        for storage, buffer in zip(targets, outputs, strict=False):
            storage.value = buffer
        maker = _Maker(tensors, outputs[len(targets) :])
        made = [maker.make(source) for source in self._result_tensors]
        self._replace_grads(tensors, maker)
        for change in self.effects.places:
            tensor = change.tensor
            value = change.constant if tensor is None else maker.make(tensor)
            change.place.write(value)
        return build(self._result, iter(made))

    def _replace_grads(self, tensors: Sequence[TensorBase], maker: _Maker) -> None:
        """Give tensors their new gradients, in last time's handles if those are free.

        Making a hundred handles would take longer than everything else here.
        """
        references = [
            *map(getrefcount, self._last_grads),
            *map(getrefcount, self._last_storages),
        ]
        owners = self._grad_owners or [
            source.find(tensors) for source, _, _ in self._grads
        ]
        in_place = [owner.grad for owner in owners]
        all_free = references == self._free_references
        if all_free and all(map(is_, in_place, self._last_grads)):
            for storage, (_, _, output) in zip(
                self._last_storages, self._grads, strict=True
            ):
                storage.value = maker.outputs[output]
            return
        for index, (owner, (_, grad, output)) in enumerate(
            zip(owners, self._grads, strict=True)
        ):
            made = None if grad is None else maker.make(grad)
            owner.grad = made
            if output >= 0:
                assert made is not None
                self._last_grads[index] = made
                self._last_storages[index] = made.storage

    # --- text ------------------------------------------------------------------

    def explain(self) -> list[str]:
        """Lines about launches, buffers and guards."""
        program = self.program
        lines = [f"  {len(program.launches)} launches"]
        lines += [f"    {launch.name}" for launch in program.launches]
        lines.append(
            f"  reads {len(self._volatile_sources)} arguments and "
            f"{len(self._sticky.known)} other tensors; writes "
            f"{len(self.effects.written)} tensors and {len(self.effects.grads)} "
            f"gradients; makes {self._num_fresh} new ones"
        )
        expected = self.comparison.expected
        lines.append(f"  compares {len(expected)} places")
        lines += [f"    {place.name} = {_shown(value)}" for place, value in expected]
        return lines


#: The references to something that one list of ours and its owner hold.
HELD_BY_OWNER = REFERENCES_OF_ENTRY + 1


class _Maker:
    """Gives the tensors of one replay; equal sources give one tensor."""

    def __init__(
        self, tensors: Sequence[TensorBase], outputs: Sequence[Buffer]
    ) -> None:
        self.outputs = outputs
        self._tensors = tensors
        self._storages: dict[int, Storage] = {}
        self._made: dict[int, TensorBase] = {}

    def make(self, source: TensorSource) -> Any:
        if not isinstance(source, FreshTensor):
            return source.find(self._tensors)
        made = self._made.get(id(source))
        if made is None:
            made = self._made[id(source)] = object.__new__(source.cls)
            made.storage = self._storage(source.storage)
            made.steps = source.steps
            made.grad = None
            made._origin = source.origin
            made._seen = None
        return made

    def _storage(self, where: int | FixedStorage | StorageOf) -> Storage:
        if not isinstance(where, int):
            return where.find(self._tensors)
        if where not in self._storages:
            self._storages[where] = Storage(self.outputs[where], tracked=False)
        return self._storages[where]


def _unshared(
    effects: Effects, results: Sequence[TensorSource]
) -> list[tuple[HandleSource, TensorSource | None, int]]:
    """The gradient effects, with the outputs that no other tensor shows, else -1."""
    grads = [effect.grad for effect in effects.grads]
    everything = [*grads, *results, *(change.tensor for change in effects.places)]
    shown = [entry.storage for entry in everything if isinstance(entry, FreshTensor)]
    users = Counter(entry for entry in shown if isinstance(entry, int))
    outputs = [
        entry.storage
        if isinstance(entry, FreshTensor)
        and isinstance(entry.storage, int)
        and users[entry.storage] == 1
        else -1
        for entry in grads
    ]
    sources = [effect.source for effect in effects.grads]
    return list(zip(sources, grads, outputs, strict=True))


def _buffers(storages: Sequence[Storage]) -> list[Buffer]:
    """The current values, computing those that are pending."""
    values: list[Any] = list(map(_VALUE, storages))
    if set(map(type, values)) <= _ONLY_BUFFERS:
        return values
    found = engine.realize(values)
    for storage, buffer in zip(storages, found, strict=True):
        if not storage.tracked:
            storage.value = buffer
    return found


_ONLY_BUFFERS = {Buffer}
_VALUE, _TRACKED = attrgetter("value"), attrgetter("tracked")
_STORAGE_OF_GRAD = attrgetter("grad.storage")


class _Finder:
    """Finds many storages at once; a loop over their sources would take longer.

    Most are known, or those of the gradients of known tensors, as an optimiser's.
    """

    def __init__(self, sources: Sequence[StorageSource]) -> None:
        self.known: list[Any] = [None] * len(sources)
        self.owners: list[TensorBase] = []
        self.others: list[tuple[int, StorageSource]] = []
        self._grad_places: list[int] = []
        for place, source in enumerate(sources):
            if isinstance(source, FixedStorage):
                self.known[place] = source.storage
            elif isinstance(source, StorageOfGrad) and isinstance(
                source.source, FixedHandle
            ):
                self._grad_places.append(place)
                self.owners.append(source.source.handle)
            else:
                self.others.append((place, source))
        self.all_fixed = not self.owners and not self.others

    def find(self, tensors: Sequence[TensorBase]) -> list[Storage]:
        """All storages, in order."""
        if self.all_fixed:
            return self.known
        found = self.known.copy()
        grads = map(_STORAGE_OF_GRAD, self.owners)
        for place, storage in zip(self._grad_places, grads, strict=True):
            found[place] = storage
        for place, source in self.others:
            found[place] = source.find(tensors)
        return found

    def of_grads(self, tensors: Sequence[TensorBase]) -> Iterator[Storage]:
        """The storages of gradients, in any order."""
        yield from map(_STORAGE_OF_GRAD, self.owners)
        for _, source in self.others:
            if isinstance(source, StorageOfGrad):
                yield source.find(tensors)


def _same_code(one: Settings, other: Settings) -> bool:
    return one.device == other.device and one.code_key() == other.code_key()


def _shown(value: Any) -> str:
    if isinstance(value, TensorBase):
        return f"a tensor made at {value.line}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
