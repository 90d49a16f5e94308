"""What must be as it was when a call was captured, for a replay to do the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tetragrad.capture.places import Comparison, Kind
from tetragrad.capture.sources import Handles, HandleSource, Storages
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings, settings
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.storage import Storage


@frozen(slots=True)
class GradGuard:
    """What ``.grad`` was when the captured function read it."""

    source: HandleSource
    kind: tuple[Any, ...] | None


def kind_of_grad(grad: TensorBase | None) -> tuple[Any, ...] | None:
    """Everything about a gradient but its value; None if there is none."""
    return _kinds_of_grads([grad], settings().device)[0]


def _kinds_of_grads(
    grads: Sequence[TensorBase | None], default: str
) -> list[tuple[Any, ...] | None]:
    return [
        None
        if grad is None
        else (
            type(grad),
            grad.steps,
            (value := (storage := grad.storage).value).shape,
            value.dtype,
            value.device or default,
            storage.tracked,
        )
        for grad in grads
    ]


@frozen(slots=True)
class Sharing:
    """Which arguments share their values with what the function reads besides."""

    #: Storages of arguments that it also reads in other ways, by the argument.
    pinned: Mapping[int, Storage]
    #: The identities of all storages that it reads in other ways.
    hidden: frozenset[int]

    def first_change(self, storages: Sequence[Storage]) -> str | None:
        """What has changed, given the storages of the arguments."""
        for index, storage in enumerate(storages):
            pinned = self.pinned.get(index)
            if pinned is None and id(storage) in self.hidden:
                return f"tensor argument {index} is one that the function also reads"
            if pinned is not None and pinned is not storage:
                return f"tensor argument {index} was one that the function also reads"
        return None


class Guards:
    """Everything that one captured call depends on, apart from its arguments' kinds.

    Args:
        comparison: of Python values.
        grads: of gradients that the function read.
        sharing: of arguments with other tensors.
        inputs: storages that are read and are not arguments.
    """

    def __init__(
        self,
        comparison: Comparison,
        grads: Sequence[GradGuard],
        sharing: Sharing,
        inputs: Storages,
    ) -> None:
        self.comparison = comparison
        self._settings = settings()
        self._owners = Handles([guard.source for guard in grads])
        self._grad_kinds = [guard.kind for guard in grads]
        self._sharing = sharing
        self._inputs = inputs
        self._tracked = [storage.tracked for storage in inputs.known]
        #: The identities of gradients' storages that are known to share nothing.
        self._alone: list[int] = []

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
            return f"{place.name} was {shown(old)}, is {shown(new)}"
        if self._grad_kinds:
            grads = [owner.grad for owner in self._owners.find(tensors)]
            if _kinds_of_grads(grads, active.device) != self._grad_kinds:
                return "a .grad that is read (None, or a tensor)"
        if [storage.tracked for storage in self._inputs.known] != self._tracked:
            return "whether a tensor carries a gradient"
        storages = [tensor.storage for tensor in tensors]
        change = self._sharing.first_change(storages)
        if change is None and self._inputs.has_grads:
            change = self._changed_sharing_of_grads(tensors, storages)
        return change

    def _changed_sharing_of_grads(
        self, tensors: Sequence[TensorBase], arguments: Sequence[Storage]
    ) -> str | None:
        grads = list(map(id, self._inputs.of_grads(tensors)))
        found: Collection[int] = self._alone
        if grads != self._alone:
            found = set(grads)
            if len(found) < len(grads) or not found.isdisjoint(self._sharing.hidden):
                return _SHARED_GRADS
            self._alone = grads
        if any(id(storage) in found for storage in arguments):
            return _SHARED_GRADS
        return None


_SHARED_GRADS = "which gradients share their values"


def _same_code(one: Settings, other: Settings) -> bool:
    return one.device == other.device and one.code_key() == other.code_key()


def shown(value: Any) -> str:
    """A value that was compared, on a line of text."""
    if isinstance(value, TensorBase):
        return f"a tensor made at {value.line}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
