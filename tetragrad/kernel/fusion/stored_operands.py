"""Operands that are stored first, as their reader would compute them too slowly.

    histogram[index(x[i])] += weight(x[i])

goes over i one by one, as each step may meet the element of the step before. Work
inside of that loop is done one by one too; in a kernel of its own, whole vectors are.
A product that reads a concatenation looks for each element in all of its parts, and
one by roles makes an operand that is computed again for each block of its columns.
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
#: Columns that a product's block has, with as many rows as it likes and with few.
WIDE_BLOCK, NARROW_BLOCK = 256, 16
FEW_ROWS = 64


def is_stored_first(decisions: Decisions, node: Node) -> bool:
    """Whether the one reduction that reads a value should find it in memory."""
    return (
        _puts_many_together(decisions, node)
        or _costs_a_scatter(decisions, node)
        or _costs_each_block(decisions, node)
    )


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


def _costs_each_block(decisions: Decisions, node: Node) -> bool:
    """Whether the blocks of a product would do more work on an operand than stores do.

    As on gates that are made with exponentials, with which 16 rows take half as long
    again as without.
    """
    target = decisions.target
    if not target.has_roles or decisions.work[node] <= LITTLE_WORK:
        return False
    product = _product_of(decisions, node)
    if product is None:
        return False
    columns = product.sources[0].numel // max(node.numel, 1)
    rows = product.numel // max(columns, 1)
    width = NARROW_BLOCK if rows <= FEW_ROWS else WIDE_BLOCK
    again = min(columns // width, target.units) - 1
    inside = again * decisions.work[node] * node.numel / target.arithmetic_rate
    moved = 2.0 * node.numel * node.dtype.itemsize / target.memory_bandwidth
    return moved + target.launch_seconds < inside


def _product_of(decisions: Decisions, node: Node) -> Node | None:
    """The one product of which a value is an operand, moved or widened at most."""
    for _ in range(LONGEST_WAY):
        users = decisions.facts.users[node]
        if len(users) != 1:
            return None
        (user,) = users
        if user in decisions.facts.contractions:
            return user
        is_operand = isinstance(user, moves.Movement | ops.Cast | ops.Mul)
        if not is_operand or (
            isinstance(user, ops.Mul) and not _is_product(decisions, user)
        ):
            return None
        node = user
    return None


def _is_product(decisions: Decisions, node: Node) -> bool:
    """Whether a contraction sums just this."""
    users = decisions.facts.users[node]
    return len(users) == 1 and users[0] in decisions.facts.contractions


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
