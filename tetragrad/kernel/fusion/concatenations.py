"""Where to cut a concatenation of many parts.

In the graph a concatenation is a tree of choices by position, between parts that are
padded to its size. In one kernel each element would choose among all of the parts, and
what they are made of would be computed there, by code that no other kernel has. So
branches of many parts are stored, and so are parts that take much work: equal parts
are equal kernels then, and compiled once.
"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.analysis import is_leaf
from tetragrad.kernel.fusion.decisions import Decisions

#: The most parts that one kernel puts together.
MOST_PARTS = 32
#: Beside more parts than this, each that takes more work is stored.
FEW_PARTS = 4
LITTLE_WORK = 32.0


def concatenation_cuts(decisions: Decisions) -> list[list[Node]]:
    """Values to store, each by a kernel of its own.

    Args:
        decisions: as they are without any cuts.
    """
    branches = {node: _parts_of(node) for node in decisions.order if _is_branch(node)}
    cuts: dict[Node, None] = {}
    together: dict[Node, int] = {}
    for node, parts in branches.items():
        together[node] = sum(together.get(part, 1) for part in parts)
        if together[node] > MOST_PARTS:
            cuts |= dict.fromkeys(part for part in parts if part in branches)
            together[node] = len(parts)
    for node, parts in reversed(branches.items()):
        for part in parts:
            if part in branches:
                together[part] = max(together[part], together[node])
            elif together[node] > FEW_PARTS and _takes_work(decisions, part):
                cuts[_computed(part)] = None
    return [[node] for node in cuts]


def _is_branch(node: Node) -> bool:
    """Whether a node chooses between padded values."""
    return isinstance(node, ops.Where) and all(
        isinstance(entry, moves.Pad) for entry in (node.if_true, node.if_false)
    )


def _parts_of(branch: Node) -> tuple[Node, Node]:
    """What a choice between padded values puts side by side."""
    return branch.if_true.source, branch.if_false.source


def _takes_work(decisions: Decisions, part: Node) -> bool:
    """Whether a part is worth a kernel of its own.

    Not where other parts are made of the same values: a comparison in a sorting
    network gives two places what they hold.
    """
    node = _computed(part)
    is_computed = isinstance(node, ops.Elementwise) and not is_leaf(node)
    if not is_computed or decisions.work[node] <= LITTLE_WORK:
        return False
    return not any(
        isinstance(source, ops.Elementwise)
        and not is_leaf(source)
        and len(decisions.users[source]) > 1
        for source in node.sources
    )


def _computed(part: Node) -> Node:
    """The value that a part has in another shape."""
    while isinstance(part, moves.Reshape):
        part = part.source
    return part
