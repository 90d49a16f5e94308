"""Many rows sorted side by side, by a network of comparisons that no data decides.

K. E. Batcher, "Sorting networks and their applications", 1968. All rows make the same
comparisons, so the rows lie on the lanes of vectors, and one comparison of two places
is one of whole vectors. A pass does four stages of the network on
sixteen places at a time, which stay in registers meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.joining import concatenate_nodes
from tetragrad.tensor.reductions import positions

#: The first pass sorts this many neighbours, in as many steps as a merge of all.
SORTED_AT_ONCE = 16
#: Stages of a merge that one pass does: 2**4 places, of each two vectors, fill the
#: registers.
STAGES_A_PASS = 4

#: Two places of a group, of which the first receives the smaller number.
Comparison = tuple[int, int]


def sorted_columns(numbers: Node) -> Node:
    """Unsigned numbers (length, rows) with every column in order, smallest first.

    The length is a power of two. Sorted runs are merged pair by pair. Of each pair
    the second one goes downwards, so that both together first rise and then fall,
    which log2(length) stages of comparisons put in order. Runs that should go
    downwards are sorted upwards with all their bits inverted.
    """
    length = numbers.shape[0]
    runs = min(length, SORTED_AT_ONCE)
    numbers = _inverted(numbers, runs)
    numbers = _pass(numbers, 1, runs, sorting_comparisons(runs))
    while runs < length:
        numbers = _inverted(_inverted(numbers, runs), 2 * runs)
        runs *= 2
        for distance, places in passes_of_merge(runs):
            numbers = _pass(numbers, distance, places, merging_comparisons(places))
    return numbers


def passes_of_merge(length: int) -> Iterator[tuple[int, int]]:
    """(distance of neighbours in a group, places in it) of each pass of a merge.

    The stages are spread evenly: six are twice three, not four and two.
    """
    stages = length.bit_length() - 1
    left = -(-stages // STAGES_A_PASS)
    while stages:
        done = -(-stages // left)
        stages -= done
        left -= 1
        yield 1 << stages, 1 << done


@functools.cache
def sorting_comparisons(places: int) -> tuple[Comparison, ...]:
    """Batcher's odd-even merge sort of a power of two of places."""
    found: list[Comparison] = []
    size = 1
    while size < places:
        distance = size
        while distance:
            for start in range(distance % size, places - distance, 2 * distance):
                for first in range(start, min(start + distance, places - distance)):
                    second = first + distance
                    if first // (2 * size) == second // (2 * size):
                        found.append((first, second))
            distance //= 2
        size *= 2
    return tuple(found)


@functools.cache
def merging_comparisons(places: int) -> tuple[Comparison, ...]:
    """What sorts places that first rise and then fall: halves, quarters, and so on."""
    found: list[Comparison] = []
    distance = places // 2
    while distance:
        found += [
            (first, first + distance) for first in range(places) if not first & distance
        ]
        distance //= 2
    return tuple(found)


def _pass(
    numbers: Node, distance: int, places: int, comparisons: Sequence[Comparison]
) -> Node:
    """Compare within groups of places that are a distance apart; kept in memory."""
    length, rows = numbers.shape
    groups = length // (distance * places)
    apart = graph.Reshape(numbers, (groups, places, distance, rows))
    values = [_place(apart, place) for place in range(places)]
    for first, second in comparisons:
        values[first], values[second] = _in_order(values[first], values[second])
    together = concatenate_nodes(values, 1)
    # Otherwise the next pass would compute this one again for each of its places.
    return graph.Kept(graph.Reshape(together, numbers.shape))


def _place(apart: Node, place: int) -> Node:
    bounds = [(0, size) for size in apart.shape]
    bounds[1] = (place, place + 1)
    return graph.Shrink(apart, tuple(bounds))


def _in_order(first: Node, second: Node) -> tuple[Node, Node]:
    is_less = ops.Lt(first, second)
    return ops.Where(is_less, first, second), ops.Where(is_less, second, first)


def _inverted(numbers: Node, run: int) -> Node:
    """Every other run of a length with all bits inverted; none if there is one."""
    length, rows = numbers.shape
    if run == length:
        return numbers
    pairs = graph.Reshape(numbers, (length // (2 * run), 2, run, rows))
    which = broadcast_to(positions(2, 1, 4, numbers.dtype), pairs.shape)
    mask = ops.Sub(full_like(pairs, 0), which)
    return graph.Reshape(ops.Xor(pairs, mask), numbers.shape)
