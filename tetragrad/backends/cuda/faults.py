"""Which kernel was running when the GPU stopped: its name, and the user's line.

A fault is noticed later, by whatever asks the driver next, and then nothing on the GPU
can be read any more. So behind every kernel the GPU counts in memory of the host, which
stays readable: the first kernel that was not counted is the one to blame. Recorded
sequences are not counted, or each kernel would wait for the one before.
"""

from __future__ import annotations

import threading
from collections import deque
from ctypes import byref, c_size_t, c_uint32, c_uint64, c_void_p
from types import CodeType

from tetragrad.backends.cuda import driver
from tetragrad.core.callers import user_code
from tetragrad.core.frozen import frozen

#: Launches whose names are remembered: more are seldom under way.
REMEMBERED = 1024
#: Host memory that the GPU can write: a flag of cuda.h.
_MAPPED = 2


@frozen
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
        # Those of a few microseconds each: the text is made when it is wanted.
        self._launched: deque[tuple[int, str, tuple[CodeType, int] | None]] = deque(
            maxlen=REMEMBERED
        )
        #: Kernels that were launched.
        self.count = 0
        self._lock = threading.Lock()

    @property
    def done(self) -> int:
        """Kernels that have run, and all that were launched before them."""
        return self._counter.value

    def launched(self, name: str) -> None:
        """A kernel is in the stream; let the GPU say when it has run."""
        place = user_code()
        with self._lock:
            self.count += 1
            self._launched.append((self.count, name, place))
            self._counter.follow(self.count)

    def culprit(self) -> Launched | None:
        """The first kernel that did not come to its end; None if all did."""
        done = self.done
        for number, name, place in self._launched:
            if number > done:
                file, line = ("?", 0) if place is None else _position(*place)
                return Launched(number, name, file, line)
        return None


def _position(code: CodeType, line: int) -> tuple[str, int]:
    return code.co_filename, line


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
