"""Memory that holds the elements of realized values."""

from __future__ import annotations

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.graph.node import Shape, size_of

ALIGNMENT = 64


class Memory:
    """A block of a host device's memory: one aligned NumPy array of bytes.

    ``owner`` keeps memory alive that somebody else allocated (``from_numpy``).
    """

    __slots__ = ("__weakref__", "address", "data", "owner")

    def __init__(self, data: np.ndarray, owner: object = None) -> None:
        self.data = data
        self.address = data.ctypes.data
        self.owner = owner

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def view(self, shape: Shape, dtype: DType) -> np.ndarray:
        """The elements as an array that shares this memory."""
        count = size_of(shape)
        flat = self.data[: count * dtype.itemsize].view(dtype.numpy)
        return flat.reshape(shape)


def allocate(nbytes: int) -> Memory:
    """Uninitialised memory, aligned for the widest vector register."""
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return Memory(block[start : start + nbytes])
