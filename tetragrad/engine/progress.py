"""A line of progress for compilations that take long enough to wonder about."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

#: Seconds of silence before the first line.
PATIENCE = 1.0
#: Seconds between two updates.
INTERVAL = 0.1
_ERASE = "\r\033[K"

Item = TypeVar("Item", covariant=True)


class SizedIterable(Sized, Iterable[Item], Protocol[Item]):
    """What can be counted before it is walked."""


def track(items: SizedIterable[Item], what: str) -> Iterator[Item]:
    """Walk the items; on a terminal, say how far that is, and erase it at the end.

    Nothing is written to a pipe or a file, and nothing in the first second.
    """
    stream = sys.stderr
    if not stream.isatty():
        yield from items
        return
    shown = False
    due = time.monotonic() + PATIENCE
    try:
        for done, item in enumerate(items):
            if time.monotonic() >= due:
                stream.write(f"{_ERASE}{what} {done}/{len(items)}")
                stream.flush()
                shown = True
                due = time.monotonic() + INTERVAL
            yield item
    finally:
        if shown:
            stream.write(_ERASE)
            stream.flush()
