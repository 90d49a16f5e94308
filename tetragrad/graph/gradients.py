"""Reverse-mode gradients: one walk from the output back to the variables."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
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


def gradients(
    outputs: dict[Node, Node],
    targets: Iterable[Node],
    order: Sequence[Node] | None = None,
    steps: list[tuple[Node, Sequence[Node | None]]] | None = None,
) -> dict[Node, Node]:
    """Gradients of the sum of outputs, each weighted, with respect to the targets.

    Args:
        outputs: each output with its upstream gradient, of the same shape.
        targets: nodes of the graph; gradients do not flow beyond them unless
            another target lies there.
        order: all nodes that targets and outputs may be linked by, sources first, if
            that is known.

    Returns:
        The targets that the outputs depend on, with their gradients; of several
        nodes of one variable only one, with the gradient of all.
    """
    wanted = list(targets)
    if order is None:
        order = walk(outputs, stop=lambda node: isinstance(node, Detached))
    firsts = _firsts_of_variables([*order, *wanted])
    places = {firsts.get(node, node): node for node in wanted}
    needed = _that_reach(order, firsts, places)
    collected: dict[Node, Node] = {}
    for node, upstream in outputs.items():
        _add(firsts.get(node, node), upstream, needed, collected)
    for node in reversed(order):
        found = collected.get(node)
        if found is None:
            continue
        for rule in _rules_of(node):
            found = collected[node] = rule(found)
        if not any(source in needed for source in node.sources):
            continue
        parts = node.gradient(found)
        if steps is not None:
            steps.append((node, parts))
        for source, part in zip(node.sources, parts, strict=True):
            _add(firsts.get(source, source), part, needed, collected)
    return {
        node: collected[place] for place, node in places.items() if place in collected
    }


def _firsts_of_variables(nodes: list[Node]) -> dict[Node, Node]:
    """For each further node of a leaf, the first one, where gradients come together.

    A leaf has another node after its value has run, or an optimiser changed it. All
    of them are one variable.
    """
    first: dict[int, Node] = {}
    firsts: dict[Node, Node] = {}
    for node in nodes:
        if isinstance(node, Variable) and not node.source.has_variables:
            known = first.setdefault(node.key, node)
            if known is not node:
                firsts[node] = known
    return firsts


def _rules_of(node: Node) -> Iterable[Rule]:
    """The rules at the time of the walk: a rule may remove itself."""
    if isinstance(node, Variable):
        return tuple(variable_rules.get(node.key, ()))
    return tuple(node_rules.get(node, ()))


def _that_reach(
    order: Sequence[Node], firsts: dict[Node, Node], places: Container[Node]
) -> set[Node]:
    """The nodes that depend on a place through floating-point values."""
    needed: set[Node] = set()
    for node in order:
        if not node.dtype.is_floating_point or isinstance(node, Detached):
            continue
        is_place = firsts.get(node, node) in places
        if is_place or any(source in needed for source in node.sources):
            needed.add(node)
    return needed


def _add(
    place: Node, part: Node | None, needed: set[Node], collected: dict[Node, Node]
) -> None:
    """Add a contribution to the gradient of a node, if anybody needs that."""
    if part is None or place not in needed:
        return
    known = collected.get(place)
    collected[place] = part if known is None else Add(known, part)
