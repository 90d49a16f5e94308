"""The graph's verifier: what every node must be, checked again from its arguments.

Run before a graph is fused (setting ``verify``); a failure is a mistake of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tetragrad.core.errors import TetragradError, VerifyError
from tetragrad.graph.node import Node
from tetragrad.graph.text import type_text


def verify_graph(outputs: Iterable[Node]) -> None:
    """Raise VerifyError if a reachable node breaks an invariant of the graph.

    There is no cycle; shape, dtype, device and sources are those that the arguments
    give; the node is the interned one; and local algebra cannot simplify it.
    """
    for node in _acyclic(outputs):
        _verify_node(node)


def _verify_node(node: Node) -> None:
    kind = type(node)
    try:
        again = kind.build(node.arguments)
    except TetragradError as error:
        raise VerifyError(f"{node!r} could not be built again: {error}") from error
    if (node.shape, node.dtype) != (again.shape, again.dtype):
        said = type_text(node.dtype, node.shape)
        found = type_text(again.dtype, again.shape)
        raise VerifyError(f"{node!r} says {said}; its arguments give {found}")
    if node.device != again.device:
        raise VerifyError(
            f"{node!r} says device {node.device!r}; its sources are on {again.device!r}"
        )
    if node.sources != again.sources:
        raise VerifyError(f"the sources of {node!r} are not those in its arguments")
    if kind.simplify(*node.arguments) is not None:
        raise VerifyError(f"{node!r} should have been simplified when it was made")
    if kind(*node.arguments) is not node:
        raise VerifyError(f"{node!r} is not interned: another node is equal to it")


def _acyclic(outputs: Iterable[Node]) -> Iterator[Node]:
    """``walk``, which raises where a node can be reached from itself."""
    finished: set[Node] = set()
    entered: set[Node] = set()
    stack = [(node, False) for node in outputs]
    while stack:
        node, expanded = stack.pop()
        if node in finished:
            continue
        if expanded:
            finished.add(node)
            yield node
            continue
        if node in entered:
            raise VerifyError(f"{node!r} depends on itself")
        entered.add(node)
        stack.append((node, True))
        for source in node.sources:
            if source in entered and source not in finished:
                raise VerifyError(f"{source!r} depends on itself")
            stack.append((source, False))
