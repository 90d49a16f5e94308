"""In which order to multiply several labelled operands, two at a time.

Which pair goes first changes the work by orders of magnitude, and never the result but
for rounding. Few operands are ordered optimally, many greedily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

#: Up to so many operands every order is compared: 3^8 splits.
OPTIMAL = 8

Labels = frozenset[str]
Step = tuple[int, int]


def contraction_order(
    inputs: Sequence[Sequence[str]], output: Sequence[str], sizes: Mapping[str, int]
) -> tuple[Step, ...]:
    """Pairs of positions; each pair is taken out, and its product put at the end.

    >>> sizes = {"a": 2, "b": 100, "c": 100, "d": 1}
    >>> contraction_order(["ab", "bc", "cd"], "ad", sizes)
    ((1, 2), (0, 1))
    """
    operands = tuple(frozenset(labels) for labels in inputs)
    known = tuple(sorted(sizes.items()))
    return _order(operands, frozenset(output), known)


@lru_cache(1024)
def _order(
    operands: tuple[Labels, ...], output: Labels, sizes: tuple[tuple[str, int], ...]
) -> tuple[Step, ...]:
    if len(operands) < 2:
        return ()
    if len(operands) <= OPTIMAL:
        return _optimal(operands, output, dict(sizes))
    return _greedy(operands, output, dict(sizes))


def _volume(labels: Labels, sizes: Mapping[str, int]) -> int:
    product = 1
    for label in labels:
        product *= sizes[label]
    return product


def _needed(inside: Labels, outside: Sequence[Labels], output: Labels) -> Labels:
    """The labels of a product that something else still needs."""
    return inside & output.union(*outside)


# --- every order ----------------------------------------------------------------------


def _optimal(
    operands: tuple[Labels, ...], output: Labels, sizes: Mapping[str, int]
) -> tuple[Step, ...]:
    """The fewest multiplications, by dynamic programming over sets of operands.

    A set is a number with a bit for each operand. Its best order is that of two parts,
    and then their product.
    """
    count = len(operands)
    labels = {
        chosen: _labels_of(chosen, operands, output) for chosen in range(1, 1 << count)
    }
    cost = {1 << place: 0 for place in range(count)}
    split: dict[int, tuple[int, int]] = {}
    for chosen in range(1, 1 << count):
        if chosen in cost:
            continue
        best = None
        part = (chosen - 1) & chosen
        while part:
            rest = chosen ^ part
            if part > rest:
                work = _volume(labels[part] | labels[rest], sizes)
                total = cost[part] + cost[rest] + work
                if best is None or total < best:
                    best, split[chosen] = total, (part, rest)
            part = (part - 1) & chosen
        assert best is not None
        cost[chosen] = best
    return _steps(split, count)


def _labels_of(chosen: int, operands: tuple[Labels, ...], output: Labels) -> Labels:
    """The labels of the product of a set of operands."""
    inside = [entry for place, entry in enumerate(operands) if chosen >> place & 1]
    outside = [entry for place, entry in enumerate(operands) if not chosen >> place & 1]
    return _needed(frozenset().union(*inside), outside, output)


def _steps(split: Mapping[int, tuple[int, int]], count: int) -> tuple[Step, ...]:
    """The splits of the whole set as pairs of positions, the innermost first."""
    standing = [1 << place for place in range(count)]
    steps: list[Step] = []

    def multiply(chosen: int) -> None:
        if chosen in standing:
            return
        for part in split[chosen]:
            multiply(part)
        first, second = sorted(standing.index(part) for part in split[chosen])
        del standing[second], standing[first]
        standing.append(chosen)
        steps.append((first, second))

    multiply((1 << count) - 1)
    return tuple(steps)


# --- the best next pair ---------------------------------------------------------------


def _greedy(
    operands: tuple[Labels, ...], output: Labels, sizes: Mapping[str, int]
) -> tuple[Step, ...]:
    """The pair that frees most memory first, and of equal ones the least work."""
    standing = list(operands)
    steps: list[Step] = []
    while len(standing) > 1:
        pairs = [
            (first, second)
            for second in range(len(standing))
            for first in range(second)
        ]
        step = min(pairs, key=lambda pair: _worth(standing, pair, output, sizes))
        first, second = step
        product = _product(standing, step, output)
        del standing[second], standing[first]
        standing.append(product)
        steps.append(step)
    return tuple(steps)


def _product(standing: list[Labels], pair: Step, output: Labels) -> Labels:
    first, second = pair
    others = [entry for place, entry in enumerate(standing) if place not in pair]
    return _needed(standing[first] | standing[second], others, output)


def _worth(
    standing: list[Labels], pair: Step, output: Labels, sizes: Mapping[str, int]
) -> tuple[int, int]:
    first, second = (standing[place] for place in pair)
    result = _volume(_product(standing, pair, output), sizes)
    freed = _volume(first, sizes) + _volume(second, sizes)
    return result - freed, _volume(first | second, sizes)
