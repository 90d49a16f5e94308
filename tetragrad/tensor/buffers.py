"""Tensors from whatever holds numbers: arrays, buffers of bytes, other tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core.dtypes import to_dtype
from tetragrad.core.errors import ExchangeError, ShapeError
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.creation import from_dlpack

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether an object is a tensor.

    >>> tetragrad.is_tensor(Tensor([1])), tetragrad.is_tensor([1])
    (True, False)
    """
    return isinstance(obj, TensorBase)


def asarray(
    obj: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of anything that holds numbers, on the same memory where it can be.

    Args:
        obj: a tensor, an array of any library, a buffer of bytes, numbers in lists.
        copy: True copies always, False never; None copies where it must be.

    >>> tetragrad.asarray([[1, 2]], dtype=tetragrad.float32)
    tensor([[1., 2.]])

    Raises:
        ExchangeError: ``copy=False`` of what cannot be shared.
    """
    if isinstance(obj, TensorBase):
        made: Any = obj
        made = made.to(dtype=dtype, device=device, copy=copy)
        if copy is False and made is not obj:
            raise ExchangeError(
                "asarray(copy=False) in another dtype or on another device",
                hint="leave copy out",
            )
        return made.detach().requires_grad_() if requires_grad else made
    if hasattr(obj, "__dlpack__") and not isinstance(obj, np.generic):
        made = from_dlpack(obj, device=device, copy=copy)
        return asarray(made, dtype=dtype, copy=copy, requires_grad=requires_grad)
    if copy is False:
        raise ExchangeError(
            f"asarray(copy=False) of {type(obj).__name__}",
            hint="pass a NumPy array, or use frombuffer() for bytes",
        )
    return TensorBase.tensor_class(obj, dtype, device, requires_grad)


def frombuffer(
    buffer: Any,
    *,
    dtype: Any,
    count: int = -1,
    offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:
    """The bytes of a buffer as a vector that shares them.

    Args:
        buffer: an object with Python's buffer protocol: bytes, an array, a map.
        count: how many elements; -1 takes all that follow.
        offset: how many bytes to skip first.

    >>> import array
    >>> tetragrad.frombuffer(array.array("i", [1, 2, 3]), dtype=tetragrad.int32)
    tensor([1, 2, 3], dtype=tetragrad.int32)

    Raises:
        ShapeError: the buffer has not so many bytes, or is empty.
    """
    wanted = to_dtype(dtype)
    size = memoryview(buffer).nbytes
    rest = size - offset
    fits = offset >= 0 and rest > 0 and count * wanted.itemsize <= rest
    if not fits or count == 0 or (count < 0 and rest % wanted.itemsize):
        raise ShapeError(
            f"frombuffer() of {size} bytes with offset {offset}, count {count} and "
            f"elements of {wanted.itemsize} bytes",
            hint="offset and count must lie inside, and elements be whole",
        )
    array = np.frombuffer(buffer, wanted.numpy, count, offset)
    made = (
        from_dlpack(array) if array.flags.writeable else TensorBase.tensor_class(array)
    )
    return made.requires_grad_() if requires_grad else made
