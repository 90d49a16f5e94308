"""Memory of a GPU: a pool of blocks that are used again."""

from __future__ import annotations

import gc
import threading
from ctypes import byref, c_size_t, c_uint64
from typing import Protocol

from tetragrad.backends import holdings
from tetragrad.backends.cuda import driver
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.core.frozen import frozen

ALIGNMENT = 256
#: Results up to this size are asked for without asking the driver what is free.
CHECKED_FROM = 64 << 20


class DeviceMemory:
    """A block of a GPU's memory; it goes back to the pool with its last reference.

    ``since`` is the number of the last launch that may use it for somebody else.
    """

    __slots__ = ("__weakref__", "address", "nbytes", "pool", "since")

    #: Allocated for this block, and nothing else shows it.
    is_own = True

    def __init__(self, pool: Pool, nbytes: int, address: int, since: int) -> None:
        self.pool = pool
        self.nbytes = nbytes
        self.address = address
        self.since = since

    def alias(self, owner: object) -> MemoryAlias:
        """The same memory under another handle, which keeps its owner alive."""
        return MemoryAlias(self.nbytes, self.address, owner)

    def __del__(self) -> None:
        self.pool.give_back(self.nbytes, self.address)


@frozen(eq=False)
class MemoryAlias:
    """A block of a GPU's memory that somebody else gives back."""

    is_own = False

    nbytes: int
    address: int
    owner: object

    def alias(self, owner: object) -> MemoryAlias:
        """The same memory under another handle."""
        return MemoryAlias(self.nbytes, self.address, owner)


class Clock(Protocol):
    """Knows how many kernels were launched."""

    count: int


class Pool:
    """Freed blocks by size.

    All kernels run on one stream, so a block may be given to the next user while the
    kernels that still read it are waiting in front of that user's own. Copies have
    another stream: with a block they learn which launch was the last before it was
    freed.
    """

    def __init__(self, context: driver.Context, clock: Clock) -> None:
        self._context = context
        self._clock = clock
        # Reentrant: the collector may run __del__ while the lock is held.
        self._lock = threading.RLock()
        # Each with the launch that was the last before.
        self._free: dict[int, list[tuple[int, int]]] = {}
        self.used_bytes = self.idle_bytes = 0
        #: The most that was used at once.
        self.peak_bytes = 0

    def allocate(self, nbytes: int) -> DeviceMemory:
        """An uninitialised block; freed ones go back to the GPU if it is short."""
        nbytes = _size_class(nbytes)
        with self._lock:
            blocks = self._free.get(nbytes)
            if blocks:
                address, since = blocks.pop()
                self.idle_bytes -= nbytes
            else:
                address, since = self._fresh(nbytes), 0
            self.used_bytes += nbytes
            self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        return DeviceMemory(self, nbytes, address, since)

    def give_back(self, nbytes: int, address: int) -> None:
        with self._lock:
            self.used_bytes -= nbytes
            self.idle_bytes += nbytes
            freed = (address, self._clock.count)
            self._free.setdefault(nbytes, []).append(freed)

    def reset_peak(self) -> None:
        """Forget how much was used at once until now."""
        with self._lock:
            self.peak_bytes = self.used_bytes

    def clear(self) -> None:
        """Give blocks that nobody uses back to the GPU."""
        with self._lock:
            self._context.synchronize()
            for addresses in self._free.values():
                for address, _ in addresses:
                    driver.call("cuMemFree_v2", c_uint64(address), doing="freeing")
            self._free.clear()
            self.idle_bytes = 0

    def check_fits(self, nbytes: int, purpose: str) -> None:
        """Raise OutOfMemoryError, before anything is allocated, if it cannot fit."""
        with self._lock:
            # The driver is asked only where the pool alone might not do.
            if nbytes <= max(self.idle_bytes, CHECKED_FROM):
                return
            if nbytes > self._context.free_bytes()[0] + self.idle_bytes:
                # What only cycles hold goes back to the pool.
                gc.collect()
            if nbytes > self._context.free_bytes()[0] + self.idle_bytes:
                self.clear()
                raise self._too_much(nbytes, f", for {purpose}")

    def _fresh(self, nbytes: int) -> int:
        try:
            return self._from_driver(nbytes)
        except OutOfMemoryError:
            # What only cycles hold goes back to the pool, and all of that to the GPU.
            gc.collect()
            self.clear()
        try:
            return self._from_driver(nbytes)
        except OutOfMemoryError as error:
            raise self._too_much(nbytes, "") from error

    def _too_much(self, nbytes: int, purpose: str) -> OutOfMemoryError:
        """The error that says what holds the memory."""
        free, total = self._context.free_bytes()
        rest = total - free - self.used_bytes - self.idle_bytes
        held = holdings.text(
            lambda memory: getattr(memory, "pool", None) is self, self.used_bytes
        )
        return OutOfMemoryError(
            f"{nbytes:,} bytes asked for on the GPU{purpose}; {free:,} of {total:,} "
            f"are free; the driver, code, recorded launches and other processes have "
            f"{rest:,}; {self.used_bytes:,} are held:{held}",
            hint="use smaller sizes or a narrower dtype, or drop tensors with del",
        )

    def _from_driver(self, nbytes: int) -> int:
        self._context.use()
        address = c_uint64()
        driver.call(
            "cuMemAlloc_v2",
            byref(address),
            c_size_t(nbytes),
            doing=f"allocating {nbytes:,} bytes",
        )
        return address.value


def _size_class(nbytes: int) -> int:
    """Round up so that blocks are reusable: to 256 bytes, then to 1/8 of a power."""
    step = max(ALIGNMENT, 1 << max(nbytes.bit_length() - 4, 0))
    return max(ALIGNMENT, -(-nbytes // step) * step)
