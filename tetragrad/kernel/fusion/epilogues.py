"""Where a contraction's kernel ends: the last value that is wholly its own.

From the contraction on, a value belongs to its *region* if it is made from the
region element by element, and otherwise from little. The kernel may end at any value
of the region through which everything earlier in the region passes:

    h = x @ w + b;   g = h * (1 + tanh(h));   y = g @ v

h has two readers, but both lead to g, so the first kernel ends at g.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence, Set

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node

#: A longer epilogue would not stay in registers.
LARGEST_REGION = 64

#: Movement in which no source element is read twice, and nothing is filled in.
ONE_TO_ONE = (moves.Reshape, moves.Permute, moves.Shrink, moves.Flip, moves.Stride)

#: How far apart results may be written, with constants between them.
MOST_SPREAD = 4

Users = Mapping[Node, Sequence[Node]]


def epilogue_end(
    start: Node,
    users: Users,
    index: Mapping[Node, int],
    wanted: Set[Node],
    taken: Set[Node],
    is_light: Callable[[Node], bool],
    *,
    spreads: bool = False,
) -> Node:
    """The last value at which the kernel of the contraction ``start`` may end.

    ``index`` numbers the nodes in topological order; ``wanted`` go to memory
    whatever happens, ``taken`` are the ends of other kernels; ``is_light`` says
    whether an operand from outside is little to read. With ``spreads`` the kernel may
    also write constants between its results.
    """
    region = _region(start, users, index, wanted, taken, is_light, spreads)
    position = {node: place for place, node in enumerate(region)}
    beyond = len(region)
    end, furthest = start, -1
    for place, node in enumerate(region):
        # All earlier values must have their last reader here or before. What is
        # stored is never wider than what could have been.
        if furthest <= place and node.dtype.itemsize <= end.dtype.itemsize:
            end = node
        last = max((position.get(user, beyond) for user in users[node]), default=beyond)
        furthest = max(furthest, beyond if node in wanted else last)
    return end


def _region(
    start: Node,
    users: Users,
    index: Mapping[Node, int],
    wanted: Set[Node],
    taken: Set[Node],
    is_light: Callable[[Node], bool],
    spreads: bool,
) -> list[Node]:
    """The contraction and what is made of it, in topological order.

    Up to the first reader that is not of the region: some value before it is read
    outside, so the kernel ends at that value at the latest.
    """
    region = [start]
    members = {start}
    waiting = [(index[user], user) for user in users[start]]
    heapq.heapify(waiting)
    while waiting and len(region) < LARGEST_REGION and region[-1] not in wanted:
        _, node = heapq.heappop(waiting)
        if node in members:
            continue
        if node in taken:
            break
        if not _belongs(node, members, users, is_light) and not (
            spreads and _is_spread(node, users)
        ):
            break
        region.append(node)
        members.add(node)
        for user in users[node]:
            heapq.heappush(waiting, (index[user], user))
    return region


def _belongs(
    node: Node, members: Set[Node], users: Users, is_light: Callable[[Node], bool]
) -> bool:
    """Whether a reader of the region is part of it."""
    if isinstance(node, ONE_TO_ONE):
        # Read in two places, the contraction would be computed twice.
        return len(users[node.sources[0]]) == 1
    if not isinstance(node, ops.Elementwise):
        return False
    return all(source in members or is_light(source) for source in node.sources)


def _is_spread(node: Node, users: Users) -> bool:
    """Whether a few constants are put beside each element of the one source."""
    if not isinstance(node, moves.Pad) or len(users[node.sources[0]]) != 1:
        return False
    grown = [
        (old, new)
        for old, new in zip(node.sources[0].shape, node.shape, strict=True)
        if old != new
    ]
    return all(old == 1 and new <= MOST_SPREAD for old, new in grown)
