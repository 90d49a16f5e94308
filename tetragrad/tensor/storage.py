"""Where a tensor's value lives, shared with all of its views.

A value is never changed: an in-place operation builds the next value and puts it
in the storage, and every view sees it because a view is only a list of movements.
Whoever still needs the old value (a gradient) keeps the old node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.core.dtypes import bool_
from tetragrad.graph.elementwise import Where
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import Expand, Movement, broadcast_to
from tetragrad.graph.node import Node


@dataclass(frozen=True, slots=True)
class ViewStep:
    """One movement of a view: its class and the arguments after the source."""

    movement: type[Movement]
    arguments: tuple[Any, ...]

    def apply(self, node: Node) -> Node:
        """The view of a value."""
        return self.movement(node, *self.arguments)

    def write(self, old: Node, new: Node) -> Node:
        """``old`` with its view replaced by ``new``."""
        # Built without local algebra, which could merge it with the movement before.
        view = self.movement.build((old, *self.arguments))
        if isinstance(view, Expand):
            raise ShapeError(
                f"in-place write to an expanded view of shape {view.shape}: several "
                "of its elements are one element in memory",
                hint="write to x.clone(), or assign the result to a new name",
            )
        everywhere = broadcast_to(constant(True, bool_), view.shape)
        inside = _adjoint(view, everywhere, old)
        return Where(inside, _adjoint(view, new, old), old)


def _adjoint(view: Node, value: Node, old: Node) -> Node:
    """Place a value of the view's shape back into the shape of the viewed."""
    placed = view.gradient(value)[0]
    assert placed is not None and placed.shape == old.shape
    return placed


View = tuple[ViewStep, ...]


class Storage:
    """The current value of a tensor and of all its views.

    ``tracked`` says that gradients may flow through the value.
    """

    __slots__ = ("__weakref__", "tracked", "value")

    def __init__(self, value: Node, *, tracked: bool) -> None:
        self.value = value
        self.tracked = tracked

    def read(self, view: View) -> Node:
        """The value as a view sees it."""
        node = self.value
        for step in view:
            node = step.apply(node)
        return node

    def write(self, view: View, new: Node) -> Node:
        """The next value of the whole storage, with a view of it replaced."""
        return _write(self.value, view, new)


def _write(old: Node, view: View, new: Node) -> Node:
    if not view:
        return new
    first, *rest = view
    return first.write(old, _write(first.apply(old), tuple(rest), new))
