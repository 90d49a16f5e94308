"""The join of a running or scattered value with the one kernel that reads it."""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import Kind
from tetragrad.kernel.fusion.decisions import Decisions
from tetragrad.kernel.fusion.row_join import without_ones

#: The longest reduction that is done at each step of a running value.
LONGEST_STEP = 64


def leaves_in_place(decisions: Decisions, node: Reduce, kind: Kind) -> bool:
    """Whether the one kernel that reads a running or scattered value may make it.

    It must read each element where it stands. At each step of a running value
    there may be elementwise work, and one short reduction over other dimensions.
    """
    if len(decisions.readers[node]) != 1:
        return False
    (root,) = decisions.readers[node]
    reductions: set[Node] = set()
    seen: set[Node] = set()
    stack: list[Node] = [node]
    while stack:
        current = stack.pop()
        if current in seen or current is root:
            continue
        seen.add(current)
        for user in decisions.facts.users[current]:
            if isinstance(user, moves.Reshape):
                old, new = current.shape, user.shape
                if without_ones(old) != without_ones(new):
                    return False
            elif kind is Kind.SCATTER:
                return False
            elif isinstance(user, Reduce) and _is_short(decisions, user):
                reductions.add(user)
            elif not isinstance(user, ops.Elementwise):
                return False
            stack.append(user)
    return len(reductions) <= 1


def _is_short(decisions: Decisions, node: Reduce) -> bool:
    """Whether a plain reduction is over so few values that each step can do it."""
    length = node.source.numel // max(node.numel, 1)
    return decisions.facts.kinds[node] is Kind.ROW and length <= LONGEST_STEP
