"""Run what is pending: turn nodes into buffers."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from tetragrad.backends.reference.graph import evaluate
from tetragrad.core import dtypes
from tetragrad.engine.memory import allocate
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node

#: What has run: node -> the buffer with its value, for as long as the node lives.
_realized: WeakKeyDictionary[Node, Buffer] = WeakKeyDictionary()


def realize(nodes: Sequence[Node]) -> list[Buffer]:
    """Compute the values of nodes, all together, and give their buffers."""
    arrays = evaluate(nodes, read_buffer)
    buffers = []
    for node, array in zip(nodes, arrays, strict=True):
        if isinstance(node, Buffer):
            buffers.append(node)
            continue
        buffer = from_array(array, node.device or "cpu")
        _realized[node] = buffer
        buffers.append(buffer)
    return buffers


def read_buffer(buffer: Buffer) -> np.ndarray:
    """The elements of a buffer, sharing its memory; do not write to it."""
    return buffer.memory.view(buffer.shape, buffer.dtype)


def from_array(array: np.ndarray, device: str) -> Buffer:
    """A new buffer with a copy of the array's elements."""
    dtype = dtypes.from_numpy(array.dtype)
    memory = allocate(array.nbytes)
    memory.view(array.shape, dtype)[...] = array
    return Buffer(memory, array.shape, dtype, device)
