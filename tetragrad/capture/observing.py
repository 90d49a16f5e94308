"""Seeing which code a captured function enters, and which built-in functions it calls.

From Python 3.12 on the interpreter tells by ``sys.monitoring``, and stops telling about
places that are of no interest: our own code then costs nothing more. Before, a profile
function is called at every call and every return.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    MethodDescriptorType,
    MethodWrapperType,
)
from typing import Any

from tetragrad.capture.code import is_own
from tetragrad.engine.capture import Observer

#: Is told the frame of code that is about to run.
Entered = Callable[[FrameType], None]
#: Is told a built-in function that is about to be called, and the caller's frame.
Called = Callable[[FrameType, Any], None]

_monitoring: Any = getattr(sys, "monitoring", None)
#: Tools that are free for anybody, by sys.monitoring's own numbers.
_TOOLS = (3, 4)
_BUILT_IN = (BuiltinFunctionType, MethodDescriptorType, MethodWrapperType)
#: Modules of the standard library that our code calls all the time. What they do
#: depends on nothing, and what they call is seen where it is defined.
_PLAIN_MODULES = frozenset(("abc", "contextlib", "enum", "typing", "weakref"))


def observer_of(entered: Entered, called: Called) -> Observer:
    """What observes this thread as well as this interpreter can."""
    if _monitoring is not None and _tool() is not None:
        return _Monitor(entered, called)
    return _Profiler(entered, called)


# --- by a profile function -----------------------------------------------------------


class _Profiler(Observer):
    """Sees everything through a profile function of this thread."""

    def __init__(self, entered: Entered, called: Called) -> None:
        super().__init__()
        self._entered = entered
        self._called = called
        self._previous: Any = None

    def start(self) -> None:
        self._previous = sys.getprofile()
        self.begin()

    def stop(self) -> None:
        # Python's own profiler is no function that could be put back.
        restart = getattr(self._previous, "enable", None)
        sys.setprofile(None if restart else self._previous)
        if restart:
            restart()

    def begin(self) -> None:
        sys.setprofile(self._see)

    def end(self) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self._entered(frame)
        elif event == "c_call":
            self._called(frame, argument)


# --- by sys.monitoring ---------------------------------------------------------------


class _Monitor(Observer):
    """Sees the thread that it is started in through ``sys.monitoring``."""

    def __init__(self, entered: Entered, called: Called) -> None:
        super().__init__()
        self.entered = entered
        self.called = called

    def start(self) -> None:
        _count_monitors(1)
        self.begin()

    def stop(self) -> None:
        self.end()
        _count_monitors(-1)

    def begin(self) -> None:
        _local.monitor = self

    def end(self) -> None:
        _local.monitor = None


class _Local(threading.local):
    monitor: _Monitor | None = None


_local = _Local()
_lock = threading.Lock()
_monitors = 0
_chosen: int | None = None


def _tool() -> int | None:
    """The number of our tool, or None if others have taken all."""
    global _chosen
    with _lock:
        for number in _TOOLS:
            if _chosen is None and _monitoring.get_tool(number) is None:
                _monitoring.use_tool_id(number, "tetragrad")
                events = _monitoring.events
                _monitoring.register_callback(number, events.PY_START, _on_start)
                _monitoring.register_callback(number, events.CALL, _on_call)
                _chosen = number
    return _chosen


def _count_monitors(change: int) -> None:
    """Ask for events while any thread is observed."""
    global _monitors
    events = _monitoring.events
    with _lock:
        _monitors += change
        wanted = events.PY_START | events.CALL if _monitors else events.NO_EVENTS
        if _monitoring.get_events(_chosen) != wanted:
            _monitoring.set_events(_chosen, wanted)


def _on_start(code: CodeType, offset: int) -> Any:
    monitor = _local.monitor
    frame = sys._getframe(1)
    if monitor is not None:
        monitor.entered(frame)
    return _monitoring.DISABLE if _is_quiet(frame) else None


def _on_call(code: CodeType, offset: int, function: Any, first: Any) -> Any:
    monitor = _local.monitor
    frame = sys._getframe(1)
    if monitor is not None and isinstance(function, _BUILT_IN):
        if isinstance(function, MethodDescriptorType):
            # A method is called without being bound first.
            function = function.__get__(first, type(first))
        monitor.called(frame, function)
    return _monitoring.DISABLE if _is_quiet(frame) else None


def _is_quiet(frame: FrameType) -> bool:
    """Whether nothing that code does can matter, whoever runs it."""
    module = frame.f_globals.get("__name__", "")
    return module in _PLAIN_MODULES or is_own(module)
