"""What of a value of symbolic size counts: from 0 up to the size, in each dimension.

Beyond it the value is laid out in memory, and nobody reads it (``graph/symbolic.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tetragrad.graph.leaves import SizeValue
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.sizes import maximum_of

#: For nodes of which only a part counts: the dimensions and how far each goes.
Extents = Mapping[Node, tuple[tuple[int, SizeValue], ...]]
NO_EXTENTS: Extents = MappingProxyType({})


def sizes_in(extents: Extents) -> list[Node]:
    """The values that say how far the extents go."""
    return [size for needed in extents.values() for _, size in needed]


def has_symbols(nodes: Sequence[Node]) -> bool:
    """Whether some size of the graph, or a place in it, is symbolic."""
    return any(node.has_sizes for node in nodes)


def layout_shape(shape: Shape) -> Shape:
    """The shape in which a buffer with such sizes lies in memory."""
    return tuple(map(maximum_of, shape))
