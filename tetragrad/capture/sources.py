"""Where a replay finds the tensors and storages that the captured call used.

Those that existed before the capture are found again, as themselves or by their place
among the arguments; those that the call made are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tetragrad.core.frozen import frozen
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


class Handles:
    """Finds many tensors at once; a call for each would take longer than a replay."""

    def __init__(self, sources: Sequence[HandleSource]) -> None:
        self._sources = list(sources)
        self._known = [s.handle for s in sources if isinstance(s, FixedHandle)]
        self._all_known = len(self._known) == len(self._sources)

    def find(self, tensors: Sequence[TensorBase]) -> list[TensorBase]:
        """All tensors, in order."""
        if self._all_known:
            return self._known
        return [source.find(tensors) for source in self._sources]


class Storages:
    """Finds many storages at once.

    Args:
        sources: storages that are known, then those of gradients.
    """

    def __init__(self, sources: Sequence[StorageSource]) -> None:
        self.known = [s.storage for s in sources if isinstance(s, FixedStorage)]
        others = sources[len(self.known) :]
        owners = [s.source for s in others if isinstance(s, StorageOfGrad)]
        assert len(owners) == len(others)
        self._owners = Handles(owners)
        self.has_grads = bool(owners)

    def find(self, tensors: Sequence[TensorBase]) -> list[Storage]:
        """All storages, in order."""
        if not self.has_grads:
            return self.known
        return [*self.known, *self.of_grads(tensors)]

    def of_grads(self, tensors: Sequence[TensorBase]) -> list[Storage]:
        """The storages of the gradients."""
        grads: list[Any] = [owner.grad for owner in self._owners.find(tensors)]
        return [grad.storage for grad in grads]
