"""Groups of parameters, and their options as tensors that a captured step reads."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from tetragrad.engine import capture
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


class ParameterGroup(dict[str, Any]):
    """Parameters under "params" and their options by name, as in PyTorch.

    ``scalar(name)`` gives an option as a 0-d tensor that follows later assignments.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        # Made at once: a tensor made inside a captured step would be part of it.
        self._scalars: dict[str, list[Tensor]] = {
            name: _number_tensors(value) for name, value in dict.items(self)
        }

    def __getitem__(self, name: str) -> Any:
        self._note_reading(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """An option, or the default if the group does not have it."""
        self._note_reading(name)
        return super().get(name, default)

    def items(self) -> Any:
        """Names and options, as of any dict."""
        self._note_reading(*self)
        return super().items()

    def values(self) -> Any:
        """The options, as of any dict."""
        self._note_reading(*self)
        return super().values()

    def _note_reading(self, *names: str) -> None:
        recorder = capture.active()
        if recorder is not None:
            recorder.read_keys.update((id(self), name) for name in names)

    def captured_keys(self) -> set[str]:
        """The options whose change a captured step must notice.

        Numbers that it only reads through their tensors are not among them.
        """
        recorder = capture.active()
        return {
            name
            for name in self
            if not self._scalars.get(name)
            or recorder is None
            or (id(self), name) in recorder.read_keys
        }

    def place_numbers(self) -> None:
        """Bring every option that is a number to where the parameters are.

        Before the first step, so that a captured one copies nothing between devices.
        """
        for name, tensors in self._scalars.items():
            for index in range(len(tensors)):
                if self["params"]:
                    self.scalar(name, index).realize()

    def scalar(self, name: str, index: int = 0) -> Tensor:
        """An option as a float64 tensor; ``index`` picks from a pair such as betas."""
        tensor = self._scalars[name][index]
        device = self["params"][0].device
        if tensor.device != device:
            tensor = self._scalars[name][index] = tensor.to(device)
        return tensor

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        old = self._scalars.get(name, [])
        new = _number_tensors(value)
        if len(old) != len(new) or isinstance(value, Tensor):
            self._scalars[name] = new
            return
        with no_grad():
            for target, source in zip(old, new, strict=True):
                target.copy_(source.to(target.device))

    def update(self, *mappings: Any, **values: Any) -> None:
        """Assign several options."""
        for name, value in dict(*mappings, **values).items():
            self[name] = value

    def options(self) -> dict[str, Any]:
        """Everything but the parameters."""
        return {name: value for name, value in self.items() if name != "params"}

    def __deepcopy__(self, memo: dict[int, Any]) -> ParameterGroup:
        return ParameterGroup(copy.deepcopy(dict(self), memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return ParameterGroup, (dict(self),)


def _number_tensors(value: Any) -> list[Tensor]:
    """A number, or each number of a pair, as a tensor; nothing for other options."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [Tensor(np.float64(value))]
    if isinstance(value, tuple) and value and isinstance(value[0], int | float):
        return [tensor for entry in value for tensor in _number_tensors(entry)]
    return []
