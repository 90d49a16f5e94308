"""Values one after another: elements are chosen by position, never added."""

from __future__ import annotations

from tetragrad.core import dtypes
from tetragrad.graph.elementwise import Lt, Where, full_like
from tetragrad.graph.leaves import Iota
from tetragrad.graph.movement import Pad, Reshape, broadcast_to, pad
from tetragrad.graph.node import Node


def joined(first: Node, second: Node, dim: int) -> Node:
    """The second value behind the first along a dimension."""
    split, rest = first.shape[dim], second.shape[dim]
    if not split or not rest:
        return first if split else second
    shape = (*first.shape[:dim], split + rest, *first.shape[dim + 1 :])
    aligned = tuple([size if axis == dim else 1 for axis, size in enumerate(shape)])
    where = broadcast_to(Reshape(Iota(split + rest, dtypes.int64), aligned), shape)
    is_first = Lt(where, full_like(where, split))
    return Where(
        is_first, _padded(first, dim, (0, rest)), _padded(second, dim, (split, 0))
    )


def halves_of(node: Node) -> tuple[Node, Node, int] | None:
    """What a node joins, and along which dimension; None if it is nothing joined."""
    if not isinstance(node, Where):
        return None
    _, before, behind = node.sources
    if not isinstance(before, Pad) or not isinstance(behind, Pad):
        return None
    first, second = before.source, behind.source
    dims = [dim for dim, (_, after) in enumerate(before.padding) if after]
    # Equal nodes are one object.
    if (
        len(dims) != 1
        or first.shape[dims[0]] + second.shape[dims[0]] != (node.shape[dims[0]])
    ):
        return None
    return (first, second, dims[0]) if joined(first, second, dims[0]) is node else None


def _padded(node: Node, dim: int, around: tuple[int, int]) -> Node:
    padding = tuple([around if axis == dim else (0, 0) for axis in range(node.ndim)])
    return pad(node, padding, 0)
