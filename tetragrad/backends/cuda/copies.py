"""Copies between the host and a GPU: through pinned memory, beside the kernels.

What goes to the GPU is put into host memory that the GPU reads by itself, on a stream
of its own. So a batch comes while the kernels of the step before are still running, and
the host goes on at once; kernels that are launched afterwards wait for it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from ctypes import byref, c_size_t, c_uint64, c_void_p

import numpy as np

from tetragrad.backends.cuda import driver

#: Host memory that copies go through, and the most that one takes of it.
STAGING_BYTES = 64 << 20
PART_BYTES = 8 << 20
ALIGNMENT = 256
#: Threads that copy to and from there, and how much one does at a time.
THREADS = min(4, os.cpu_count() or 1)
PIECE_BYTES = 1 << 20


class Staging:
    """Pinned host memory that is handed out round and round, as copies end."""

    def __init__(self, context: driver.Context) -> None:
        self._context = context
        self._block: np.ndarray | None = None
        self._next = 0
        #: What copies still use, the oldest first, and the events that end them.
        self._used: deque[tuple[range, driver.Event]] = deque()
        self._idle: list[driver.Event] = []

    def take(self, nbytes: int) -> tuple[range, np.ndarray]:
        """A part that no copy uses any more."""
        if self._block is None:
            self._block = self._pinned()
        start = self._next if self._next + nbytes <= STAGING_BYTES else 0
        part = range(start, start + nbytes)
        self._next = -(-part.stop // ALIGNMENT) * ALIGNMENT
        while any(_overlap(part, used) for used, _ in self._used):
            _, event = self._used.popleft()
            event.wait()
            self._idle.append(event)
        return part, self._block[start : start + nbytes]

    def keep(self, part: range, stream: c_void_p) -> driver.Event:
        """Let nobody have a part before a stream has done what it was given."""
        if not self._idle:
            self._idle.append(driver.Event(self._context, timed=False))
        event = self._idle.pop()
        event.record(stream)
        self._used.append((part, event))
        return event

    def _pinned(self) -> np.ndarray:
        block = c_void_p()
        doing = "locking host memory"
        size = c_size_t(STAGING_BYTES)
        driver.call("cuMemHostAlloc", byref(block), size, 0, doing=doing)
        assert block.value is not None
        raw = (ctypes.c_uint8 * STAGING_BYTES).from_address(block.value)
        return np.frombuffer(memoryview(raw), np.uint8)


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


class Copies:
    """Copies in both directions, in the order in which they are asked for."""

    def __init__(self, context: driver.Context) -> None:
        self._context = context
        # Several threads may copy: those that prepare batches, for one.
        self._lock = threading.Lock()
        self._staging = Staging(context)
        self._hands = Hands()
        self._stream = context.new_stream()
        self._reached = driver.Event(context, timed=False)

    def to_device(self, address: int, array: np.ndarray, *, behind: bool) -> None:
        """Copy the array's bytes; it may be changed as soon as this returns.

        Args:
            behind: whether kernels that are under way may still use the memory.
        """
        source = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._context.use()
        with self._lock:
            if behind:
                self._order(self._context.stream, self._stream)
            for start in range(0, source.nbytes, PART_BYTES):
                bytes_there = source[start : start + PART_BYTES]
                part, staged = self._staging.take(bytes_there.nbytes)
                self._hands.copy(bytes_there, staged)
                driver.call(
                    "cuMemcpyHtoDAsync_v2",
                    c_uint64(address + start),
                    c_void_p(staged.ctypes.data),
                    c_size_t(staged.nbytes),
                    self._stream,
                    doing=f"copying {staged.nbytes:,} bytes to the GPU",
                )
                self._staging.keep(part, self._stream)
            self._order(self._stream, self._context.stream)

    def to_host(self, address: int, nbytes: int) -> np.ndarray:
        """A new array of bytes; waits for everything that was launched before."""
        target = np.empty(nbytes, np.uint8)
        self._context.use()
        with self._lock:
            self._order(self._context.stream, self._stream)
            waiting: deque[tuple[np.ndarray, np.ndarray, driver.Event]] = deque()
            for start in range(0, nbytes, PART_BYTES):
                wanted = target[start : start + PART_BYTES]
                waiting.append(self._fetch(address + start, wanted))
                # While a part is on its way, the one before is taken from the staging.
                if len(waiting) > 1:
                    self._arrive(*waiting.popleft())
            for entry in waiting:
                self._arrive(*entry)
        return target

    def _fetch(
        self, address: int, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, driver.Event]:
        """Begin to bring a part; what is returned says where it arrives, and when."""
        part, staged = self._staging.take(wanted.nbytes)
        driver.call(
            "cuMemcpyDtoHAsync_v2",
            c_void_p(staged.ctypes.data),
            c_uint64(address),
            c_size_t(staged.nbytes),
            self._stream,
            doing=f"copying {staged.nbytes:,} bytes from the GPU",
        )
        return wanted, staged, self._staging.keep(part, self._stream)

    def _arrive(
        self, wanted: np.ndarray, staged: np.ndarray, event: driver.Event
    ) -> None:
        event.wait()
        self._hands.copy(staged, wanted)

    def _order(self, first: c_void_p, second: c_void_p) -> None:
        """What a stream is given from now on waits for what another one has."""
        # Nobody else may give the stream anything while it records.
        with self._context.lock:
            self._reached.record(first)
            self._reached.hold(second)


class Hands:
    """Threads that copy within the host's memory: one alone is slower than the bus."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def copy(self, source: np.ndarray, target: np.ndarray) -> None:
        """Copy bytes."""
        if source.nbytes <= PIECE_BYTES or THREADS == 1:
            target[...] = source
            return
        if self._executor is None:
            self._executor = ThreadPoolExecutor(THREADS)
        starts = range(0, source.nbytes, PIECE_BYTES)
        pieces = [slice(start, start + PIECE_BYTES) for start in starts]
        parts = [(target[piece], source[piece]) for piece in pieces]
        for _ in self._executor.map(np.copyto, *zip(*parts, strict=True)):
            pass
