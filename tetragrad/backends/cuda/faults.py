"""Which kernel was running when the GPU stopped: its name, and the user's line.

A fault is noticed later, by whatever asks the driver next, and then nothing on the GPU
can be read any more. So behind every kernel the GPU counts in memory of the host, which
stays readable: the first kernel that was not counted is the one to blame. Recorded
sequences are not counted, or each kernel would wait for the one before.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from ctypes import byref, c_size_t, c_uint32, c_uint64, c_void_p
from types import FrameType

from tetragrad.backends.cuda import driver
from tetragrad.core.frozen import frozen

#: Launches whose names are remembered: more are seldom under way.
REMEMBERED = 1024
_PACKAGE = "tetragrad"
#: Host memory that the GPU can write: a flag of cuda.h.
_MAPPED = 2


@frozen(slots=True)
class Launched:
    """A kernel that was launched, and the user's line that asked for it."""

    number: int
    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"kernel {self.name}, launched for {self.file}:{self.line}"


class Progress:
    """Counts the kernels that have run."""

    def __init__(self, context: driver.Context) -> None:
        self._counter = Counter(context)
        self._launched: deque[Launched] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._lock = threading.Lock()

    def launched(self, name: str) -> None:
        """A kernel is in the stream; let the GPU say when it has run."""
        frame = _users_frame()
        with self._lock:
            self._count += 1
            entry = Launched(
                self._count, name, frame.f_code.co_filename, frame.f_lineno
            )
            self._launched.append(entry)
            self._counter.follow(self._count)

    def culprit(self) -> Launched | None:
        """The first kernel that did not come to its end; None if all did."""
        done = self._counter.value
        return next((entry for entry in self._launched if entry.number > done), None)


class Counter:
    """A number in memory of the host that the GPU writes; it can always be read."""

    def __init__(self, context: driver.Context) -> None:
        self._context = context
        context.use()
        place, seen = c_void_p(), c_uint64()
        doing = "locking host memory"
        driver.call("cuMemHostAlloc", byref(place), c_size_t(4), _MAPPED, doing=doing)
        driver.call("cuMemHostGetDevicePointer_v2", byref(seen), place, 0, doing=doing)
        assert place.value is not None
        # A few bytes that live as long as the process does.
        self._cell = c_uint32.from_address(place.value)
        self._cell.value = 0
        self._seen = seen

    @property
    def value(self) -> int:
        """What the GPU has written last."""
        return self._cell.value

    def follow(self, number: int) -> None:
        """Let the GPU write a number once all that was launched has run."""
        driver.call(
            "cuStreamWriteValue32_v2",
            self._context.stream,
            self._seen,
            c_uint32(number),
            0,
            doing="counting launches",
        )


def _users_frame() -> FrameType:
    """The innermost running code that is not the package's."""
    frame: FrameType = sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            break
        frame = frame.f_back
    return frame
