"""What a graph means: evaluate its nodes one by one, with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tetragrad.graph.elementwise import Elementwise
from tetragrad.graph.host_call import Call, HostCall
from tetragrad.graph.leaves import Buffer, Constant, Iota
from tetragrad.graph.markers import Marker
from tetragrad.graph.movement import Movement
from tetragrad.graph.node import Node, walk
from tetragrad.graph.reduce import Reduce


def evaluate(
    outputs: Iterable[Node], read: Callable[[Buffer], np.ndarray]
) -> list[np.ndarray]:
    """The values of the outputs; ``read`` gives the contents of a buffer."""
    outputs = list(outputs)
    values: dict[Node, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for node in walk(outputs):
            operands = [values[source] for source in node.sources]
            values[node] = evaluate_node(node, operands, read)
    return [values[node] for node in outputs]


def evaluate_node(
    node: Node, operands: list[np.ndarray], read: Callable[[Buffer], np.ndarray]
) -> np.ndarray:
    """The value of one node from the values of its sources."""
    match node:
        case Elementwise():
            return np.asarray(node.apply(node.dtype, *operands))
        case Movement():
            return node.move(operands[0])
        case Reduce():
            return node.reduce(operands[0], node.dims)
        case Marker():
            return operands[0]
        case HostCall():
            return Call.of(node).compute(operands)[node.output]
        case Constant():
            return node.array
        case Iota():
            return np.arange(node.size, dtype=node.dtype.numpy)
        case Buffer():
            return read(node)
    raise AssertionError(f"no meaning for {node!r}")
