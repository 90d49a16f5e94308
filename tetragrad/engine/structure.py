"""The structure of a graph as a key: what it computes, but not on which buffers.

Two graphs with equal keys have equal schedules: a training loop that builds the same
graph every step is fused and lowered once, captured or not.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.graph.extents import NO_EXTENTS, Extents, sizes_in
from tetragrad.graph.leaves import (
    Buffer,
    Constant,
    LaunchValue,
    is_given_at_launch,
    launch_signature,
)
from tetragrad.graph.movement import Flip, Pad, Permute, Reshape, Shrink, Stride
from tetragrad.graph.node import Node, walk

#: Movement that shows some or all elements of its source, each once.
_PLACED = (Flip, Permute, Reshape, Shrink, Stride)


@frozen(slots=True)
class Structure:
    """A graph's key, and the buffers and constants that fill it, in walk order.

    ``held`` are inner values that somebody still holds: they are kept if they are
    stored anyway. ``variants`` are slices of buffers, integer constants and places of
    single rows: the key says that they are there, and ``values`` which they are.
    """

    key: tuple[Any, ...]
    buffers: tuple[Buffer, ...]
    constants: tuple[LaunchValue, ...]
    held: tuple[Node, ...]
    nodes: int
    extents: Extents
    variants: tuple[Node, ...]
    values: tuple[Hashable, ...]


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
    variants = _Variants()
    for node in walk([*outputs, *sizes_in(extents)]):
        number[node] = len(number)
        if isinstance(node, Buffer):
            buffers.append(node)
            parts.append((node.shape, node.dtype, node.device))
        elif is_given_at_launch(node):
            constants.append(node)
            parts.append(launch_signature(node))
        elif variants.takes(node):
            sources = tuple(number[source] for source in node.sources)
            rest = plain_padding(node) if isinstance(node, Pad) else ()
            parts.append((type(node), node.shape, node.dtype, sources, rest))
        else:
            parts.append((type(node), *_arguments(node, number)))
    parts += [(number[node], value) for node, value in variants.take_fills()]
    parts.append(tuple(number[node] for node in outputs))
    inner = tuple(node for node in held if node in number and node not in outputs)
    parts.append(tuple(number[node] for node in inner))
    for node, needed in extents.items():
        ends = tuple((dim, number[size]) for dim, size in needed)
        parts.append((number.get(node), ends))
    return Structure(
        tuple(parts),
        tuple(buffers),
        tuple(constants),
        inner,
        len(number),
        extents,
        tuple(variants.values),
        tuple(variants.values.values()),
    )


class _Variants:
    """The variants of a graph, with their values.

    They are slices of what is only moved of a buffer, integer constants, and the places
    of single elements or rows among others: ``x[i] = row`` pads the row.
    """

    def __init__(self) -> None:
        self.values: dict[Node, Hashable] = {}
        self._moved: set[Node] = set()
        self._fills: dict[Node, None] = {}

    def takes(self, node: Node) -> bool:
        """Note a node, sources first; whether it is a variant."""
        if isinstance(node, Constant):
            if node.dtype.is_integer:
                self.values[node] = node.bits
        elif isinstance(node, _PLACED):
            source = node.sources[0]
            if isinstance(source, Buffer) or source in self._moved:
                self._moved.add(node)
                if isinstance(node, Shrink):
                    self.values[node] = node.bounds
        elif isinstance(node, Pad):
            self._fills[node.fill] = None
            starts = tuple(node.padding[dim][0] for dim in single_places(node))
            if starts:
                self.values[node] = starts
        return node in self.values

    def take_fills(self) -> list[tuple[Node, Hashable]]:
        """What images are padded with stays as it is: a Pad has a constant."""
        found = [fill for fill in self._fills if fill in self.values]
        return [(fill, self.values.pop(fill)) for fill in found]


def single_places(pad: Pad) -> list[int]:
    """The dimensions in which a single element gets a place among more."""
    sizes = enumerate(zip(pad.source.shape, pad.shape, strict=True))
    return [dim for dim, (size, padded) in sizes if size == 1 and padded > 1]


def plain_padding(pad: Pad) -> tuple[tuple[int, int], ...]:
    """The padding of all other dimensions."""
    places = single_places(pad)
    return tuple(
        (0, 0) if dim in places else entry for dim, entry in enumerate(pad.padding)
    )


def results_of(outputs: Sequence[Node]) -> list[Node]:
    """The distinct outputs that are not in memory already."""
    return [node for node in dict.fromkeys(outputs) if not isinstance(node, Buffer)]


def _arguments(node: Node, number: dict[Node, int]) -> list[Any]:
    return [
        number[entry] if isinstance(entry, Node) else entry for entry in node.arguments
    ]
