"""Parameters: tensors that a module finds by itself, and that training changes."""

from __future__ import annotations

from typing import Any, NoReturn

from tetragrad.core.errors import GradientError, ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.base import redirect
from tetragrad.tensor.storage import Collected, Moved, Read, Stopped


class Parameter(Tensor):
    """A tensor that belongs to a module's ``parameters()`` once assigned to it.

    What operations on it give are plain tensors.

    Args:
        data: a tensor, whose elements are shared, or anything ``Tensor`` accepts.
        requires_grad: whether training should find a gradient for it.

    >>> nn.Parameter(Tensor.zeros(2, 3)).requires_grad
    True
    """

    __slots__ = ()

    def __new__(cls, data: Any = (), requires_grad: bool = True) -> Parameter:
        source = data if isinstance(data, Tensor) else Tensor(data)
        if requires_grad and source.dtype.is_integer and not source.ndim:
            raise GradientError(
                f"a Parameter of the integer {source.item()}",
                hint="Tensor(n) is a number here: write empty(n) for n elements",
            )
        shared = source.detach()
        parameter = cls._handle(shared.storage, shared.steps)
        return parameter.requires_grad_() if requires_grad else parameter

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Uninitialized:
    """What parameters and buffers share whose shape is not known yet."""

    __slots__ = ()

    @property
    def shape(self) -> NoReturn:
        raise ShapeError(
            f"the shape of an {type(self).__name__}, which is not known yet",
            hint="call the layer once, with an input like those to come, or load a "
            "state dict",
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def materialize(self, shape: tuple[int, ...]) -> None:
        """Become an ordinary tensor of zeros, of a shape, and the same object."""
        raise NotImplementedError


def _materialize(tensor: Tensor, cls: type[Tensor], shape: tuple[int, ...]) -> None:
    value = Tensor.zeros(*shape, device=tensor.device, dtype=tensor.dtype)
    tensor.__class__ = cls
    replace_value(tensor, value)


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter of a layer that has not seen an input, and so has no shape.

    It can be converted, moved, given to an optimiser and saved; ``materialize`` makes
    it an ordinary parameter, and the same object.

    Raises:
        ShapeError: its shape was asked for.

    >>> parameter = nn.UninitializedParameter()
    >>> parameter.materialize((2, 3))
    >>> type(parameter).__name__, parameter.shape
    ('Parameter', (2, 3))
    """

    __slots__ = ()

    def __new__(
        cls, requires_grad: bool = True, device: str | None = None, dtype: Any = None
    ) -> UninitializedParameter:
        made = super().__new__(
            cls, Tensor.zeros(0, device=device, dtype=dtype), requires_grad
        )
        assert isinstance(made, UninitializedParameter)
        return made

    def materialize(self, shape: tuple[int, ...]) -> None:
        """Become a parameter of zeros, of a shape."""
        _materialize(self, Parameter, shape)


class UninitializedBuffer(Uninitialized, Tensor):
    """A buffer of a layer that has not seen an input, and so has no shape.

    Raises:
        ShapeError: its shape was asked for.

    >>> buffer = nn.UninitializedBuffer()
    >>> buffer.materialize((2,))
    >>> buffer.tolist()
    [0.0, 0.0]
    """

    __slots__ = ()

    def __new__(
        cls, device: str | None = None, dtype: Any = None
    ) -> UninitializedBuffer:
        source = Tensor.zeros(0, device=device, dtype=dtype)
        return cls._handle(source.storage, source.steps)

    def materialize(self, shape: tuple[int, ...]) -> None:
        """Become a tensor of zeros, of a shape."""
        _materialize(self, Tensor, shape)


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
    redirect(tensor, value.storage, tuple(steps))
    if tensor.grad is not None:
        tensor.grad = tensor.grad.to(value.dtype).to(value.device)
