"""In which order the dimensions of what kernels store for one another lie in memory.

What a user sees is row-major. What one kernel writes and others read need not be: an
order names its dimensions from the one whose neighbours are furthest apart to the one
whose neighbours are next to one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from tetragrad.graph.node import Node

Order = tuple[int, ...]

#: The orders of those nodes that are not row-major.
Layouts = Mapping[Node, Order]

ROW_MAJOR: Layouts = {}

Entry = TypeVar("Entry")


def permuted(entries: Sequence[Entry], order: Order) -> tuple[Entry, ...]:
    """What belongs to each dimension, in the order of memory."""
    return tuple(entries[dim] for dim in order)


def with_innermost(rank: int, dim: int) -> Order:
    """Row-major, but for one dimension whose neighbours are next to one another."""
    return (*(other for other in range(rank) if other != dim), dim)


def strides(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """How far apart neighbours along each dimension are."""
    found = [0] * len(shape)
    distance = 1
    for dim in reversed(order):
        found[dim] = distance
        distance *= shape[dim]
    return tuple(found)
