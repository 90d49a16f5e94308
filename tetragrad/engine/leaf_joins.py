"""Joins of small values that are in memory: copied together, not computed.

A batch of a replay buffer is ``cat`` of what many steps have left behind: values of
one element as () and as (1,), some of them twice. Each mixture would be another graph,
compiled for itself. As one buffer it is one graph for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tetragrad.backends.backend import Device
from tetragrad.engine.varying import shown, uploaded
from tetragrad.graph.elementwise import Where
from tetragrad.graph.joining import halves_of
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node

#: Fewer pieces than this are read where they are.
FEWEST_PIECES = 4
#: Bytes that take the host less time than a launch saves.
LARGEST_JOIN = 1 << 20

#: Arrays to be joined, and along which dimension.
Pieces = tuple[list[np.ndarray], int]


def joins_in_memory(
    order: Sequence[Node],
    realized: Mapping[Node, Buffer],
    device: Callable[[str], Device],
) -> dict[Node, Buffer]:
    """What a graph joins of pieces that are in memory, as buffers of their own.

    Args:
        order: every node, sources first.
        realized: what has run.
        device: the device of a name; only those that share the host's memory count.
    """
    found: dict[Node, Pieces] = {}
    parts: set[Node] = set()
    for node in order:
        if not isinstance(node, Where) or _nbytes(node) > LARGEST_JOIN:
            continue
        halves = None if node in realized else halves_of(node)
        if halves is None or not _is_readable(node, device):
            continue
        first, second, dim = halves
        before = _pieces(first, dim, found, realized)
        behind = _pieces(second, dim, found, realized)
        if before and behind:
            found[node] = (before + behind, dim)
            parts |= {first, second}
    return {
        node: uploaded(np.concatenate(pieces, dim), node.dtype, device(node.device))
        for node, (pieces, dim) in found.items()
        if node not in parts and len(pieces) >= FEWEST_PIECES and node.device
    }


def _is_readable(node: Node, device: Callable[[str], Device]) -> bool:
    return node.device is not None and device(node.device).has_host_memory


def _pieces(
    node: Node, dim: int, found: Mapping[Node, Pieces], realized: Mapping[Node, Buffer]
) -> list[np.ndarray]:
    """A node as arrays along a dimension; nothing if it is not in memory."""
    if node in found:
        pieces, joined_dim = found[node]
        return pieces if joined_dim == dim else [np.concatenate(pieces, joined_dim)]
    array = shown(node, realized)
    return [] if array is None else [array]


def _nbytes(node: Node) -> int:
    return node.numel * node.dtype.itemsize
