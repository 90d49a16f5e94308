"""Memory of a GPU: a pool of blocks, and copies through pinned host memory."""

from __future__ import annotations

import ctypes
import gc
import threading
from ctypes import byref, c_size_t, c_uint64, c_void_p

import numpy as np

from tetragrad.backends import holdings
from tetragrad.backends.cuda import driver
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.core.frozen import frozen

ALIGNMENT = 256
#: Host memory that copies go through, locked so that the GPU reads it itself.
STAGING_BYTES = 32 << 20
#: Results up to this size are asked for without asking the driver what is free.
CHECKED_FROM = 64 << 20


class DeviceMemory:
    """A block of a GPU's memory; it goes back to the pool with its last reference."""

    __slots__ = ("__weakref__", "address", "nbytes", "pool")

    #: Allocated for this block, and nothing else shows it.
    is_own = True

    def __init__(self, pool: Pool, nbytes: int, address: int) -> None:
        self.pool = pool
        self.nbytes = nbytes
        self.address = address

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


class Pool:
    """Freed blocks by size.

    All work runs on one stream, so a block may be given to the next user while the
    kernels that still read it are waiting in front of that user's own.
    """

    def __init__(self, context: driver.Context) -> None:
        self._context = context
        # Reentrant: the collector may run __del__ while the lock is held.
        self._lock = threading.RLock()
        self._free: dict[int, list[int]] = {}
        self.used_bytes = self.idle_bytes = 0

    def allocate(self, nbytes: int) -> DeviceMemory:
        """An uninitialised block; freed ones go back to the GPU if it is short."""
        nbytes = _size_class(nbytes)
        with self._lock:
            blocks = self._free.get(nbytes)
            if blocks:
                address = blocks.pop()
                self.idle_bytes -= nbytes
            else:
                address = self._fresh(nbytes)
            self.used_bytes += nbytes
        return DeviceMemory(self, nbytes, address)

    def give_back(self, nbytes: int, address: int) -> None:
        with self._lock:
            self.used_bytes -= nbytes
            self.idle_bytes += nbytes
            self._free.setdefault(nbytes, []).append(address)

    def clear(self) -> None:
        """Give blocks that nobody uses back to the GPU."""
        with self._lock:
            self._context.synchronize()
            for addresses in self._free.values():
                for address in addresses:
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


class Copies:
    """Copies between the host and a GPU, in the order of the stream."""

    def __init__(self, context: driver.Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._staging: np.ndarray | None = None

    def to_device(self, address: int, array: np.ndarray) -> None:
        """Copy the array's bytes; it may be changed as soon as this returns."""
        source = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        with self._lock:
            staging = self._pinned()
            for start in range(0, source.nbytes, STAGING_BYTES):
                part = source[start : start + STAGING_BYTES]
                staging[: part.nbytes] = part
                driver.call(
                    "cuMemcpyHtoDAsync_v2",
                    c_uint64(address + start),
                    c_void_p(staging.ctypes.data),
                    c_size_t(part.nbytes),
                    self._context.stream,
                    doing=f"copying {part.nbytes:,} bytes to the GPU",
                )
                self._context.synchronize()

    def to_host(self, address: int, nbytes: int) -> np.ndarray:
        """A new array of bytes; waits for everything that was launched before."""
        target = np.empty(nbytes, np.uint8)
        with self._lock:
            staging = self._pinned()
            for start in range(0, nbytes, STAGING_BYTES):
                part = target[start : start + STAGING_BYTES]
                driver.call(
                    "cuMemcpyDtoHAsync_v2",
                    c_void_p(staging.ctypes.data),
                    c_uint64(address + start),
                    c_size_t(part.nbytes),
                    self._context.stream,
                    doing=f"copying {part.nbytes:,} bytes from the GPU",
                )
                self._context.synchronize()
                part[...] = staging[: part.nbytes]
        return target

    def _pinned(self) -> np.ndarray:
        self._context.use()
        if self._staging is None:
            block = c_void_p()
            driver.call(
                "cuMemHostAlloc",
                byref(block),
                c_size_t(STAGING_BYTES),
                0,
                doing="locking host memory",
            )
            assert block.value is not None
            raw = (ctypes.c_uint8 * STAGING_BYTES).from_address(block.value)
            self._staging = np.frombuffer(memoryview(raw), np.uint8)
        return self._staging
