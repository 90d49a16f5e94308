"""Parameters: tensors that a module finds by itself, and that training changes."""

from __future__ import annotations

from typing import Any

from tetragrad.tensor import Tensor
from tetragrad.tensor.storage import Collected, Moved, Read, Stopped


class Parameter(Tensor):
    """A tensor that belongs to a module's ``parameters()`` once assigned to it.

    What operations on it give are plain tensors.

    Args:
        data: a tensor, whose elements are shared, or anything ``Tensor`` accepts.
        requires_grad: whether training should find a gradient for it.

    >>> from tetragrad import Tensor, nn
    >>> nn.Parameter(Tensor.zeros(2, 3)).requires_grad
    True
    """

    __slots__ = ()

    def __new__(cls, data: Any = (), requires_grad: bool = True) -> Parameter:
        source = data if isinstance(data, Tensor) else Tensor(data)
        shared = source.detach()
        parameter = cls._handle(shared.storage, shared.steps)
        return parameter.requires_grad_() if requires_grad else parameter

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def replace_value(tensor: Tensor, value: Tensor) -> None:
    """Give a leaf another value, perhaps of another dtype or on another device.

    The handle stays the same object, so an optimiser or a tied layer that holds it
    sees the new value.
    """
    shown = Moved | Read
    steps: list[Any] = [step for step in value.steps if isinstance(step, shown)]
    if tensor.requires_grad:
        keys = [step for step in tensor.steps if isinstance(step, Collected)]
        steps += [Stopped(), keys[-1]]
    tensor.storage = value.storage
    tensor.steps = tuple(steps)
    if tensor.grad is not None:
        tensor.grad = tensor.grad.to(value.dtype).to(value.device)
