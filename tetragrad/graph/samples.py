"""The leaf that stands for any one element of a batch, while a function is mapped.

A function under ``vmap`` is called once, with samples. The graph that it builds says
what happens to one element; ``batching.py`` turns it into the graph of all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import ClassVar

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError
from tetragrad.graph.node import Node, Shape, walk

_keys = itertools.count(1)


class Sample(Node):
    """An element of a batch: it has a shape and a dtype, and no value of its own."""

    __slots__ = ()
    fields = ("key", "sample_shape", "sample_dtype", "home", "is_variable")

    #: How many functions are being mapped: most programs need not look for samples.
    in_use: ClassVar[int] = 0

    @classmethod
    def of(cls, batch: Node) -> Sample:
        """A new sample of a batch, whose first dimension counts the elements."""
        return cls(
            next(_keys), batch.shape[1:], batch.dtype, batch.device, batch.has_variables
        )

    @classmethod
    def build(cls, arguments: tuple[object, ...]) -> Node:
        node = super().build(arguments)
        node.has_variables = node.is_variable
        return node

    @classmethod
    def infer(
        cls, key: int, shape: Shape, dtype: DType, home: str | None, is_variable: bool
    ) -> tuple[Shape, DType]:
        return shape, dtype

    @classmethod
    def place(
        cls, key: int, shape: Shape, dtype: DType, home: str | None, is_variable: bool
    ) -> str | None:
        return home


def computed_from_samples(nodes: Iterable[Node]) -> set[Node]:
    """Of the nodes and all that they are computed from: those that need a sample."""
    found: set[Node] = set()
    if not Sample.in_use:
        return found
    for node in walk(nodes):
        if isinstance(node, Sample) or not found.isdisjoint(node.sources):
            found.add(node)
    return found


def depends_on_samples(nodes: Iterable[Node]) -> bool:
    """Whether any of the nodes is computed from a sample."""
    return bool(computed_from_samples(nodes))


def refuse_samples(nodes: Iterable[Node]) -> None:
    """Raise if values are asked for that only exist for all elements together."""
    for node in walk(nodes):
        if isinstance(node, Sample):
            raise CaptureError(
                f"a value was read that depends on an argument of a function under "
                f"vmap: one element {node.dtype}{list(node.shape)} of a batch has no "
                "value while the function runs",
                hint="return the tensor and read it outside; choose between values "
                "with tetragrad.where()",
            )
