"""Host memory for the elements of realized values, and the pool it comes from."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np

from tetragrad.backends import holdings
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.graph.node import Shape, size_of

ALIGNMENT = 64
#: Blocks up to this size are kept for reuse; larger ones go back to the system.
LARGEST_KEPT = 256 << 20
#: Smaller blocks are asked for without looking at what is available.
CHECKED_FROM = 64 << 20
#: The pool keeps at most this many bytes that nobody uses.
POOL_LIMIT = 1 << 30


class Memory:
    """A block of a host device's memory: one aligned NumPy array of bytes.

    ``owner`` keeps memory alive that somebody else allocated (``from_numpy``).
    A block from the pool goes back there when the last reference dies.
    ``kept`` is what the engine has made of the elements, and wants to find again.
    """

    __slots__ = ("__weakref__", "address", "data", "kept", "owner", "pooled")

    def __init__(
        self, data: np.ndarray, owner: object = None, *, pooled: bool = False
    ) -> None:
        self.data = data
        self.address = data.ctypes.data
        self.owner = owner
        self.pooled = pooled
        self.kept: dict[Any, Any] | None = None

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    @property
    def is_own(self) -> bool:
        """Whether it was allocated for this block, and nothing else shows it."""
        return self.pooled

    def view(self, shape: Shape, dtype: DType) -> np.ndarray:
        """The elements as an array that shares this memory."""
        count = size_of(shape)
        flat = self.data[: count * dtype.itemsize].view(dtype.numpy)
        return flat.reshape(shape)

    def alias(self, owner: object) -> Memory:
        """The same memory under another handle, which keeps its owner alive."""
        return Memory(self.data, owner)

    def part(self, start: int, nbytes: int) -> Memory:
        """Some of the bytes under a handle of their own."""
        return Memory(self.data[start : start + nbytes], owner=self)

    def __del__(self) -> None:
        # When Python ends, modules lose their contents before the last tensors go.
        if self.pooled and _pool:
            _pool.give_back(self.data)


class _Pool:
    """Freed blocks by size. Reusing one saves the page faults of a fresh one."""

    def __init__(self) -> None:
        # Reentrant: the collector may run __del__ while the lock is held.
        self._lock = threading.RLock()
        self._free: dict[int, list[np.ndarray]] = {}
        self.idle_bytes = 0
        self.used_bytes = 0

    def take(self, nbytes: int) -> np.ndarray:
        with self._lock:
            blocks = self._free.get(nbytes)
            self.used_bytes += nbytes
            if blocks:
                self.idle_bytes -= nbytes
                return blocks.pop()
        try:
            return _fresh(nbytes)
        except BaseException:
            self.used_bytes -= nbytes
            raise

    def give_back(self, block: np.ndarray) -> None:
        nbytes = block.nbytes
        with self._lock:
            self.used_bytes -= nbytes
            if nbytes <= LARGEST_KEPT and self.idle_bytes + nbytes <= POOL_LIMIT:
                self._free.setdefault(nbytes, []).append(block)
                self.idle_bytes += nbytes

    def clear(self) -> None:
        with self._lock:
            self._free.clear()
            self.idle_bytes = 0


_pool = _Pool()


def allocate(nbytes: int) -> Memory:
    """Uninitialised memory, aligned for the widest vector register.

    Raises:
        OutOfMemoryError: before anything is allocated, if it cannot fit.
    """
    return Memory(_pool.take(_size_class(nbytes)), pooled=True)


def array_at(address: int, shape: Shape, dtype: DType) -> np.ndarray:
    """The elements at an address of the host, sharing its memory."""
    nbytes = size_of(shape) * dtype.itemsize
    if not nbytes:
        return np.empty(shape, dtype.numpy)
    data: Any = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.frombuffer(data, dtype.numpy).reshape(shape)


def allocated_bytes() -> int:
    """Bytes in use by live tensors and temporaries."""
    return _pool.used_bytes


def empty_cache() -> None:
    """Give memory that is kept for reuse back to the system."""
    _pool.clear()


def _size_class(nbytes: int) -> int:
    """Round up so that blocks are reusable: to 64 bytes, then to 1/8 of a power."""
    step = max(ALIGNMENT, 1 << max(nbytes.bit_length() - 4, 0))
    return max(ALIGNMENT, -(-nbytes // step) * step)


def _fresh(nbytes: int) -> np.ndarray:
    if nbytes > CHECKED_FROM:
        check_available(nbytes, "a buffer")
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + nbytes]


def check_available(nbytes: int, purpose: str) -> None:
    """Raise OutOfMemoryError if the system has less than ``nbytes`` to give."""
    available = available_bytes()
    if available is not None and nbytes > available + _pool.idle_bytes:
        empty_cache()
        held = holdings.text(
            lambda memory: isinstance(memory, Memory), _pool.used_bytes
        )
        raise OutOfMemoryError(
            f"{nbytes:,} bytes asked for, for {purpose}; {available:,} are available, "
            f"{_pool.used_bytes:,} are held:{held}",
            hint="use smaller sizes or a narrower dtype, or drop tensors with del",
        )


def available_bytes() -> int | None:
    """Memory the system could give now, or None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
