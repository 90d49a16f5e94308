"""The memory plan: temporaries that are not alive at once share one arena.

Must run after the kernels are in order.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

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
    offsets = [0] * len(lifetimes)
    # In the order of their places: start, end, first and last launch.
    placed: list[tuple[int, int, int, int]] = []
    arena = 0
    for index in sorted(range(len(lifetimes)), key=lambda i: -lifetimes[i].nbytes):
        wanted = lifetimes[index]
        nbytes = -(-wanted.nbytes // ALIGNMENT) * ALIGNMENT
        offset = 0
        for start, end, first, last in placed:
            if first <= wanted.last and wanted.first <= last:
                if start - offset >= nbytes:
                    break
                offset = max(offset, end)
        offsets[index] = offset
        insort(placed, (offset, offset + nbytes, wanted.first, wanted.last))
        arena = max(arena, offset + nbytes)
    return offsets, arena
