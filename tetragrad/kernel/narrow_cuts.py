"""Where to cut a kernel that would be too long: where few values live.

A function that is computed step by step, such as a continued fraction, is hundreds of
operations on each element, of which a step hands on a few values only:

    ... (a, b, done) -> forty operations -> (a, b, done) -> forty operations -> ...

Cut between two steps, a kernel stores and the next one reads those few. Cut anywhere
else it stores what a step has under way, up to all of its forty.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate

from tetragrad.graph import elementwise as ops
from tetragrad.graph.node import Node, Shape
from tetragrad.kernel.fusion.analysis import is_leaf
from tetragrad.kernel.fusion.decisions import Decisions


def narrow_cuts(decisions: Decisions, limit: int) -> list[list[Node]]:
    """Values to store, so that no kernel has more inline nodes than the limit.

    Those of one list are computed by one kernel: a step's values share most of it.

    Args:
        decisions: as they are without any limit.
    """
    place = {node: number for number, node in enumerate(decisions.order)}
    stored = sorted(place[node] for node in decisions.in_memory)
    found: dict[Node, list[Node]] = {}
    for root in sorted(decisions.in_memory, key=place.__getitem__):
        inline = sorted(_inline_nodes(decisions, root), key=place.__getitem__)
        if len(inline) <= limit:
            continue
        for living in _narrowest(decisions, inline, limit):
            fresh = [node for node in living if node not in found]
            for group in _computed_together(fresh, place, stored):
                found.update(dict.fromkeys(group, group))
    return list({id(group): group for group in found.values()}.values())


def _computed_together(
    living: list[Node], place: dict[Node, int], stored: list[int]
) -> list[list[Node]]:
    """The values of a cut, by the kernel that computes them; the last one first.

    One kernel goes over one shape. And none may need what another one makes of its
    first value: so nothing in between is stored.
    """
    shapes: dict[Shape, list[Node]] = {}
    for node in living:
        shapes.setdefault(node.shape, []).append(node)
    found = []
    for group in shapes.values():
        places = sorted(place[node] for node in group)
        after_first = bisect(stored, places[0])
        is_free = after_first == bisect(stored, places[-1])
        found += [group[::-1]] if is_free else [[node] for node in group]
    return found


def _inline_nodes(decisions: Decisions, root: Node) -> set[Node]:
    """What one kernel computes: all that its root is made of and nobody stores."""
    found: set[Node] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        for source in node.sources:
            is_read = is_leaf(source) or source in decisions.in_memory
            if not is_read and source not in found:
                found.add(source)
                stack.append(source)
    return found


def _narrowest(
    decisions: Decisions, inline: list[Node], limit: int
) -> Iterator[list[Node]]:
    """The values that live at each cut; cuts are a quarter to half the limit apart."""
    last_use = _last_uses(inline)
    sizes = [node.numel if _is_stored(decisions, node) else 0 for node in inline]
    alive = _elements_alive(sizes, [last_use[node] for node in inline])
    start = 0
    while len(inline) - start > limit // 2:
        window = range(start + limit // 4, start + limit // 2)
        # The last of those with the fewest elements.
        cut = min(reversed(window), key=alive.__getitem__)
        yield [
            node
            for node in inline[: cut + 1]
            if last_use[node] > cut and _is_stored(decisions, node)
        ]
        start = cut


def _elements_alive(sizes: list[int], last_uses: list[int]) -> list[int]:
    """How many elements live after each position, of values of these sizes."""
    changes = [0] * (len(sizes) + 1)
    for position, (size, last) in enumerate(zip(sizes, last_uses, strict=True)):
        changes[position] += size
        changes[last] -= size
    return list(accumulate(changes))


def _last_uses(inline: list[Node]) -> dict[Node, int]:
    """Where each value is read last; beyond the end if the root reads it."""
    last = {node: len(inline) for node in inline}
    used: set[Node] = set()
    for position in range(len(inline) - 1, -1, -1):
        for source in inline[position].sources:
            if source in last and source not in used:
                used.add(source)
                last[source] = position
    return last


def _is_stored(decisions: Decisions, node: Node) -> bool:
    """Whether a value that lives is stored; what reads nothing is made again."""
    return isinstance(node, ops.Elementwise) and bool(decisions.reads[node])
