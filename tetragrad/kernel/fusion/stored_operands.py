"""Operands that are stored first, as their reader would compute them too slowly.

    histogram[index(x[i])] += weight(x[i])

goes over i one by one, as each step may meet the element of the step before. Work
inside of that loop is done one by one too; in a kernel of its own, whole vectors are.
A product that reads a concatenation looks for each element in all of its parts.
"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import Kind
from tetragrad.kernel.fusion.decisions import Decisions

#: Operations that an element may take inside of the scatter's loop.
LITTLE_WORK = 4.0
#: A concatenation that reads more buffers than this is stored before a product.
FEW_PARTS = 4
#: Steps from a value to the reduction that reads it, at most.
LONGEST_WAY = 8


def is_stored_first(decisions: Decisions, node: Node) -> bool:
    """Whether the one reduction that reads a value should find it in memory."""
    return _puts_many_together(decisions, node) or _costs_a_scatter(decisions, node)


def _puts_many_together(decisions: Decisions, node: Node) -> bool:
    """Whether it is a concatenation of many parts that a product reads.

    Packing looks for each element in all of them, once for each block of rows.
    """
    if not isinstance(node, ops.Where) or len(decisions.reads[node]) <= FEW_PARTS:
        return False
    for _ in range(LONGEST_WAY):
        users = decisions.facts.users[node]
        if len(users) != 1:
            return False
        (node,) = users
        if isinstance(node, Reduce):
            return decisions.facts.kinds[node] is Kind.CONTRACTION
    return False


def _costs_a_scatter(decisions: Decisions, node: Node) -> bool:
    """Whether a scatter's index or value costs more inside of its loop than stored."""
    target = decisions.target
    work = decisions.work[node]
    if target.has_free_iterations or work <= LITTLE_WORK:
        return False
    if not _is_scattered(decisions, node):
        return False
    itemsize = node.dtype.itemsize
    inside = work * node.numel / target.arithmetic_rate * target.vector_lanes(itemsize)
    moved = 2.0 * node.numel * itemsize / target.memory_bandwidth
    return moved + target.launch_seconds < inside


def _is_scattered(decisions: Decisions, node: Node) -> bool:
    """Whether a scatter alone reads a value, element by element.

    In the graph a scatter goes over all pairs of elements and places:
    ``where(place == index, value, 0).sum()``.
    """
    elements = node.numel
    for _ in range(LONGEST_WAY):
        users = decisions.facts.users[node]
        if len(users) != 1:
            return False
        (node,) = users
        if isinstance(node, Reduce):
            is_scatter = decisions.facts.kinds[node] is Kind.SCATTER
            return is_scatter and node.source.numel > elements
        if not isinstance(node, moves.Movement | ops.Eq | ops.Where):
            return False
    return False
