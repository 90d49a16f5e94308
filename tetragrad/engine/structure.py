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
from tetragrad.graph.movement import Expand, Pad, Reshape, Shrink
from tetragrad.graph.node import Node, walk

#: For each dimension, where the elements of a padded node begin, and how many they are.
Places = tuple[tuple[int, int], ...]


@frozen(slots=True)
class Structure:
    """A graph's key, and the buffers and constants that fill it, in walk order.

    ``held`` are inner values that somebody still holds: they are kept if they are
    stored anyway. ``variants`` are slices, integer constants and the places of what is
    written: the key says that they are there, and ``values`` which they are.
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
            rest = variants.plain_padding(node) if isinstance(node, Pad) else ()
            parts.append((type(node), node.shape, node.dtype, sources, rest))
        elif is_spread(node):
            parts.append((type(node), number[node.sources[0]]))
        else:
            parts.append((type(node), *_arguments(node, number)))
        if not isinstance(node, Pad) or node not in variants.values:
            parts += [entry.shape for entry in node.sources if is_spread(entry)]
    parts += [(number[node], value) for node, value in variants.take_fills()]
    parts += [entry.shape for entry in outputs if is_spread(entry)]
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

    They are slices, integer constants, and the places of what is written into others:
    ``x[i] = row`` pads the row, ``x[i:j] = rows`` the rows and a mask.
    """

    def __init__(self) -> None:
        self.values: dict[Node, Hashable] = {}
        self._fills: dict[Node, None] = {}
        self._written: set[tuple[tuple[int, int], ...]] = set()

    def takes(self, node: Node) -> bool:
        """Note a node, sources first; whether it is a variant."""
        if isinstance(node, Constant):
            if node.dtype.is_integer:
                self.values[node] = node.bits
        elif isinstance(node, Shrink):
            self.values[node] = node.bounds
        elif isinstance(node, Pad):
            self._fills[node.fill] = None
            if node.dtype.is_bool and is_spread(node.source):
                self._written.add(node.padding)
            found = tuple(places(node)[dim] for dim in self._places_of(node))
            if found:
                self.values[node] = found
        return node in self.values

    def plain_padding(self, pad: Pad) -> tuple[tuple[int, int], ...]:
        """The padding of all dimensions whose places do not vary."""
        varying = self._places_of(pad)
        return tuple(
            (0, 0) if dim in varying else entry for dim, entry in enumerate(pad.padding)
        )

    def _places_of(self, pad: Pad) -> list[int]:
        if pad.padding in self._written:
            return padded_dims(pad)
        return [dim for dim in padded_dims(pad) if pad.source.shape[dim] == 1]

    def take_fills(self) -> list[tuple[Node, Hashable]]:
        """What images are padded with stays as it is: a Pad has a constant."""
        found = [fill for fill in self._fills if fill in self.values]
        return [(fill, self.values.pop(fill)) for fill in found]


def padded_dims(pad: Pad) -> list[int]:
    """The dimensions in which elements get a place among more."""
    return [dim for dim, (before, after) in enumerate(pad.padding) if before or after]


def places(pad: Pad) -> Places:
    """Where the source of a pad is in the result."""
    starts = (before for before, _ in pad.padding)
    return tuple(zip(starts, pad.source.shape, strict=True))


def is_spread(node: Node) -> bool:
    """Whether this is one constant everywhere: its sizes matter to its users only."""
    if not isinstance(node, Expand):
        return False
    source = node.source
    return isinstance(source, Reshape) and isinstance(source.source, Constant)


def results_of(outputs: Sequence[Node]) -> list[Node]:
    """The distinct outputs that are not in memory already."""
    return [node for node in dict.fromkeys(outputs) if not isinstance(node, Buffer)]


def _arguments(node: Node, number: dict[Node, int]) -> list[Any]:
    return [
        number[entry] if isinstance(entry, Node) else entry for entry in node.arguments
    ]
