"""The structure of a graph as a key: what it computes, but not on which buffers.

Two graphs with equal keys have equal schedules: a training loop that builds the same
graph every step is fused and lowered once, captured or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.graph.extents import NO_EXTENTS, Extents, sizes_in
from tetragrad.graph.leaves import (
    Buffer,
    LaunchValue,
    is_given_at_launch,
    launch_signature,
)
from tetragrad.graph.node import Node, walk


@frozen(slots=True)
class Structure:
    """A graph's key, and the buffers and constants that fill it, in walk order.

    ``held`` are inner values that somebody still holds: they are kept if they are
    stored anyway.
    """

    key: tuple[Any, ...]
    buffers: tuple[Buffer, ...]
    constants: tuple[LaunchValue, ...]
    held: tuple[Node, ...]
    nodes: int
    extents: Extents


def structure_of(
    outputs: Sequence[Node],
    held: Sequence[Node] = (),
    extents: Extents = NO_EXTENTS,
) -> Structure:
    """Describe a graph; values that do not shape code are left out of the key."""
    number: dict[Node, int] = {}
    parts: list[Any] = []
    buffers: list[Buffer] = []
    constants: list[LaunchValue] = []
    for node in walk([*outputs, *sizes_in(extents)]):
        number[node] = len(number)
        if isinstance(node, Buffer):
            buffers.append(node)
            parts.append((node.shape, node.dtype, node.device))
        elif is_given_at_launch(node):
            constants.append(node)
            parts.append(launch_signature(node))
        else:
            parts.append((type(node), *_arguments(node, number)))
    parts.append(tuple(number[node] for node in outputs))
    inner = tuple(node for node in held if node in number and node not in outputs)
    parts.append(tuple(number[node] for node in inner))
    for node, needed in extents.items():
        ends = tuple((dim, number[size]) for dim, size in needed)
        parts.append((number.get(node), ends))
    return Structure(
        tuple(parts), tuple(buffers), tuple(constants), inner, len(number), extents
    )


def results_of(outputs: Sequence[Node]) -> list[Node]:
    """The distinct outputs that are not in memory already."""
    return [node for node in dict.fromkeys(outputs) if not isinstance(node, Buffer)]


def _arguments(node: Node, number: dict[Node, int]) -> list[Any]:
    return [
        number[entry] if isinstance(entry, Node) else entry for entry in node.arguments
    ]
