"""What a replay changes, apart from the values that it computes: handles and places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import is_
from sys import getrefcount
from typing import Any

from tetragrad.capture.places import Place
from tetragrad.capture.sources import (
    FixedStorage,
    FreshTensor,
    Handles,
    HandleSource,
    StorageOf,
    StorageSource,
    TensorSource,
)
from tetragrad.capture.tree import TENSOR, Description, build
from tetragrad.core.frozen import frozen
from tetragrad.engine.in_place import REFERENCES_OF_ENTRY
from tetragrad.graph.leaves import Buffer
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.storage import Storage

#: The references to something that one list of ours and its owner hold.
HELD_BY_OWNER = REFERENCES_OF_ENTRY + 1


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


class Maker:
    """Gives the tensors of one replay; equal sources give one tensor.

    Args:
        tensors: among the arguments.
        values: of the new storages.
    """

    def __init__(self, tensors: Sequence[TensorBase], values: Sequence[Buffer]) -> None:
        self.values = values
        self._tensors = tensors
        self._storages: dict[int, Storage] = {}
        self._made: dict[int, TensorBase] = {}

    def make(self, source: TensorSource) -> Any:
        """The tensor that a source stands for."""
        if not isinstance(source, FreshTensor):
            return source.find(self._tensors)
        made = self._made.get(id(source))
        if made is None:
            storage = self._storage(source.storage)
            made = self._made[id(source)] = _handle(source, storage)
        return made

    def _storage(self, where: int | FixedStorage | StorageOf) -> Storage:
        if not isinstance(where, int):
            return where.find(self._tensors)
        found = self._storages.get(where)
        if found is None:
            found = self._storages[where] = Storage(self.values[where], tracked=False)
        return found


def _handle(source: FreshTensor, storage: Storage) -> TensorBase:
    """A new tensor that shows a storage."""
    made = object.__new__(source.cls)
    made.storage = storage
    made.steps = source.steps
    made.grad = None
    made._origin = source.origin
    made._seen = None
    return made


class Results:
    """Builds what a function returns around the tensors of a replay.

    Args:
        description: of what is returned.
        sources: of the tensors in it.
        effects: which may show the same values.
    """

    def __init__(
        self,
        description: Description,
        sources: Sequence[TensorSource],
        effects: Effects,
    ) -> None:
        self._description = description
        self._sources = list(sources)
        self._numbers = _unshared(sources, effects, sources)
        #: Whether each tensor shows an output that no other does.
        self._is_plain = -1 not in self._numbers
        self._is_tensor = description == TENSOR
        self._is_tuple = description == (tuple, *(TENSOR for _ in sources))

    def build(self, tensors: Sequence[TensorBase], outputs: Sequence[Buffer]) -> Any:
        """The result of a replay that changes nothing else."""
        if self._is_plain:
            return self._build_plain(outputs)
        return self.build_with(Maker(tensors, outputs))

    def build_with(self, maker: Maker) -> Any:
        """The result, around tensors that a maker gives."""
        if self._is_plain:
            return self._build_plain(maker.values)
        return build(self._description, map(maker.make, self._sources))

    def _build_plain(self, outputs: Sequence[Buffer]) -> Any:
        made = [
            _handle(source, Storage(outputs[number], tracked=False))  # type: ignore[arg-type]
            for source, number in zip(self._sources, self._numbers, strict=True)
        ]
        if self._is_tensor:
            return made[0]
        return tuple(made) if self._is_tuple else build(self._description, iter(made))


class GradChanges:
    """Gives tensors their new gradients, in last time's handles if those are free.

    Making a hundred handles would take longer than everything else in a replay.
    """

    def __init__(self, effects: Effects, results: Sequence[TensorSource]) -> None:
        self._owners = Handles([effect.source for effect in effects.grads])
        self._grads = [effect.grad for effect in effects.grads]
        self._numbers = _unshared(self._grads, effects, results)
        self._last_grads: list[Any] = [None] * len(self._grads)
        self._last_storages: list[Any] = [None] * len(self._grads)
        self._free_references = [HELD_BY_OWNER] * (2 * len(self._grads))

    def apply(self, tensors: Sequence[TensorBase], maker: Maker) -> None:
        """Replace the gradients by those of a replay."""
        owners = self._owners.find(tensors)
        if self._are_free(owners):
            for storage, number in zip(self._last_storages, self._numbers, strict=True):
                storage.value = maker.values[number]
            return
        for index, (owner, grad) in enumerate(zip(owners, self._grads, strict=True)):
            made: Any = None if grad is None else maker.make(grad)
            owner.grad = made
            if self._numbers[index] >= 0:
                self._last_grads[index] = made
                self._last_storages[index] = made.storage

    def _are_free(self, owners: Sequence[TensorBase]) -> bool:
        """Whether all handles of last time are where they were put, and only there."""
        references = [
            *map(getrefcount, self._last_grads),
            *map(getrefcount, self._last_storages),
        ]
        in_place = [owner.grad for owner in owners]
        return references == self._free_references and all(
            map(is_, in_place, self._last_grads)
        )


def _unshared(
    sources: Sequence[TensorSource | None],
    effects: Effects,
    results: Sequence[TensorSource],
) -> list[int]:
    """The number of each new tensor's value, or -1 if other tensors show it too."""
    grads = [effect.grad for effect in effects.grads]
    everything = [*grads, *results, *(change.tensor for change in effects.places)]
    users = Counter(map(_number_of, everything))
    numbers = map(_number_of, sources)
    return [number if users[number] == 1 else -1 for number in numbers]


def _number_of(source: TensorSource | None) -> int:
    """The number of the new storage that a tensor shows, else -1."""
    if isinstance(source, FreshTensor) and isinstance(source.storage, int):
        return source.storage
    return -1
