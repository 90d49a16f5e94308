"""The graph as it is computed: without markers, and with buffers for what has run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tetragrad.core.settings import settings
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import InRange, Marker
from tetragrad.graph.node import Node, walk
from tetragrad.graph.transfer import Transfer

#: Inner nodes of a plain graph, with the held nodes that they stand for.
Inner = dict[Node, list[Node]]

#: Worst elements in a plain graph, with the indices that they are from.
Checks = dict[Node, list[InRange]]

#: What has run, with the buffers of the values.
Realized = Mapping[Node, Buffer]


def plain_graph(
    nodes: Sequence[Node], held: Sequence[Node], realized: Realized
) -> tuple[list[Node], Inner, Checks]:
    """The graph without markers; the held nodes in it; what the markers check."""
    order = walk(nodes, stop=realized.__contains__)
    replacements = _replacements(order, realized)
    checks: Checks = {}
    for node in order:
        if isinstance(node, InRange):
            worst = replacements.get(node.worst, node.worst)
            checks.setdefault(worst, []).append(node)
    inner: Inner = {}
    reached = set(order) if held else set()
    for node in held:
        plain = replacements.get(node, node)
        if node in reached and not isinstance(plain, Buffer):
            inner.setdefault(plain, []).append(node)
    return [replacements.get(node, node) for node in nodes], inner, checks


def _replacements(order: Sequence[Node], realized: Realized) -> dict[Node, Node]:
    """What becomes of each node that does not stay, sources first."""
    replacements: dict[Node, Node] = {}
    for node in order:
        # What lives on no device (constants, positions) stays what it is, also where
        # it was once computed: neither the kernels, and with them the last bits, nor
        # the device may depend on what ran before.
        known = None if node.device is None else realized.get(node)
        if known is not None:
            replacements[node] = known
        elif isinstance(node, Marker) or is_made_here(node):
            source = node.sources[0]
            replacements[node] = replacements.get(source, source)
        else:
            sources = tuple([replacements.get(entry, entry) for entry in node.sources])
            if sources != node.sources:
                changed = node.replace_sources(sources)
                replacements[node] = realized.get(changed, changed)
    return replacements


def is_made_here(node: Node) -> bool:
    """Whether this is a transfer of a value that needs no memory, to where we compute.

    ``Tensor.ones(3, device="cpu")`` can be part of a kernel like any other constant.
    """
    return (
        isinstance(node, Transfer)
        and node.source.device is None
        and node.target == settings().device
    )
