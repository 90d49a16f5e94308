"""A schedule: launches in order, with where each argument's memory comes from.

A schedule names no buffer and no constant, only their positions among the leaves
of the graph it was made from, so it serves every graph of the same structure.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.node import Shape

if TYPE_CHECKING:
    from tetragrad.backends.backend import Device, Executable
    from tetragrad.core.settings import Settings
    from tetragrad.engine.kept import Form
    from tetragrad.graph.node import Node
    from tetragrad.kernel.ir import Kernel


#: Called with what is about to be compiled: ``tetragrad explain`` listens here.
watchers: list[Callable[[Sequence[Node], Device, Settings], None]] = []


class Source(Enum):
    """Where an argument of a launch lies."""

    LEAF = "leaf"  # position among the graph's buffers
    OUTPUT = "output"  # position among the schedule's results
    ARENA = "arena"  # byte offset in the arena


@frozen(slots=True)
class Argument:
    """One buffer of a launch, seen from ``offset`` bytes on."""

    source: Source
    position: int
    offset: int = 0


@frozen
class KeptKernel:
    """A kernel as it was kept on disk, which is read when somebody asks for it."""

    content: bytes

    @cached_property
    def kernel(self) -> Kernel:
        found: Kernel = pickle.loads(self.content)
        return found


@frozen(slots=True)
class Launch:
    """One kernel with its arguments; scalars are positions among the constants.

    One over the pieces of several buffers does its kernel's work ``repeats`` times.
    """

    name: str
    work: Kernel | KeptKernel
    executable: Executable
    arguments: tuple[Argument, ...]
    scalars: tuple[int, ...]
    reasons: tuple[str, ...]
    repeats: float = 1.0

    @property
    def kernel(self) -> Kernel:
        """What is computed."""
        return self.work.kernel if isinstance(self.work, KeptKernel) else self.work


@frozen(slots=True)
class Result:
    """A value that the schedule leaves in a buffer of its own."""

    shape: Shape
    dtype: DType

    @property
    def nbytes(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count * self.dtype.itemsize


class Uses:
    """How often a schedule ran by itself, and which launches could read packed forms.

    Those are looked for when it is clear that it runs again and again.
    """

    __slots__ = ("forms", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.forms: list[Form] = []


@frozen(slots=True)
class Schedule:
    """Everything needed to run a graph again, on other buffers.

    The results are the graph's outputs, and then those of the structure's held
    values whose positions are in ``kept``.
    """

    launches: tuple[Launch, ...]
    results: tuple[Result, ...]
    kept: tuple[int, ...]
    arena_bytes: int
    uses: Uses = field(default_factory=Uses, compare=False)
