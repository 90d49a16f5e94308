"""Names of PyTorch's first versions, which old programs and many papers' code use.

A tensor had a class for each dtype, ``FloatTensor``, and gradients were ``Variable``'s.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, missing
from tetragrad.core.settings import configure
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.creation import CreationMethods
from tetragrad.tensor.dtype_limits import set_default_dtype
from tetragrad.tensor.tensor import Tensor

#: Which dtype the word before "Tensor" means.
_WORDS = {
    "Bool": dtypes.bool_,
    "Byte": dtypes.uint8,
    "Char": dtypes.int8,
    "Short": dtypes.int16,
    "Int": dtypes.int32,
    "Long": dtypes.int64,
    "Half": dtypes.float16,
    "BFloat16": dtypes.bfloat16,
    "Float": dtypes.float32,
    "Double": dtypes.float64,
}


class TypedTensor:
    """The tensors of one dtype: calling it makes one, and ``isinstance`` asks for it.

    >>> tetragrad.FloatTensor([1, 2])
    tensor([1., 2.])
    >>> tetragrad.LongTensor(2, 3).shape
    (2, 3)
    >>> isinstance(Tensor([1]), tetragrad.LongTensor)
    True
    """

    def __init__(self, name: str, dtype: DType, device: str | None = None) -> None:
        self.__name__ = name
        self.dtype = dtype
        self.device = device

    def __call__(self, *data: Any) -> Tensor:
        """Numbers alone are sizes; anything else is the elements."""
        if all(isinstance(size, int | np.integer) for size in data):
            sizes = data or (0,)
            return CreationMethods.empty(*sizes, dtype=self.dtype, device=self.device)
        return Tensor(*data, dtype=self.dtype, device=self.device)

    def __instancecheck__(self, instance: object) -> bool:
        if not isinstance(instance, TensorBase) or instance.dtype is not self.dtype:
            return False
        return self.device is None or instance.device.type == self.device

    def __repr__(self) -> str:
        module = "tetragrad" if self.device is None else f"tetragrad.{self.device}"
        return f"{module}.{self.__name__}"


TYPED = {f"{word}Tensor": TypedTensor(f"{word}Tensor", _WORDS[word]) for word in _WORDS}
TYPED_CUDA = {
    name: TypedTensor(name, typed.dtype, "cuda") for name, typed in TYPED.items()
}
_NAMES = {typed.dtype: name for name, typed in TYPED.items()}


def typed_of(value: object) -> TypedTensor | None:
    """What "torch.FloatTensor" or "cuda.FloatTensor" means; None for other values."""
    if not isinstance(value, str):
        return value if isinstance(value, TypedTensor) else None
    module, _, name = value.rpartition(".")
    known = TYPED_CUDA if module.endswith("cuda") else TYPED
    return known.get(name)


def type_name(dtype: DType) -> str:
    """What ``type()`` says of tensors of a dtype: "tetragrad.FloatTensor".

    >>> Tensor([1.0]).type()
    'tetragrad.FloatTensor'
    """
    return f"tetragrad.{_NAMES.get(dtype, dtype.name)}"


class _VariableType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, TensorBase)


class Variable(metaclass=_VariableType):
    """A tensor that shares its elements with another one; tensors are variables.

    >>> x = tetragrad.autograd.Variable(Tensor([1.0]), requires_grad=True)
    >>> isinstance(x, Tensor), x.requires_grad
    (True, True)
    """

    def __new__(cls, data: Any = (), requires_grad: bool = False) -> Any:
        shared = data.detach() if isinstance(data, TensorBase) else Tensor(data)
        return shared.requires_grad_() if requires_grad else shared


def set_default_tensor_type(t: Any) -> None:
    """The dtype of Python's floats from now on, and the device, by an old name.

    >>> tetragrad.set_default_tensor_type("torch.FloatTensor")
    """
    typed = typed_of(t)
    if typed is None:
        raise DTypeError(
            f"set_default_tensor_type() of {t!r}, which is no name of a tensor type",
            hint="use tetragrad.set_default_dtype(tetragrad.float64)",
        )
    set_default_dtype(typed.dtype)
    if typed.device is not None:
        configure(device=typed.device)


def __getattr__(name: str) -> Any:
    if name in TYPED:
        return TYPED[name]
    raise missing(name, __name__, TYPED)
