"""Keeping a folder of entries below a size: what was not used for longest goes first.

Any number of processes may write to the folder, read from it and clear it at the same
time: an entry that is gone is as good as one that was never made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: A folder that is too large is cleared down to this share of what it may be, so that
#: the next write does not find it full again.
SHARE_KEPT = 0.75

#: What a process writes before it looks again at what all of them wrote.
SHARE_BETWEEN_LOOKS = 1 / 16

#: An entry's time of use is renewed when it is older than this.
SECONDS_BETWEEN_USES = 3600.0


class DiskLimit:
    """The most bytes that the files below a folder may have together."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        # At the first write nothing is known of what is there.
        self._written = float("inf")

    def note_use(self, path: Path) -> None:
        """An entry has been read: it is not the next to go."""
        now = time.time()
        with suppress(OSError):
            if now - path.stat().st_mtime > SECONDS_BETWEEN_USES:
                os.utime(path)

    def note_write(self, nbytes: int) -> None:
        """An entry has been written; clears the folder if it may be too large."""
        self._written += nbytes
        if self._written > self.limit * SHARE_BETWEEN_LOOKS:
            self._written = 0.0
            self.clear()

    def clear(self) -> None:
        """If the folder is too large, delete what was not used for longest."""
        entries = sorted(_entries(self.folder))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in entries:
            if total <= self.limit * SHARE_KEPT:
                return
            # Another process may have deleted it, or hold it open.
            with suppress(OSError):
                os.unlink(path)
            total -= size


def _entries(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Time of use, size and path of every file below the folder."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(OSError):
                status = os.stat(path)
                yield status.st_mtime, status.st_size, path
