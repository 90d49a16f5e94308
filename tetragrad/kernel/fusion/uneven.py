"""Contractions whose results are cut where their loops cannot be.

A transposed convolution with stride 2 has loops over places and over phases, and gives
element 2*q + r. Without its first element, q and r of element p are (p + 1) // 2 and
(p + 1) % 2: its loops can then run over p only, and what was a product of matrices is
one small product for each p. So it is stored whole, and cut when it is read.
"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph.movement import Movement, Shrink, Skew
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.expression import Quotient, Remainder, walk
from tetragrad.kernel.lowering import lower


def is_cut_unevenly(contraction: Node, end: Node) -> bool:
    """Whether a cut between the two makes quotients of the contraction's axes."""
    if last_before_cut(contraction, end) is end or not _has_skew(contraction):
        return False
    kernel = lower([end], _operands(end)).kernel
    values = [output.value for output in kernel.outputs]
    return any(isinstance(entry, Quotient | Remainder) for entry in walk(*values))


def last_before_cut(contraction: Node, end: Node) -> Node:
    """The value before the first cut; ``end`` if there is none."""
    found, current = end, end
    while current is not contraction and len(current.sources) == 1:
        source = current.sources[0]
        if isinstance(current, Shrink):
            found = source
        current = source
    return found


def _has_skew(contraction: Node) -> bool:
    """Whether the contraction adds windows that overlap."""
    current = contraction.sources[0]
    while isinstance(current, Movement | Reduce) and current.sources:
        if isinstance(current, Skew):
            return True
        current = current.sources[0]
    return False


def _operands(end: Node) -> set[Node]:
    """What the contraction multiplies, as if it were in memory."""
    found: set[Node] = set()
    stack = [end]
    while stack:
        node = stack.pop()
        if isinstance(node, ops.Mul):
            found.update(node.sources)
        elif isinstance(node, Movement | Reduce | ops.Elementwise):
            stack.extend(node.sources)
    return found
