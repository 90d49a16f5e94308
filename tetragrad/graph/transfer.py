"""The same value on another device."""

from __future__ import annotations

from tetragrad.core.dtypes import DType
from tetragrad.graph.node import Node, Shape


class Transfer(Node):
    """A copy of the source in another device's memory.

    Kernels run on one device each, so a transfer is a boundary between schedules:
    the engine runs everything before it, copies, and goes on.
    """

    __slots__ = ()
    fields = ("source", "target")

    @classmethod
    def simplify(cls, source: Node, target: str) -> Node | None:
        """To where it is -> x; on to a third device -> straight there."""
        if source.device == target:
            return source
        if isinstance(source, Transfer):
            return Transfer(source.source, target)
        return None

    @classmethod
    def infer(cls, source: Node, target: str) -> tuple[Shape, DType]:
        return source.shape, source.dtype

    @classmethod
    def place(cls, source: Node, target: str) -> str:
        return target

    def gradient(self, upstream: Node) -> tuple[Node]:
        home = self.source.device
        return (upstream if home is None else Transfer(upstream, home),)
