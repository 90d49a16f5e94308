"""Which kernel was running when the GPU stopped: its name, and the user's line.

A fault is noticed later, by whatever asks the driver next, and then nothing on the GPU
can be read any more. So behind every kernel the GPU counts in memory of the host, which
stays readable: the first kernel that was not counted is the one to blame. Recorded
sequences are counted a few dozen kernels at a time and beside them, so that no kernel
waits for the one before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from ctypes import byref, c_size_t, c_uint32, c_uint64, c_void_p
from types import CodeType

import numpy as np

from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.memory import DeviceMemory
from tetragrad.core.callers import user_code
from tetragrad.core.frozen import frozen

#: Launches whose names are remembered: more are seldom under way.
REMEMBERED = 1024
#: One of so many kernels of a recorded sequence is counted, and so often at most. A
#: copy of four bytes takes less than a hundredth of the time of so many short kernels.
MARKED, MOST_MARKS = 32, 1024
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


@frozen
class Repeated:
    """The kernels of a recorded sequence; its text names those that may be running."""

    names: tuple[str, ...]
    marks: Marks

    def __str__(self) -> str:
        first = self.marks.done
        last = min(first + MARKED, len(self.names))
        running = " or ".join(dict.fromkeys(self.names[first:last]))
        return (
            f"{running} ({first + 1} to {last} of {len(self.names)} that are repeated)"
        )


class Progress:
    """Counts the kernels that have run."""

    def __init__(self, context: driver.Context) -> None:
        self._counter = Counter(context)
        # Those of a few microseconds each: the text is made when it is wanted.
        self._launched: deque[tuple[int, object, tuple[CodeType, int] | None]] = deque(
            maxlen=REMEMBERED
        )
        #: Kernels that were launched.
        self.count = 0
        self._lock = threading.Lock()

    @property
    def done(self) -> int:
        """Kernels that have run, and all that were launched before them."""
        return self._counter.value

    def launched(self, name: str | Repeated) -> None:
        """A kernel or a sequence is in the stream; let the GPU say when it has run."""
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
                return Launched(number, str(name), file, line)
        return None


def _position(code: CodeType, line: int) -> tuple[str, int]:
    return code.co_filename, line


class Cell:
    """A number in memory of the host that the GPU writes; it can always be read."""

    def __init__(self, context: driver.Context) -> None:
        context.use()
        self.place, self.seen = c_void_p(), c_uint64()
        doing = "locking host memory"
        place, seen = byref(self.place), byref(self.seen)
        driver.call("cuMemHostAlloc", place, c_size_t(4), _MAPPED, doing=doing)
        driver.call("cuMemHostGetDevicePointer_v2", seen, self.place, 0, doing=doing)
        assert self.place.value is not None
        # A few bytes that live as long as the process does.
        self._cell = c_uint32.from_address(self.place.value)
        self._cell.value = 0

    @property
    def value(self) -> int:
        """What the GPU has written last."""
        return self._cell.value


class Counter(Cell):
    """A number that the stream of the kernels writes between them."""

    def __init__(self, context: driver.Context) -> None:
        super().__init__(context)
        self._stream = context.stream

    def follow(self, number: int) -> None:
        """Let the GPU write a number once all that was launched has run."""
        driver.call(
            "cuStreamWriteValue32_v2",
            self._stream,
            self.seen,
            c_uint32(number),
            0,
            doing="counting launches",
        )


class Marks:
    """Counts the kernels of a sequence as it is recorded, and so when it is repeated.

    Numbers are copied to the host on a branch of their own, which no kernel waits for.
    ``upload`` gives an array memory on the GPU.
    """

    def __init__(
        self, context: driver.Context, upload: Callable[[np.ndarray], DeviceMemory]
    ) -> None:
        self._context, self._upload = context, upload
        self._numbers: DeviceMemory | None = None

    @property
    def done(self) -> int:
        """How many kernels of the sequence under way have run, rounded down."""
        return 0 if self._numbers is None else self._cell.value

    def prepare(self) -> None:
        """What recording needs: while a stream records, nothing can be uploaded."""
        if self._numbers is None:
            self._beside = self._context.new_stream()
            self._event = driver.Event(self._context, timed=False)
            self._cell = Cell(self._context)
            numbers = np.arange(MOST_MARKS, dtype=np.uint32) * MARKED
            self._numbers = self._upload(numbers)

    def before(self, number: int) -> None:
        """Of the sequence that is recorded so many kernels are; count some of them."""
        place, rest = divmod(number, MARKED)
        if place and not rest and place < MOST_MARKS:
            self._follow(place)

    def end(self, number: int) -> None:
        """All are recorded: begin again with 0, and end when both branches have."""
        if number > MARKED:
            self._follow(0)
            self._event.record(self._beside)
            self._event.hold(self._context.stream)

    def _follow(self, place: int) -> None:
        """Let the host be told once all that was recorded before has run."""
        assert self._numbers is not None, "prepared"
        self._event.record(self._context.stream)
        self._event.hold(self._beside)
        driver.call(
            "cuMemcpyDtoHAsync_v2",
            self._cell.place,
            c_uint64(self._numbers.address + 4 * place),
            c_size_t(4),
            self._beside,
            doing="counting repeated launches",
        )
