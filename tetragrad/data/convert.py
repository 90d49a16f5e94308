"""The one place where data sets meet tensors: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.tensor import Tensor


def to_array(value: Any) -> np.ndarray:
    """The elements of a tensor, an array, or a nested list of numbers."""
    if isinstance(value, Tensor):
        return value.detach().numpy()
    return np.asarray(value)


def to_tensors(value: Any) -> Any:
    """Replace the arrays in a batch, which may be nested, by tensors."""
    if isinstance(value, np.ndarray):
        return Tensor(value)
    if hasattr(value, "_fields"):
        return type(value)(*map(to_tensors, value))
    if isinstance(value, tuple):
        return tuple(to_tensors(item) for item in value)
    if isinstance(value, list):
        return [to_tensors(item) for item in value]
    if isinstance(value, dict):
        return {key: to_tensors(item) for key, item in value.items()}
    return value
