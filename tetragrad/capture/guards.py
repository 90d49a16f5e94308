"""What must be as it was when a call was captured, for a replay to do the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from tetragrad.capture.places import Comparison, Kind
from tetragrad.capture.sources import Handles, HandleSource, Storages
from tetragrad.core.changes import changes
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

    def first_change(
        self, tensors: Sequence[TensorBase], grads: Collection[int]
    ) -> str | None:
        """What has changed, given the arguments and the storages of gradients."""
        for index, tensor in enumerate(tensors):
            storage = tensor.storage
            pinned = self.pinned.get(index)
            if pinned is None and id(storage) in self.hidden:
                return f"tensor argument {index} is one that the function also reads"
            if pinned is not None and pinned is not storage:
                return f"tensor argument {index} was one that the function also reads"
            if id(storage) in grads:
                return _SHARED_GRADS
        return None


class Guards:
    """Everything that one captured call depends on, apart from its arguments' kinds.

    Args:
        comparison: of Python values.
        counted: of those that change only where it is counted.
        grads: of gradients that the function read.
        sharing: of arguments with other tensors.
        inputs: storages that are read and are not arguments.
    """

    def __init__(
        self,
        comparison: Comparison,
        counted: Comparison,
        grads: Sequence[GradGuard],
        sharing: Sharing,
        inputs: Storages,
    ) -> None:
        self.comparison = comparison
        self.counted = counted
        self._settings = settings()
        self._owners = Handles([guard.source for guard in grads])
        self._grad_kinds = [guard.kind for guard in grads]
        self._sharing = sharing
        self._inputs = inputs
        self._tracked = [entry for entry in inputs.known if entry.tracked]
        self._untracked = [entry for entry in inputs.known if not entry.tracked]
        #: The latest change of those that are counted when nothing differed.
        self._known_change = -1
        #: The gradients that were found to be what they must be: a new list whenever
        #: there are others, or they may show something else.
        self.known_grads: Sequence[TensorBase | None] = []
        #: The identities of the gradients' storages, if they share nothing.
        self._alone: set[int] = set()

    def first_change(self, tensors: Sequence[TensorBase]) -> str | None:
        """What forbids a replay with these arguments, or None."""
        active = settings()
        if active is not self._settings and not _same_code(active, self._settings):
            return "the settings"
        change = _first_difference(self.comparison)
        if change is None and changes.latest != self._known_change:
            change = self._counted_change()
        if change is None and not all(map(_TRACKED, self._tracked)):
            change = _CARRIES_GRADIENT
        if change is None and self._grad_kinds:
            change = self._changed_grads(tensors, active.device)
        if change is not None:
            return change
        return self._sharing.first_change(tensors, self._alone)

    def _counted_change(self) -> str | None:
        """What has changed of all that changes only where it is counted."""
        # Read before anything is compared: what changes meanwhile is seen next time.
        latest = changes.latest
        change = _first_difference(self.counted)
        if change is None and any(map(_TRACKED, self._untracked)):
            change = _CARRIES_GRADIENT
        self.known_grads = []
        if change is None:
            self._known_change = latest
        return change

    def _changed_grads(self, tensors: Sequence[TensorBase], device: str) -> str | None:
        """What has changed of the gradients that are read."""
        owners = self._owners.find(tensors)
        # A handle goes on showing what it shows, or that is counted as a change.
        if self.known_grads:
            for owner, known in zip(owners, self.known_grads, strict=True):
                if owner.grad is not known:
                    break
            else:
                return None
        grads = [owner.grad for owner in owners]
        if _kinds_of_grads(grads, device) != self._grad_kinds:
            return "a .grad that is read (None, or a tensor)"
        if self._inputs.has_grads:
            storages = list(map(id, self._inputs.of_grads(tensors)))
            self._alone = set(storages)
            is_shared = len(self._alone) < len(storages)
            if is_shared or not self._alone.isdisjoint(self._sharing.hidden):
                return _SHARED_GRADS
        self.known_grads = grads
        return None


_TRACKED = attrgetter("tracked")
_CARRIES_GRADIENT = "whether a tensor carries a gradient"
_SHARED_GRADS = "which gradients share their values"


def _first_difference(comparison: Comparison) -> str | None:
    """The first place that holds something else, as a sentence."""
    changed = comparison.first_change()
    if changed is None:
        return None
    place, old, new = changed
    if place.kind in (Kind.NAMES, Kind.CONTENT):
        return f"{place.name} changed"
    return f"{place.name} was {shown(old)}, is {shown(new)}"


def _same_code(one: Settings, other: Settings) -> bool:
    return one.device == other.device and one.code_key() == other.code_key()


def shown(value: Any) -> str:
    """A value that was compared, on a line of text."""
    if isinstance(value, TensorBase):
        return f"a tensor made at {value.line}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
