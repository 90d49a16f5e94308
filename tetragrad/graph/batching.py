"""A graph of one element, turned into the graph of a batch: one more leading axis.

    y = Sum(x * w, (0,))          x: a sample [3], w: [3]
    y = Sum(x * w, (1,))          x: the batch [8, 3], w expanded to [8, 3]

Elementwise ops, reductions and movements only need their dimensions renumbered, so
there is one short rule for each class. What does not depend on a sample stays as it is
until it meets something that does. Since the result is an ordinary graph, gradients,
fusion and further batches need to know nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tetragrad.core.errors import UnsupportedError
from tetragrad.graph import elementwise, movement, reduce
from tetragrad.graph.host_call import HostCall
from tetragrad.graph.markers import CustomGradient, Detached, InRange, Variable
from tetragrad.graph.node import Node, walk
from tetragrad.graph.samples import Sample
from tetragrad.graph.transfer import Transfer

#: Gives the batched node, from the node, its batched sources and the batch's size.
Rule = Callable[[Node, Sequence[Node], int], Node]


class Batch:
    """So many elements, and the nodes of all of them for nodes of one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._known: dict[Node, Node] = {}

    def sample(self, batch: Node) -> Sample:
        """A sample that stands for any element along a node's first dimension."""
        made = Sample.of(batch)
        self._known[made] = batch
        return made

    def depends(self, node: Node) -> bool:
        """Whether a node differs from element to element."""
        self._extend([node])
        return node in self._known

    def batched(self, outputs: Sequence[Node]) -> list[Node]:
        """The outputs of all elements, along a new first dimension."""
        self._extend(outputs)
        return [self._spread(node) for node in outputs]

    def _extend(self, outputs: Sequence[Node]) -> None:
        """Find the batched form of everything that depends on a sample."""
        for node in walk(outputs, stop=self._known.__contains__):
            if node in self._known:
                continue
            if any(source in self._known for source in node.sources):
                self._known[node] = self._apply(node)

    def _apply(self, node: Node) -> Node:
        if isinstance(node, CustomGradient):
            return self._custom_gradient(node)
        if isinstance(node, InRange):
            return self._in_range(node)
        for kind in type(node).__mro__:
            if kind in _RULES:
                sources = [self._spread(source) for source in node.sources]
                return _RULES[kind](node, sources, self.size)
        raise UnsupportedError(f"{type(node).__name__.lower()} of a batch, under vmap")

    def _spread(self, node: Node) -> Node:
        """The batched form of a node; one that is alike for all is repeated."""
        found = self._known.get(node)
        if found is not None:
            return found
        return movement.broadcast_to(node, (self.size, *node.shape))

    def _custom_gradient(self, node: CustomGradient) -> Node:
        """The rule is called with a sample of the upstream gradient, and batched."""
        rule = node.rule

        def batched_rule(upstream: Node) -> tuple[Node | None, ...]:
            found = rule(self.sample(upstream))
            given = iter(self.batched([entry for entry in found if entry is not None]))
            return tuple(None if entry is None else next(given) for entry in found)

        inputs = tuple(self._spread(entry) for entry in node.inputs)
        return CustomGradient(self._spread(node.source), batched_rule, inputs)

    def _in_range(self, node: InRange) -> Node:
        """The worst index of all elements is checked."""
        worst = self._spread(node.worst)
        everywhere = tuple(range(worst.ndim))
        highest = movement.Reshape(reduce.Max(worst, everywhere), ())
        lowest = movement.Reshape(reduce.Min(worst, everywhere), ())
        is_inside = elementwise.Lt(highest, elementwise.full_like(highest, node.size))
        of_all = elementwise.Where(is_inside, lowest, highest)
        source = self._spread(node.source)
        return type(node)(source, of_all, *node.arguments[2:])


# --- one rule for each class ----------------------------------------------------------


def _same(node: Node, sources: Sequence[Node], size: int) -> Node:
    """What treats all elements alike, or counts its dimensions from the last."""
    return node.replace_sources(tuple(sources))


def _reduce(node: Node, sources: Sequence[Node], size: int) -> Node:
    return type(node)(sources[0], tuple(dim + 1 for dim in node.dims))


def _reshape(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Reshape(sources[0], (size, *node.new_shape))


def _permute(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Permute(sources[0], (0, *(dim + 1 for dim in node.order)))


def _expand(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Expand(sources[0], (size, *node.new_shape))


def _shrink(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Shrink(sources[0], ((0, size), *node.bounds))


def _pad(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Pad(sources[0], ((0, 0), *node.padding), node.fill)


def _flip(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Flip(sources[0], tuple(dim + 1 for dim in node.dims))


def _stride(node: Node, sources: Sequence[Node], size: int) -> Node:
    return movement.Stride(sources[0], (1, *node.steps))


def _next_dim(node: Node, sources: Sequence[Node], size: int) -> Node:
    """Windows and skews: the dimension is the first argument after the source."""
    _, dim, *rest = node.arguments
    return type(node)(sources[0], dim + 1, *rest)


_RULES: dict[type, Rule] = {
    elementwise.Elementwise: _same,
    Transfer: _same,
    HostCall: _same,
    Detached: _same,
    Variable: _same,
    reduce.Reduce: _reduce,
    movement.Kept: _same,
    movement.Reshape: _reshape,
    movement.Permute: _permute,
    movement.Expand: _expand,
    movement.Shrink: _shrink,
    movement.Pad: _pad,
    movement.Flip: _flip,
    movement.Stride: _stride,
    movement.Window: _next_dim,
    movement.Skew: _next_dim,
}
