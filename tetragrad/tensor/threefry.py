"""Two random words from a key and a counter: threefry with 32-bit words and 20 rounds.

J. Salmon and others, "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key: tuple[Node, Node], counter: tuple[Node, Node]) -> tuple[Node, Node]:
    """Two random words for each counter; all nodes are uint32 of one shape."""
    parity = full_like(key[0], _PARITY)
    keys = (*key, ops.Xor(ops.Xor(key[0], key[1]), parity))
    first: Node = ops.Add(counter[0], keys[0])
    second: Node = ops.Add(counter[1], keys[1])
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            first = ops.Add(first, second)
            second = ops.Xor(_rotated(second, distance), first)
        first = ops.Add(first, keys[(group + 1) % 3])
        injected = ops.Add(keys[(group + 2) % 3], full_like(second, group + 1))
        second = ops.Add(second, injected)
    return first, second


def _rotated(word: Node, distance: int) -> Node:
    left = ops.Shl(word, full_like(word, distance))
    right = ops.Shr(word, full_like(word, 32 - distance))
    return ops.Or(left, right)
