"""Fusion: which nodes share a kernel, and why.

Every output and every reduction starts as a kernel of its own; elementwise ops and
movement have none and are computed where they are read. From there kernels are
joined, in six ways:

- *inline*: an elementwise value is recomputed by each reader, unless storing it once
  costs less than that (see ``inline_join.py``);
- *epilogue*: what follows a contraction element by element is done on its way out;
- *row*: a reduced row goes back over the same row (softmax, normalisation) while the
  row is still in the cache (see ``row_join.py``);
- *online*: a row statistic is carried through a contraction over that row (see
  ``online.py``);
- *recomputed*: scores that several kernels read are made again by each of them (see
  ``recompute_join.py``);
- *sibling*: kernels over the same domain that read the same values become one kernel
  with several outputs (an optimiser's moments and weights), and on a GPU all that go
  over the same rows (see ``row_siblings.py``).

Must run after ``simplify`` (no markers) and before ``order``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node, walk
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import (
    Analysis,
    Kind,
    is_leaf,
    work_per_element,
)
from tetragrad.kernel.fusion.concatenations import concatenation_cuts
from tetragrad.kernel.fusion.decisions import FEW_BYTES, Decisions, bytes_of
from tetragrad.kernel.fusion.epilogues import epilogue_end
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.fusion.inline_join import storing_pays
from tetragrad.kernel.fusion.online_join import join_online
from tetragrad.kernel.fusion.readers import collect_readers
from tetragrad.kernel.fusion.recompute_join import join_recomputing
from tetragrad.kernel.fusion.row_join import (
    ends_a_row,
    gathers_from_row,
    joins_row,
)
from tetragrad.kernel.fusion.row_siblings import join_row_siblings
from tetragrad.kernel.fusion.running_join import leaves_in_place
from tetragrad.kernel.fusion.siblings import join_siblings
from tetragrad.kernel.fusion.stored_operands import is_stored_first
from tetragrad.kernel.fusion.uneven import is_cut_unevenly, last_before_cut
from tetragrad.kernel.narrow_cuts import narrow_cuts

#: More values than this in one kernel would not stay in registers.
MAXIMUM_INLINE_NODES = 600
#: An epilogue that reads more buffers than this is better a kernel of its own.
MAXIMUM_EPILOGUE_READS = 4
#: Operations on counters that each reader may as well do.
COUNTING_WORK = 16.0


def fuse(outputs: Sequence[Node], target: Target, *, join: bool = True) -> list[Group]:
    """Groups in an order in which they can run; together they compute the outputs.

    With ``join=False`` every elementwise op and reduction is a kernel of its own:
    slow, and the yardstick that fused results are compared with.
    """
    order = list(walk(outputs))
    wanted = [node for node in dict.fromkeys(outputs) if not _is_in_memory(node)]
    if not join:
        return _one_each(order, wanted)
    fusion = _decided(order, wanted, target)
    join_online(fusion)
    join_recomputing(fusion)
    contractions = fusion.facts.contractions
    groups = join_siblings(fusion.groups(), fusion.in_memory, contractions)
    return join_row_siblings(groups, fusion.wanted, fusion.facts, target)


def _decided(order: Sequence[Node], wanted: Sequence[Node], target: Target) -> _Fusion:
    """All decisions; kernels that would be too long are cut where few values live."""
    facts = Analysis(order)
    fusion = _Fusion(wanted, target, facts)
    fusion.look_forwards()
    cuts = concatenation_cuts(fusion)
    if cuts:
        fusion = _Fusion(wanted, target, facts, cuts=cuts)
        fusion.look_forwards()
    fusion.decide_backwards()
    longest = max(fusion.inline_count.values(), default=0)
    if longest <= MAXIMUM_INLINE_NODES:
        return fusion
    unlimited = _Fusion(wanted, target, facts, cuts=cuts, limit=sys.maxsize)
    unlimited.decide()
    cuts += narrow_cuts(unlimited, MAXIMUM_INLINE_NODES)
    fusion = _Fusion(wanted, target, facts, cuts=cuts)
    fusion.decide()
    return fusion


def _is_in_memory(node: Node) -> bool:
    return isinstance(node, Buffer)


def _one_each(order: Sequence[Node], wanted: Sequence[Node]) -> list[Group]:
    return [
        Group([node])
        for node in order
        if node in wanted or isinstance(node, ops.Elementwise | Reduce)
    ]


class _Fusion(Decisions):
    """The decisions for one graph in the making."""

    def __init__(
        self,
        wanted: Sequence[Node],
        target: Target,
        facts: Analysis,
        *,
        cuts: Sequence[list[Node]] = (),
        limit: int = MAXIMUM_INLINE_NODES,
    ) -> None:
        super().__init__(wanted, target, facts)
        self.limit = limit
        #: Values at which a long kernel is cut, by the first that their kernel makes.
        self.cuts = {node: group[0] for group in cuts for node in group}
        self.in_memory.update(self.cuts)
        self.in_memory.update(
            node for node in self.order if isinstance(node, moves.Kept)
        )
        self.together += [group for group in cuts if len(group) > 1]

    def decide(self) -> None:
        """Fill in all tables."""
        self.look_forwards()
        self.decide_backwards()

    # --- facts and epilogues, forwards ----------------------------------------

    def look_forwards(self) -> None:
        """Work and reads of each inline value; where each contraction's kernel ends.

        Contractions are met in order, so a later one sees what earlier ones store.
        """
        index = {node: place for place, node in enumerate(self.order)}
        for node in self.order:
            if node not in self.reads:
                self._describe(node)
            if node not in self.facts.contractions or node in self.facts.absorbed:
                continue
            end = epilogue_end(
                node,
                self.facts.users,
                index,
                self.wanted,
                self.epilogues.keys(),
                self._is_light,
                spreads=self.target.has_roles,
            )
            if is_cut_unevenly(node, end):
                end = last_before_cut(node, end)
                self.note(end, "stored whole, as cutting it would split its loops")
            self.in_memory.add(end)
            self.epilogues[end] = node
            if end is not node:
                shape = node.sources[0].shape
                self.note(end, f"epilogue of a contraction over {shape}")

    def _describe(self, node: Node) -> None:
        """Fill in work and reads of a node and of what it is made from."""
        stack = [node]
        while stack:
            current = stack[-1]
            if current in self.reads:
                stack.pop()
            elif self._is_stored_or_leaf(current):
                self._read_from_memory(current)
            else:
                missing = [
                    entry for entry in current.sources if entry not in self.reads
                ]
                stack.extend(missing)
                if not missing:
                    self._read_inline(current)

    def _is_stored_or_leaf(self, node: Node) -> bool:
        if node in self.cuts or node in self.epilogues:
            return True
        if isinstance(node, moves.Kept):
            return True
        return is_leaf(node) or self._is_boundary(node)

    def _is_light(self, node: Node) -> bool:
        """Whether an epilogue may read this value from outside."""
        self._describe(node)
        return len(self.reads[node]) <= MAXIMUM_EPILOGUE_READS

    def _read_from_memory(self, node: Node) -> None:
        self.work[node] = 0.0
        self.reads[node] = {} if _is_free(node) else {node: bytes_of(node)}

    def _read_inline(self, node: Node) -> None:
        """Work per element, and the bytes of what it is computed from."""
        work = work_per_element(node)
        first, *others = node.sources
        # What is read is never changed, so nodes share it where they can.
        reads = self.reads[first]
        work += self.work[first]
        for source in others:
            work += self.work[source]
            more = self.reads[source]
            if not reads.keys() >= more.keys():
                reads = reads | more
        self.work[node] = min(work, 1e6)
        many = len(reads) > 16
        self.reads[node] = {node: sum(reads.values())} if many else reads

    def _is_boundary(self, node: Node) -> bool:
        if not isinstance(node, Reduce) or node in self.facts.absorbed:
            return False
        return self.facts.kinds[node] is not Kind.GATHER

    # --- decisions, backwards ----------------------------------------

    def decide_backwards(self) -> None:
        """From the outputs to the inputs: does each node go to memory?"""
        for node in reversed(self.order):
            if is_leaf(node):
                continue
            if node in self.in_memory:
                self._make_root(node)
                continue
            collect_readers(self, node)
            if self._must_be_stored(node):
                self.in_memory.add(node)
                self._make_root(node)
            elif isinstance(node, Reduce):
                # Computed once a row, however often the row reads it.
                self.readers[node] = dict.fromkeys(self.readers[node], 1.0)
                self.aligned.add(node)

    def _make_root(self, node: Node) -> None:
        root = self.cuts.get(node, node)
        self.readers[node] = {root: 1.0}
        self.copies[node] = {root: 1}
        self.aligned.add(node)
        self.inline_count.setdefault(root, 0)

    def _must_be_stored(self, node: Node) -> bool:
        readers = self.readers[node]
        if not readers:
            return False
        if isinstance(node, Reduce):
            kind = self.facts.kinds[node]
            if kind is Kind.GATHER:
                return gathers_from_row(self, node) or storing_pays(self, node)
            if kind in (Kind.SCAN, Kind.SCATTER):
                return not leaves_in_place(self, node, kind)
            if node in self.facts.absorbed or self._is_in_epilogue(node):
                return False
            return not joins_row(self, node)
        if any(self.inline_count[root] > self.limit for root in readers):
            return isinstance(node, ops.Elementwise) and not self._is_trivial(node)
        if not isinstance(node, ops.Elementwise) or _is_widening(node):
            return False
        if self._is_of_next_to_nothing(node):
            return False
        if node in self.factors:
            return True
        if ends_a_row(self, node) or is_stored_first(self, node):
            return True
        return storing_pays(self, node)

    def _is_trivial(self, node: Node) -> bool:
        """Whether a value reads nothing and takes an operation or two, as a choice."""
        return not self.reads[node] and self.work[node] <= 2.0

    def _is_of_next_to_nothing(self, node: Node) -> bool:
        """Whether counters are compared with a number or two, as for a mask.

        Stored, it would no longer say at which few points an update changes anything.
        """
        if node.dtype.is_floating_point or node.numel == 1:
            return False
        few = sum(self.reads[node].values()) <= FEW_BYTES
        return few and self.work[node] <= COUNTING_WORK

    def _is_in_epilogue(self, node: Reduce) -> bool:
        """Whether the node's one reader is the end of its own epilogue."""
        readers = list(self.readers[node])
        return len(readers) == 1 and self.epilogues.get(readers[0]) is node

    # --- results ----------------------------------------

    def groups(self) -> list[Group]:
        """One group for each stored node, or several, in topological order."""
        followers = {node for roots in self.together for node in roots[1:]}
        groups = {roots[0]: roots for roots in self.together}
        return [
            Group(groups.get(node, [node]), self.reasons.get(node, []))
            for node in self.order
            if node in self.in_memory and not is_leaf(node) and node not in followers
        ] + [
            Group([node])
            for node in self.order
            if node in self.in_memory and is_leaf(node)
        ]


def _is_widening(node: Node) -> bool:
    """Whether a value is another one in a wider dtype: that one is stored instead."""
    if not isinstance(node, ops.Cast):
        return False
    return node.operand.dtype.itemsize < node.dtype.itemsize


def _is_free(node: Node) -> bool:
    return is_leaf(node) and not _is_in_memory(node)
