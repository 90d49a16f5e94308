"""Which live tensors hold memory: asked for when a device has no more of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from tetragrad.backends import holdings
from tetragrad.backends.holdings import Holding, IsOurs
from tetragrad.graph.leaves import Buffer
from tetragrad.tensor.base import TensorBase


def find(is_ours: IsOurs) -> Iterator[Holding]:
    """What each block of memory in question holds; each once, tensors' first."""
    seen: set[int] = set()
    for buffer, line in _buffers():
        memory = buffer.memory
        if id(memory) not in seen and is_ours(memory):
            seen.add(id(memory))
            what = f"{buffer.dtype} of shape {buffer.shape}"
            yield Holding(memory.nbytes, what, line)


def _buffers() -> Iterator[tuple[Buffer, str]]:
    """All buffers, each with the line of a tensor, unless no tensor has it."""
    objects = gc.get_objects()
    for entry in objects:
        # Asking the object for its kind could run code of others.
        if issubclass(type(entry), TensorBase):
            value = entry.storage.value
            if isinstance(value, Buffer):
                yield value, entry.line
    for entry in objects:
        if type(entry) is Buffer:
            yield entry, ""


def register() -> None:
    """Let errors about memory name tensors."""
    holdings.find = find
