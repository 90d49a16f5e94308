"""Calls whose result a replay could not know: clocks, files, other random numbers."""

from __future__ import annotations

import datetime
import io
from random import Random
from types import FrameType
from typing import Any

from tetragrad.engine.capture import Recorder

_FUNCTIONS = frozenset(
    [
        *(
            ("time", f"{name}{unit}")
            for name in ("time", "monotonic", "perf_counter", "process_time")
            for unit in ("", "_ns")
        ),
        ("time", "localtime"),
        ("time", "gmtime"),
        (open.__module__, "open"),  # "_io" from Python 3.12 on
        ("posix", "urandom"),
        ("nt", "urandom"),
        ("builtins", "input"),
    ]
)
_FILE_METHODS = frozenset(("read", "readline", "readlines", "readinto", "read1"))
_DATE_METHODS = frozenset(("now", "today", "utcnow"))
_RANDOM_METHODS = frozenset(("random", "getrandbits", "seed", "setstate"))
_NAMES = (
    frozenset(name for _, name in _FUNCTIONS)
    | _FILE_METHODS
    | _DATE_METHODS
    | _RANDOM_METHODS
)
#: These note the time or read files without any influence on the caller's values.
_HARMLESS_CALLERS = ("logging", "warnings", "linecache", "traceback", "importlib")
_HARMLESS_PACKAGES = ("tetragrad.engine", "tetragrad.backends")


def may_be_opaque(function: Any) -> bool:
    """Whether a built-in function has a name that deserves a second look."""
    return getattr(function, "__name__", "") in _NAMES


def check_call(recorder: Recorder, frame: FrameType, function: Any) -> None:
    """Refuse a call of a built-in function that a replay could not repeat."""
    what = _opaque(function)
    if what is None:
        return
    if _is_harmless(frame):
        return
    recorder.refuse(
        f"{what} is called",
        hint="call it outside, and pass what it gives as an argument "
        "(random numbers: use tetragrad.rand and its relatives)",
    )


def _is_harmless(frame: FrameType | None) -> bool:
    """Whether the call is part of compiling, importing, or writing a log."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(_HARMLESS_PACKAGES):
            return True
        if name.partition(".")[0] in _HARMLESS_CALLERS:
            return True
        frame = frame.f_back
    return False


def _opaque(function: Any) -> str | None:
    """What a function is called, if its result depends on the world."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__name__", "")
    if (module, name) in _FUNCTIONS:
        return f"{module}.{name}()".removeprefix("_")
    owner = getattr(function, "__self__", None)
    if isinstance(owner, Random):
        return f"random.{name}()"
    if name in _FILE_METHODS and isinstance(owner, io.IOBase):
        return f"{name}() of a file"
    if owner in (datetime.datetime, datetime.date) and name in _DATE_METHODS:
        return f"datetime.{name}()"
    return None
