"""The memory plan: temporaries that are not alive at once share one arena.

Must run after the kernels are in order.
"""

from __future__ import annotations

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
    placed: list[int] = []
    by_size = sorted(range(len(lifetimes)), key=lambda index: -lifetimes[index].nbytes)
    for index in by_size:
        wanted = lifetimes[index]
        busy = sorted(
            (offsets[other], offsets[other] + _rounded(lifetimes[other].nbytes))
            for other in placed
            if _overlap(lifetimes[other], wanted)
        )
        offsets[index] = _first_gap(busy, _rounded(wanted.nbytes))
        placed.append(index)
    ends = (
        offset + _rounded(entry.nbytes)
        for offset, entry in zip(offsets, lifetimes, strict=True)
    )
    return offsets, max(ends, default=0)


def _overlap(one: Lifetime, other: Lifetime) -> bool:
    return one.first <= other.last and other.first <= one.last


def _first_gap(busy: Sequence[tuple[int, int]], nbytes: int) -> int:
    offset = 0
    for start, end in busy:
        if start - offset >= nbytes:
            break
        offset = max(offset, end)
    return offset


def _rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
