"""Recording what runs, so that it can be replayed on other buffers.

While a recorder is active in a thread, every schedule that this thread runs is noted
with its buffers. Nothing that was computed before is reused, so that the record is
complete: each buffer in it is an input, host data, or the result of an earlier run.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from weakref import WeakKeyDictionary

from tetragrad.core.errors import CaptureError
from tetragrad.core.frozen import frozen
from tetragrad.engine.schedule import Schedule
from tetragrad.graph.leaves import Buffer, LaunchValue
from tetragrad.graph.markers import InRange
from tetragrad.graph.node import Node


@frozen(slots=True)
class Run:
    """One schedule as it ran: on which buffers and constants, with which results."""

    schedule: Schedule
    leaves: tuple[Buffer, ...]
    constants: tuple[LaunchValue, ...]
    results: tuple[Buffer, ...]
    device: str


class Observer:
    """Sees what the captured code does in this thread, unless it is paused."""

    def __init__(self) -> None:
        self._pauses = 0

    def start(self) -> None:
        """Begin to see."""
        raise NotImplementedError

    def stop(self) -> None:
        """See nothing any more."""
        raise NotImplementedError

    def begin(self) -> None:
        """Go on after a pause."""
        raise NotImplementedError

    def end(self) -> None:
        """See nothing for a while."""
        raise NotImplementedError

    def pause(self) -> None:
        """See nothing until :meth:`resume`; pauses may lie in one another."""
        self._pauses += 1
        if self._pauses == 1:
            self.end()

    def resume(self) -> None:
        """The end of a pause."""
        self._pauses -= 1
        if not self._pauses:
            self.begin()


class Recorder:
    """What one thread has run since the recorder became active."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        #: Buffers made from values of the host; a replay finds them unchanged.
        self.host_data: list[Buffer] = []
        #: Indices that must be in range, with the buffers of their worst elements.
        self.checks: list[tuple[InRange, Buffer]] = []
        #: Replaces the engine's memory of what has run.
        self.realized: WeakKeyDictionary[Node, Buffer] = WeakKeyDictionary()
        #: Whether the call is left to run as it would uncaptured.
        self.is_deferred = False
        #: What was read of dicts that tell by themselves: the dict's id, and the key.
        self.read_keys: set[tuple[int, str]] = set()
        #: What sees the captured code, while that runs.
        self.observer: Observer | None = None
        #: The first thing that a replay could not repeat, even if it was caught.
        self.error: CaptureError | None = None

    def defer(self, remembered: WeakKeyDictionary[Node, Buffer]) -> None:
        """Go on as an uncaptured call, which may reuse all that has run before.

        Nothing will be replayed, so what the function depends on need not be known.
        """
        if not self.is_deferred:
            self.is_deferred = True
            if self.observer is not None:
                self.observer.pause()
            remembered.update(self.realized)
            self.realized = remembered

    def refuse(self, what: str, hint: str) -> None:
        """Raise CaptureError for something at the user's line; remember it."""
        error = CaptureError(
            f"{user_line()}: {what} inside a captured function", hint=hint
        )
        if self.error is None:
            self.error = error
        raise error


class _Local(threading.local):
    recorder: Recorder | None = None


_local = _Local()


def active() -> Recorder | None:
    """The recorder of this thread, or None."""
    return _local.recorder


@contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Record what this thread runs; None stops recording for a while."""
    previous = _local.recorder
    _local.recorder = recorder
    try:
        yield
    finally:
        _local.recorder = previous


@contextmanager
def unobserved() -> Iterator[None]:
    """The engine's own code is not part of what a recorder watches: leave it alone.

    Compiling while every call is seen would take three times as long.
    """
    recorder = _local.recorder
    observer = None if recorder is None else recorder.observer
    if observer is None:
        yield
        return
    observer.pause()
    try:
        yield
    finally:
        observer.resume()


def refuse_reading() -> None:
    """Raise CaptureError if a captured function reads values on the host."""
    recorder = _local.recorder
    if recorder is not None:
        recorder.refuse(
            "the values of a tensor are read",
            hint="return the tensor and read it outside; choose between values with "
            "tetragrad.where()",
        )


def user_line() -> str:
    """``file:line`` of the innermost running code that is the user's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_library(frame):
        frame = frame.f_back
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_library(frame: FrameType) -> bool:
    package = frame.f_globals.get("__name__", "").partition(".")[0]
    if package == "__main__":
        return False
    return package in ("tetragrad", "numpy") or package in sys.stdlib_module_names
