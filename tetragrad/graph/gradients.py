"""Reverse-mode gradients: one walk from the output back to the variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

from tetragrad.graph.elementwise import Add
from tetragrad.graph.markers import Detached, Variable
from tetragrad.graph.node import Node, walk

#: What a gradient passes when it is complete; the result takes its place.
Rule = Callable[[Node], Node]

#: Rules of the gradient towards a node.
node_rules: WeakKeyDictionary[Node, list[Rule]] = WeakKeyDictionary()

#: Rules of the gradient towards a variable, by its key: its value changes.
variable_rules: dict[int, list[Rule]] = {}


def gradients(outputs: dict[Node, Node], targets: Iterable[Node]) -> dict[Node, Node]:
    """Gradients of the sum of outputs, each weighted, with respect to the targets.

    Args:
        outputs: each output with its upstream gradient, of the same shape.
        targets: nodes of the graph; gradients do not flow beyond them unless
            another target lies there.

    Returns:
        The targets that the outputs depend on, with their gradients.
    """
    targets = set(targets)
    order = list(walk(outputs, stop=lambda node: isinstance(node, Detached)))
    needed = _that_reach(order, targets)
    collected = {node: value for node, value in outputs.items() if node in needed}
    for node in reversed(order):
        upstream = collected.get(node)
        if upstream is None:
            continue
        for rule in _rules_of(node):
            upstream = collected[node] = rule(upstream)
        if not any(source in needed for source in node.sources):
            continue
        _collect(node, upstream, needed, collected)
    return {node: collected[node] for node in targets if node in collected}


def _rules_of(node: Node) -> Iterable[Rule]:
    """The rules at the time of the walk: a rule may remove itself."""
    if isinstance(node, Variable):
        return tuple(variable_rules.get(node.key, ()))
    return tuple(node_rules.get(node, ()))


def _that_reach(order: list[Node], targets: set[Node]) -> set[Node]:
    """The nodes that depend on a target through floating-point values."""
    needed: set[Node] = set()
    for node in order:
        if not node.dtype.is_floating_point or isinstance(node, Detached):
            continue
        if node in targets or any(source in needed for source in node.sources):
            needed.add(node)
    return needed


def _collect(
    node: Node, upstream: Node, needed: set[Node], collected: dict[Node, Node]
) -> None:
    """Add a node's contribution to the gradients of its sources."""
    contributions = node.gradient(upstream)
    for source, part in zip(node.sources, contributions, strict=True):
        if part is None or source not in needed:
            continue
        known = collected.get(source)
        collected[source] = part if known is None else Add(known, part)
