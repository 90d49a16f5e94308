"""What fusion has decided about one graph, in the form that all joins share."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.target import Target
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import Analysis

#: The most features of an attention head: columns of a product on a matrix unit, and
#: the depth of products that a pass may make again.
MOST_FEATURES = 256
#: What reads no more bytes than these is made of next to nothing.
FEW_BYTES = 64


class Decisions:
    """Which nodes go to memory, who reads the others, and why.

    Fusion fills this in from the inputs to the outputs and back; then each join takes
    values out of ``in_memory`` that its kernels need not store.
    """

    def __init__(self, wanted: Sequence[Node], target: Target, facts: Analysis) -> None:
        self.target = target
        self.facts = facts
        self.order = facts.order
        self.wanted = frozenset(wanted)
        self.in_memory: set[Node] = set(wanted)
        self.reasons: dict[Node, list[str]] = {}
        #: For each node: operations per element if inline, and the bytes it reads.
        self.work: dict[Node, float] = {}
        self.reads: dict[Node, dict[Node, float]] = {}
        #: For an inline node: how often each kernel that reads it computes an element.
        self.readers: dict[Node, dict[Node, float]] = {}
        #: How often a kernel's text has each inline node, and all of them together.
        self.copies: dict[Node, dict[Node, int]] = {}
        self.inline_count: dict[Node, int] = {}
        #: Inline nodes whose elements their one kernel visits one to one.
        self.aligned: set[Node] = set()
        #: The contraction at the start of each epilogue, by the epilogue's end.
        self.epilogues: dict[Node, Node] = {}
        #: Selections made in the kernel that reduces the rows they select from.
        self.row_gathers: set[Node] = set()
        #: Values, one for each row, that several kernels make rows' elements with.
        self.factors: set[Node] = set()
        #: The reduction that an Expand repeats, if it is one of its row.
        self.repeated: dict[Node, Reduce | None] = {}
        #: Stored nodes that one kernel computes.
        self.together: list[list[Node]] = []

    @property
    def users(self) -> dict[Node, list[Node]]:
        """The readers of each node."""
        return self.facts.users

    def depth(self, end: Node) -> int:
        """Of how many products each result of an end's contraction is a sum.

        0 if the kernel that ends here has no contraction.
        """
        contraction = self.epilogues.get(end)
        if contraction is None:
            return 0
        return contraction.sources[0].numel // max(contraction.numel, 1)

    def note(self, node: Node, reason: str) -> None:
        """Remember why a kernel is as it is."""
        self.reasons.setdefault(node, []).append(reason)


def bytes_of(node: Node) -> float:
    """The memory that a node takes if it is stored."""
    return float(node.numel * node.dtype.itemsize)
