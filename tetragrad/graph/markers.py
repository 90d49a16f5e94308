"""Identity nodes that say something about a value: its gradient, or what must hold.

The engine removes them before anything is lowered. They cost nothing, but for the
value that an :class:`InRange` wants to see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import IndexingError, TetragradError
from tetragrad.graph.node import Node, Shape


class Marker(Node):
    """The value of its first source, unchanged."""

    __slots__ = ()

    @classmethod
    def infer(cls, source: Node, *rest: Any) -> tuple[Shape, DType]:
        return source.shape, source.dtype


class Detached(Marker):
    """A value that no gradient flows through."""

    __slots__ = ()
    fields = ("source",)

    @classmethod
    def simplify(cls, source: Node) -> Node | None:
        """Where nothing is a variable, there is no gradient to stop."""
        return None if source.has_variables else source

    @classmethod
    def build(cls, arguments: tuple[Any, ...]) -> Node:
        node = super().build(arguments)
        node.has_variables = False
        return node


class Variable(Marker):
    """A value that gradients are taken with respect to.

    ``key`` is unique to the tensor, so that two parameters with equal values (and
    so with one interned value node) still have gradients of their own.
    """

    __slots__ = ()
    fields = ("source", "key")

    @classmethod
    def build(cls, arguments: tuple[Any, ...]) -> Node:
        node = super().build(arguments)
        node.has_variables = True
        return node

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (upstream,)


class CustomGradient(Marker):
    """A value whose gradient is the user's own function.

    ``rule(upstream)`` gives one gradient (or None) for each of ``inputs``.
    """

    __slots__ = ()
    fields = ("source", "rule", "inputs")

    rule: Callable[[Node], tuple[Node | None, ...]]

    @classmethod
    def simplify(cls, source: Node, rule: Any, inputs: tuple[Node, ...]) -> Node | None:
        """Where nothing is a variable, nobody asks for the gradient."""
        is_asked = any(node.has_variables for node in (source, *inputs))
        return None if is_asked else source

    @classmethod
    def sources_of(cls, arguments: tuple[Any, ...]) -> tuple[Node, ...]:
        """The inputs too, so that the gradient's walk reaches them."""
        source, _, inputs = arguments
        return (source, *inputs)

    def replace_sources(self, sources: tuple[Node, ...]) -> Node:
        return CustomGradient(sources[0], self.rule, sources[1:])

    def gradient(self, upstream: Node) -> tuple[Node | None, ...]:
        return None, *self.rule(upstream)


class InRange(Marker):
    """An index, which is an error to use if it does not lie in -size … size-1.

    ``worst`` is the element, of shape (), that is out of range if any is: the engine
    computes it with the rest and raises. ``where`` names what is indexed, and
    ``line`` the user's line.
    """

    __slots__ = ()
    fields: ClassVar[tuple[str, ...]] = ("source", "worst", "size", "where", "line")

    def gradient(self, upstream: Node) -> tuple[Node, None]:
        return upstream, None

    def check(self, worst: int) -> None:
        """Raise IndexingError if the worst element is out of range."""
        if not -self.size <= worst < self.size:
            error = out_of_range(worst, self.size, self.where)
            error.add_note(f"indexed at {self.line}")
            raise error


class Legal(InRange):
    """Values that are an error to use if ``worst`` is 1, not 0; ``where`` says why."""

    __slots__ = ()
    fields = (*InRange.fields, "hint")

    def check(self, worst: int) -> None:
        """Raise TetragradError if one of the values was not legal."""
        if worst:
            error = TetragradError(self.where, hint=self.hint)
            error.add_note(f"used at {self.line}")
            raise error


def out_of_range(index: int, size: int, where: str) -> IndexingError:
    """The error of an index beyond what ``where`` names."""
    return IndexingError(
        f"index {index} is out of range: {where} has {size} elements",
        hint=f"use {-size} to {size - 1}" if size else "the dimension is empty",
    )
