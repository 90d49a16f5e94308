"""The one place where files meet tensors: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.core.errors import DTypeError

try:
    from tetragrad.tensor import Tensor
except ImportError:  # The tensor package is not part of this build yet.
    Tensor = None


def is_tensor(value: object) -> bool:
    """Whether a value is a Tensor, and not an array or a number."""
    return Tensor is not None and isinstance(value, Tensor)


def to_array(value: Any, name: str) -> np.ndarray:
    """The elements of a tensor or array that is called ``name`` in errors."""
    if is_tensor(value):
        array: np.ndarray = value.detach().numpy()
        return array
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    raise DTypeError(
        f"{name!r} is a {type(value).__name__}, not a tensor",
        hint="save tensors and arrays; a checkpoint's extra= takes other values",
    )


def to_tensor(array: np.ndarray) -> Any:
    """A tensor with a copy of the elements; the file may go away afterwards."""
    if Tensor is None:
        return np.array(array, dtype=array.dtype.newbyteorder("="))
    return Tensor(array)
