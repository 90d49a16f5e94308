"""What holds a device's memory, for the error that there is no more of it.

Nothing is noted while all goes well: who holds what is asked for when memory is short.
Tensors lie above this package, so what finds them is put here by theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from tetragrad.core.frozen import frozen

#: How many of the largest are listed.
SHOWN = 6

#: Whether a block of memory is one of those that are short.
IsOurs = Callable[[Any], bool]


@frozen
class Holding:
    """A block of memory, what is in it, and the user's line that made it, if any."""

    nbytes: int
    what: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.what}, made at {self.line}" if self.line else self.what


class MemoryPool(Protocol):
    """Memory of a device that has its own."""

    used_bytes: int

    def clear(self) -> None:
        """Give blocks that nobody uses back to the device."""


#: The pools of all such devices that are open.
pools: list[MemoryPool] = []


def _nothing(is_ours: IsOurs) -> Iterable[Holding]:
    return ()


#: Finds what live tensors hold; replaced when there are tensors.
find: Callable[[IsOurs], Iterable[Holding]] = _nothing


def text(is_ours: IsOurs, used_bytes: int) -> str:
    """The largest holdings, one a line; and how much is left for temporaries.

    Args:
        is_ours: tells the blocks in question from those of other devices.
        used_bytes: what all of them have.
    """
    found = list(find(is_ours))
    alike = Counter(found)
    largest = sorted(alike, key=lambda entry: -entry.nbytes * alike[entry])
    rows = [
        (holding.nbytes * alike[holding], _times(alike[holding], str(holding)))
        for holding in largest[:SHOWN]
    ]
    others = sum(alike[entry] for entry in largest[SHOWN:])
    if others:
        nbytes = sum(entry.nbytes * alike[entry] for entry in largest[SHOWN:])
        rows.append((nbytes, f"{others} others"))
    rest = used_bytes - sum(nbytes for nbytes, _ in rows)
    if rest > 0:
        rows.append((rest, "temporaries, and what captured functions keep"))
    return "".join(f"\n  {nbytes:>18,} bytes: {what}" for nbytes, what in rows)


def _times(count: int, what: str) -> str:
    return what if count == 1 else f"{count} times {what}"
