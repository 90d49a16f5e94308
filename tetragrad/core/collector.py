"""Pauses of Python's garbage collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_pauses = 0
_was_enabled = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage inside: neither the time it takes, nor what it may call.

    The collector is the process's, so it stays off until the last thread is done.
    """
    global _pauses, _was_enabled
    with _lock:
        if not _pauses:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if not _pauses and _was_enabled:
                gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Pause the collector for what is made to stay, and let it count as old after.

    Looking for garbage that imports do not leave would take a tenth of their time.
    """
    with collector_paused():
        yield
        # What the program itself has frozen must stay so.
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
