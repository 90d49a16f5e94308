"""Rows sorted by a network of comparisons that no data decides.

K. E. Batcher, "Sorting networks and their applications", 1968. All rows make the same
comparisons, so the rows lie on the lanes of vectors, and one comparison of two places
is one of whole vectors. A pass does four stages of the network on sixteen places at a
time, which stay in registers meanwhile.

A sorted run is merged with the next one by comparing the first place of both with the
last one, and so on towards the middle. What is smaller then falls and rises again, what
is greater too, and stages of comparisons at half the distance each put that in order,
in whichever direction it lies. So a pass reads the upper half of its places from the
end, where they were compared, and nothing needs to be turned back.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.node import Node
from tetragrad.tensor.joining import concatenate_nodes

#: The first pass sorts this many neighbours, in as many steps as a merge of all.
SORTED_AT_ONCE = 16
#: Stages of a merge that one pass does: 2**4 places, of each two vectors, fill the
#: registers.
STAGES_A_PASS = 4

#: The dimensions of groups of places: those between its places, and the columns.
PLACES, COLUMNS = 2, 3

#: Two places of a group, of which the first receives the smaller number.
Comparison = tuple[int, int]


def sorted_rows(numbers: Node, longest: int) -> Node:
    """Numbers (rows, length) with every row in order, smallest first.

    Blocks of at most ``longest`` are sorted as columns, which a GPU does on a chip.
    They are merged place by place as long as what is compared is in different blocks,
    and then as columns again. Both lengths are powers of two.
    """
    rows, length = numbers.shape
    within = min(length, longest)
    if rows > 1 and within < length:
        # All blocks of all rows are one axis in memory only.
        numbers = graph.Kept(numbers)
    columns = sorted_columns(as_columns(numbers, within))
    run = within
    while run < length:
        run *= 2
        blocks: Node = graph.Kept(graph.Permute(columns, (1, 0)))
        blocks = _merged(blocks, run // within, (PLACES, COLUMNS))
        columns = _merged(as_columns(blocks, within), within)
    blocks = graph.Permute(columns, (1, 0))
    if within < length:
        # Values and places are asked for, and neither should be read across blocks.
        blocks = graph.Kept(blocks)
    return graph.Reshape(blocks, (rows, length))


def as_columns(numbers: Node, length: int) -> Node:
    """Numbers in memory, of which each column is the next so many."""
    blocks = graph.Reshape(numbers, (numbers.numel // length, length))
    return graph.Permute(blocks, (1, 0))


def sorted_columns(numbers: Node) -> Node:
    """Numbers (length, columns) with every column in order, smallest first."""
    length = numbers.shape[0]
    run = min(length, SORTED_AT_ONCE)
    numbers = _pass(graph.Kept(numbers), 1, run, sorting_comparisons(run))
    while run < length:
        run *= 2
        numbers = _merged(numbers, run, (PLACES,))
    return numbers


def _merged(numbers: Node, length: int, turned: tuple[int, ...] = ()) -> Node:
    """Groups of so many places after all stages of a merge.

    The first stage of all takes runs that rise both, of which the second is read from
    the end: of its places, and of its columns where places are whole blocks.
    """
    for distance, places in passes_of_merge(length):
        comparisons = merging_comparisons(places, is_first=bool(turned))
        numbers = _pass(numbers, distance, places, comparisons, turned)
        turned = ()
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
def merging_comparisons(places: int, is_first: bool) -> tuple[Comparison, ...]:
    """What sorts places that rise and fall: halves, quarters, and so on.

    At first both halves rise, and are compared from both ends.
    """
    found: list[Comparison] = []
    distance = places // 2
    if is_first:
        found += [(place, places - 1 - place) for place in range(distance)]
        distance //= 2
    while distance:
        found += [
            (first, first + distance) for first in range(places) if not first & distance
        ]
        distance //= 2
    return tuple(found)


def _pass(
    numbers: Node,
    distance: int,
    places: int,
    comparisons: Sequence[Comparison],
    turned: tuple[int, ...] = (),
) -> Node:
    """Compare within groups of places that are a distance apart; kept in memory."""
    length, columns = numbers.shape
    groups = length // (distance * places)
    apart = graph.Reshape(numbers, (groups, places, distance, columns))
    values = [_place(apart, place) for place in range(places)]
    if turned:
        half = places // 2
        values[half:] = [graph.Flip(value, turned) for value in values[half:]]
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
