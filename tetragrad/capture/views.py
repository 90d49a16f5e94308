"""Arguments that are views: captured as tensors of their own.

``step(x[i : i + 64])`` is the same work for every i, but a capture compares how an
argument lies in its storage. So a view of a tensor that has run is passed on as a
tensor of its own: where its elements lie together it shares them, else it is a copy.
What the function writes into it is written through to the view afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, cast

import numpy as np

from tetragrad.core.frozen import frozen
from tetragrad.engine import realize as engine
from tetragrad.engine.memory import Memory
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.movement import Movement
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.modes import no_grad
from tetragrad.tensor.storage import Moved

_STEPS = attrgetter("steps")


@frozen(slots=True)
class Lifted:
    """An argument, the tensor passed for it, and the value that one had."""

    argument: Any
    passed: Any
    value: Node


def lift(tensors: Sequence[TensorBase]) -> list[Lifted]:
    """Tensors of their own for those arguments that are plain views.

    Not for views of one storage: a write through one must be seen by the others.
    """
    found: dict[int, Lifted] = {}
    if not any(map(_STEPS, tensors)):
        return []
    sharing = Counter(id(tensor.storage) for tensor in tensors)
    for tensor in tensors:
        if sharing[id(tensor.storage)] == 1 and _is_plain_view(tensor):
            node = _standalone(tensor)
            if node is not None:
                passed = tensor.tensor_class.from_node(node)
                found[id(tensor)] = Lifted(tensor, passed, node)
    return list(found.values())


def write_through(lifted: Sequence[Lifted]) -> None:
    """Give the views what the function wrote into the tensors passed for them."""
    for entry in lifted:
        if entry.passed.storage.value is not entry.value:
            with no_grad():
                entry.argument.copy_(entry.passed)


def _is_plain_view(tensor: TensorBase) -> bool:
    storage = tensor.storage
    return (
        bool(tensor.steps)
        and not storage.tracked
        and isinstance(storage.value, Buffer)
        and isinstance(storage.value.memory, Memory)
        and all(isinstance(step, Moved) for step in tensor.steps)
    )


def _standalone(tensor: TensorBase) -> Buffer | None:
    """A buffer with the view's elements; None if the view has no elements."""
    whole = cast(Buffer, tensor.storage.value)
    node: Node = whole
    array = engine.read_buffer(whole)
    for step in tensor.steps:
        moved = cast(Moved, step)
        node = moved.movement.build((node, *moved.arguments))
        array = cast(Movement, node).move(array)
    if array.size == 0:
        return None
    device = cast(str, whole.device)
    if not array.flags.c_contiguous:
        return engine.from_array(np.ascontiguousarray(array), device)
    start = array.ctypes.data - whole.memory.address
    data = whole.memory.data[start : start + array.nbytes]
    return Buffer(Memory(data, owner=whole.memory), array.shape, whole.dtype, device)
