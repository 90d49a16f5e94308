"""The one place where files meet tensors: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.core.errors import DTypeError
from tetragrad.tensor import Tensor


def to_array(value: Any, name: str) -> np.ndarray:
    """The elements of a tensor or array that is called ``name`` in errors."""
    if isinstance(value, Tensor):
        return value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    raise DTypeError(
        f"{name!r} is a {type(value).__name__}, not a tensor",
        hint="save tensors and arrays; a checkpoint's extra= takes other values",
    )


def to_tensor(array: np.ndarray) -> Tensor:
    """A tensor with a copy of the elements; the file may go away afterwards."""
    return Tensor(array)
