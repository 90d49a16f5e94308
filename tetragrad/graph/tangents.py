"""Forward-mode derivatives: how values change when the variables change a little.

One walk from the variables to the outputs. The rules are those of the gradients: a
linear op acts on tangents as on values, and an elementwise op's gradient, which
multiplies by a slope, is its own transpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tetragrad.graph.elementwise import Add, Elementwise, Mul, full_like
from tetragrad.graph.gradients import gradients
from tetragrad.graph.markers import CustomGradient, Detached, Variable
from tetragrad.graph.movement import Movement, Pad, pad
from tetragrad.graph.node import Node, walk
from tetragrad.graph.reduce import Reduce, Sum
from tetragrad.graph.transfer import Transfer

#: Variables of the upstream gradients that are made here, apart from tensors' own.
_UPSTREAM_KEY = 0


def tangents(outputs: Sequence[Node], given: Mapping[Node, Node]) -> list[Node | None]:
    """How each output changes, to first order, when nodes change by what is given.

    Args:
        outputs: floating-point nodes.
        given: for each node that changes, its tangent, of the same shape.

    Returns:
        For each output its tangent; None for one that does not depend on the nodes.
    """
    known: dict[Node, Node] = dict(given)
    order = walk(outputs, stop=lambda node: node in given or isinstance(node, Detached))
    for node in order:
        if node in known or not node.dtype.is_floating_point:
            continue
        if isinstance(node, Detached):
            continue
        if any(source in known for source in node.sources):
            moved = _tangent(node, [known.get(source) for source in node.sources])
            if moved is not None:
                known[node] = moved
    return [known.get(node) for node in outputs]


def _tangent(node: Node, sources: Sequence[Node | None]) -> Node | None:
    """The tangent of one node, from those of its sources."""
    if isinstance(node, Pad):
        assert sources[0] is not None
        return pad(sources[0], node.padding, 0.0)
    if isinstance(node, Movement | Sum | Transfer):
        assert sources[0] is not None
        return node.replace_sources((sources[0],))
    if isinstance(node, Reduce):
        assert sources[0] is not None
        return _of_reduction(node, sources[0])
    if isinstance(node, Elementwise):
        return _sum(
            node.gradient(tangent)[position]
            for position, tangent in enumerate(sources)
            if tangent is not None
        )
    return _transposed(node, sources)


def _of_reduction(node: Reduce, tangent: Node) -> Node:
    """Σ slope · tangent, with the slopes that the gradient multiplies by."""
    slope = node.gradient(full_like(node, 1.0))[0]
    assert slope is not None
    return Sum(Mul(slope, tangent), node.dims)


def _transposed(node: Node, sources: Sequence[Node | None]) -> Node | None:
    """The tangent of a node of which only the gradient is known.

    The gradient u ↦ Jᵀu is linear, so its own gradient towards u is t ↦ J t.
    """
    if isinstance(node, Variable):
        return sources[0]
    upstream = Variable(full_like(node, 0.0), _UPSTREAM_KEY)
    pulled = node.gradient(upstream)
    if isinstance(node, CustomGradient):
        sources = (None, *sources[1:])
    starts: dict[Node, Node] = {}
    for back, tangent in zip(pulled, sources, strict=True):
        if back is None or tangent is None:
            continue
        known = starts.get(back)
        starts[back] = tangent if known is None else Add(known, tangent)
    return gradients(starts, [upstream]).get(upstream)


def _sum(parts: Iterable[Node | None]) -> Node | None:
    total: Node | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else Add(total, part)
    return total
