"""Recognising a call whose arguments are of the same kinds as those of the last one.

To take arguments apart, describe and look them up takes longer than a small network.
But most calls pass a few tensors just like those of the call before, and to see that
much takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.mixed_precision import autocast_modes
from tetragrad.tensor.modes import is_grad_enabled
from tetragrad.tensor.promotion import default_float

if TYPE_CHECKING:
    from tetragrad.capture.captured import Captured

_CONSTANTS = (bool, int, str, type(None))


class Likeness:
    """The arguments of a call, apart from its tensors' values, and what replays it."""

    def __init__(
        self,
        num_positional: int,
        names: Sequence[str],
        kinds: Sequence[Any],
        captured: Captured,
    ) -> None:
        self.captured = captured
        self._num_positional = num_positional
        self._names = list(names)
        #: A tuple for each tensor, and each constant as it is.
        self._kinds = list(kinds)
        self._grad = is_grad_enabled()
        self._float = default_float()
        self._autocast = autocast_modes()

    @classmethod
    def of(
        cls, args: Sequence[Any], kwargs: Mapping[str, Any], captured: Captured
    ) -> Likeness | None:
        """What calls like this one are recognised by; None if it is not that simple."""
        values = [*args, *kwargs.values()]
        kinds = [_kind(value) for value in values]
        storages = [
            id(value.storage) for value in values if isinstance(value, TensorBase)
        ]
        if _UNUSUAL in kinds or len(set(storages)) < len(storages):
            return None
        return cls(len(args), [*kwargs], kinds, captured)

    def tensors_of(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[TensorBase] | None:
        """The tensors among arguments that are like these; None if they are not."""
        if len(args) != self._num_positional or [*kwargs] != self._names:
            return None
        if is_grad_enabled() is not self._grad or default_float() is not self._float:
            return None
        if autocast_modes() != self._autocast:
            return None
        tensors = []
        storages = set()
        for value, kind in zip((*args, *kwargs.values()), self._kinds, strict=True):
            if type(kind) is not tuple:
                if value is not kind:
                    return None
            elif type(value) is not kind[0] or _kind_of(value) != kind:
                return None
            else:
                tensors.append(value)
                storages.add(id(value.storage))
        # Of tensors that share their values, what is written into one shows in others.
        return tensors if len(storages) == len(tensors) else None


#: Stands for an argument that needs more than a glance.
_UNUSUAL = object()


def _kind(value: Any) -> Any:
    if type(value) in _CONSTANTS:
        return value
    is_plain = (
        isinstance(value, TensorBase)
        and not value.steps
        and not type(value).__dictoffset__
    )
    return _kind_of(value) if is_plain else _UNUSUAL


def _kind_of(tensor: TensorBase) -> tuple[Any, ...]:
    """Everything about a tensor but its value."""
    storage = tensor.storage
    value = storage.value
    return (
        type(tensor),
        value.shape,
        value.dtype,
        value.device,
        storage.tracked,
        tensor.steps,
    )
