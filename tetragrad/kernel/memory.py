"""The memory plan: temporaries that are not alive at once share one arena.

Must run after the kernels are in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tetragrad.core.frozen import frozen

ALIGNMENT = 64


@frozen
class Lifetime:
    """A temporary: its size, and the first and last launch that touch it."""

    nbytes: int
    first: int
    last: int


def plan_arena(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """An offset for each temporary, and the size of the arena.

    Largest first, each at the lowest offset where nothing alive at the same time
    lies (Pisarchyk and Lee 2020, "greedy by size").
    """
    placed = _Placed(len(lifetimes))
    offsets = [0] * len(lifetimes)
    arena = 0
    for index in sorted(range(len(lifetimes)), key=lambda i: -lifetimes[i].nbytes):
        wanted = lifetimes[index]
        nbytes = -(-wanted.nbytes // ALIGNMENT) * ALIGNMENT
        offset = offsets[index] = placed.lowest(wanted, nbytes)
        placed.add(wanted, offset, offset + nbytes)
        arena = max(arena, offset + nbytes)
    return offsets, arena


class _Placed:
    """What lies in the arena, in the order of places.

    Arrays, because a network unrolled over hundreds of steps has thousands of
    temporaries, most of which live at once.
    """

    def __init__(self, count: int) -> None:
        #: Columns of start, end, first and last launch; so many have been filled.
        self._table = np.zeros((4, count), np.int64)
        self._count = 0

    def lowest(self, wanted: Lifetime, nbytes: int) -> int:
        """The lowest offset at which so many bytes are free for a lifetime."""
        starts, ends, first, last = self._table[:, : self._count]
        alive = (first <= wanted.last) & (wanted.first <= last)
        # Below each place, everything is free from where the last one ends.
        free = np.concatenate([[0], np.maximum.accumulate(ends[alive])])
        fits = np.flatnonzero(starts[alive] - free[:-1] >= nbytes)
        return int(free[fits[0]] if len(fits) else free[-1])

    def add(self, lifetime: Lifetime, start: int, end: int) -> None:
        """Put something at its place."""
        count = self._count
        at = int(np.searchsorted(self._table[0, :count], start))
        self._table[:, at + 1 : count + 1] = self._table[:, at:count]
        self._table[:, at] = start, end, lifetime.first, lifetime.last
        self._count = count + 1
