"""What the interpreters of kernels and tile programs share about memory."""

from __future__ import annotations

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import VerifyError


def poison(dtype: DType) -> np.ndarray:
    """A value that no program should ever let through: NaN, or a pattern of bits."""
    if dtype.is_floating_point:
        return np.array(np.nan).astype(dtype.numpy)
    if dtype.is_bool:
        return np.array(True)
    return np.asarray(np.frombuffer(b"\x5a" * dtype.itemsize, dtype.numpy)[0])


def check_addresses(addresses: np.ndarray, numel: int, what: str) -> None:
    """Raise VerifyError if any address is outside its buffer."""
    if addresses.size and (addresses.min() < 0 or addresses.max() >= numel):
        raise VerifyError(
            f"{what} reaches elements {addresses.min()} to {addresses.max()} "
            f"of a buffer of {numel}"
        )
