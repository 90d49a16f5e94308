"""The recomputing join: scores that several passes read are made again by each.

    s = q·kᵀ;   p = exp(s - l);   dv = pᵀ·do;   dq = (p ∘ (do·vᵀ - d))·k;   …

stores s, p and do·vᵀ, each of the size of all pairs of rows. They are *wide*: made of
far less than they are, by contractions of small depth and work element by element (as
random numbers are). Every kernel that reads them becomes a pass that makes its blocks
of them anew (``online_contraction.py``), and what remains in memory is what they are
made of: rows, and the rows' statistics.

Only where rows of them go through a maximum and back, as in a softmax: stored, they
would be written and read again for each step of it. A layer's features, which are wider
than what they are made of too, are cheaper to read than to make again.

Runs after ``join_online``, which carries the statistics where one kernel alone reads
the scores: there nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max
from tetragrad.kernel.fusion.analysis import is_leaf
from tetragrad.kernel.fusion.decisions import MOST_FEATURES, Decisions
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.fusion.online_join import pays
from tetragrad.kernel.fusion.repeats import pattern_of
from tetragrad.kernel.lowering import lower
from tetragrad.kernel.online_contraction import OnlineContraction, online_contraction

#: Fewer values than this stay in a cache, or take so little memory that making them
#: again costs more than reading them does.
FEWEST_RECOMPUTED = 1 << 16
#: How often a statistic's size goes into that of the scores, at least.
LEAST_ROW = 8
#: Movement that passes follow to memory as well as if there were none.
_REARRANGED = (moves.Reshape, moves.Permute, moves.Expand, moves.Shrink)


def join_recomputing(decisions: Decisions) -> None:
    """Un-store wide values that all of their readers can make again."""
    largest = [node for node in decisions.order if _is_row_maximum(decisions, node)]
    if not largest:
        return
    wide = _wide_values(decisions)
    passes = _Passes(decisions.target)
    for part in _connected(decisions, wide):
        values, ends = part
        made = {
            node
            for root in (*values, *ends)
            for node in _inside(root, decisions.in_memory)
        }
        if any(node in made for node in largest):
            _Part(decisions, passes, part).run()


def _is_row_maximum(decisions: Decisions, node: Node) -> bool:
    """Whether a long row's maximum goes back over the row."""
    if not isinstance(node, Max) or node.source.numel < FEWEST_RECOMPUTED:
        return False
    if node.numel * LEAST_ROW > node.source.numel:
        return False
    users = decisions.users[node]
    return any(isinstance(user, moves.Expand) for user in users)


# --- what is wide, and belongs together ----------------------------------------------


def _wide_values(decisions: Decisions) -> dict[Node, None]:
    """Stored values that are larger than what they are made of, in order."""
    found: dict[Node, None] = {}
    for node in decisions.order:
        is_stored = node in decisions.in_memory and not is_leaf(node)
        if not is_stored or node in decisions.wanted or node.numel < FEWEST_RECOMPUTED:
            continue
        reads = _parts_read(node, decisions.in_memory)
        smaller = [numel for entry, numel in reads if entry not in found]
        wider = [numel for entry, numel in reads if entry in found]
        is_shallow = decisions.depth(node) <= MOST_FEATURES
        is_large = 2 * max(smaller, default=0) <= node.numel >= max(wider, default=0)
        if is_shallow and is_large and not _has_windows(node, decisions.in_memory):
            found[node] = None
    return found


def _parts_read(root: Node, in_memory: Set[Node]) -> Iterator[tuple[Node, int]]:
    """What a root's kernel loads, and how many elements of it at the most.

    Queries are often a third of what one layer made.
    """
    for node in _inside(root, in_memory):
        for source in node.sources if not isinstance(node, moves.Movement) else ():
            part = source.numel
            while isinstance(source, moves.Movement) and source not in in_memory:
                source = source.sources[0]
                part = min(part, source.numel)
            if source in in_memory or isinstance(source, Buffer):
                yield source, part


def _has_windows(root: Node, in_memory: Set[Node]) -> bool:
    """Whether it is a convolution: passes make blocks of plain products only."""
    return any(isinstance(node, moves.Window) for node in _inside(root, in_memory))


def _readers(decisions: Decisions, read: Mapping[Node, None]) -> dict[Node, list[Node]]:
    """The kernels that load some of these values, and which of them."""
    found: dict[Node, list[Node]] = {}
    for node in decisions.order if read else ():
        if node in decisions.in_memory and not is_leaf(node):
            entries = [e for e in loads_of(node, decisions.in_memory) if e in read]
            if entries:
                found[node] = entries
    return found


def _connected(
    decisions: Decisions, wide: Mapping[Node, None]
) -> Iterator[tuple[dict[Node, None], list[Node]]]:
    """Wide values that share readers, with those: what is decided at once."""
    readers = _readers(decisions, wide)
    neighbours: dict[Node, list[Node]] = {node: [] for node in wide}
    for node, entries in readers.items():
        linked = [*entries, node] if node in wide else entries
        for entry in linked:
            neighbours[entry] += linked
    seen: set[Node] = set()
    for start in wide:
        if start in seen:
            continue
        part, stack = set[Node](), [start]
        while stack:
            node = stack.pop()
            if node not in part:
                part.add(node)
                stack += neighbours[node]
        seen |= part
        ends = [
            node
            for node, entries in readers.items()
            if node not in wide and not part.isdisjoint(entries)
        ]
        yield {node: None for node in wide if node in part}, ends


def loads_of(root: Node, in_memory: Set[Node]) -> list[Node]:
    """The stored values that a root's kernel loads."""
    found: dict[Node, None] = {}
    for node in _inside(root, in_memory):
        for source in node.sources:
            if source in in_memory or isinstance(source, Buffer):
                found[source] = None
    return list(found)


def _inside(root: Node, in_memory: Set[Node]) -> list[Node]:
    """The nodes that a root's kernel computes: the root, and what is not in memory."""
    seen, stack = {root: None}, [root]
    while stack:
        for source in stack.pop().sources:
            if source not in seen and source not in in_memory and not is_leaf(source):
                seen[source] = None
                stack.append(source)
    return list(seen)


# --- one part of the graph -----------------------------------------------------------


class _Passes:
    """Asks, once for all layers that are the same, what one kernel would be."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.answers: dict[tuple[object, ...], OnlineContraction | None] = {}

    def form(self, roots: list[Node], in_memory: Set[Node]) -> OnlineContraction | None:
        """The pass that computes these roots, if it is one and pays."""
        key = pattern_of(Group(roots), in_memory).key
        if key not in self.answers:
            kernel = lower(roots, in_memory).kernel
            form = online_contraction(kernel)
            if form is not None and not pays(kernel, form, self.target):
                form = None
            self.answers[key] = form
        return self.answers[key]


class _Part:
    """Wide values and their readers: which of them need not be stored."""

    def __init__(
        self,
        decisions: Decisions,
        passes: _Passes,
        part: tuple[dict[Node, None], list[Node]],
    ) -> None:
        self.decisions = decisions
        self.passes = passes
        self.wide, self.ends = part
        #: What is in memory if the wide values are not.
        self.stored: set[Node] = set()

    def run(self) -> None:
        """Give up the values that some reader cannot make, until the rest can."""
        rows = self.own_rows()
        while self.products():
            self.stored = self.decisions.in_memory - self.wide.keys() - rows
            roots = self.roots()
            refused = [
                root for root in roots if not self.passes.form([root], self.stored)
            ]
            if not refused:
                self.accept(roots)
                return
            needed = {entry for root in refused for entry in self.wide_below(root)}
            if not needed:
                return
            self.wide = {node: None for node in self.wide if node not in needed}

    def products(self) -> set[Node]:
        """The contractions that make wide values."""
        ends = self.decisions.epilogues
        return {ends[node] for node in self.wide if node in ends}

    def own_rows(self) -> set[Node]:
        """Statistics that only these kernels read: what is stored may be others."""
        decisions = self.decisions
        rows = {
            end: None
            for end in self.ends
            if end not in decisions.wanted and self.is_row(end)
        }
        inside = {*self.wide, *self.ends}
        read = {
            entry
            for node, entries in _readers(decisions, rows).items()
            if node not in inside
            for entry in entries
        }
        return rows.keys() - read

    def is_row(self, node: Node) -> bool:
        """Whether a value is so small that it is a statistic of rows."""
        return node.numel * LEAST_ROW <= max(entry.numel for entry in self.wide)

    def accept(self, roots: list[Node]) -> None:
        """Store what the passes read, and let those that share products be one."""
        decisions = self.decisions
        decisions.in_memory.clear()
        decisions.in_memory |= self.stored
        shapes = ", ".join(str(node.shape) for node in self.wide)
        for root in roots:
            decisions.note(root, f"recomputed: {shapes}")
        decisions.together += self.joined(roots)

    def roots(self) -> list[Node]:
        """The kernels that read what is not stored now: the readers, and statistics.

        A statistic is stored where the kernel that reads it cannot carry it. Operands
        that are computed element by element are stored, as many blocks read them.
        """
        found = dict.fromkeys(
            end
            for end in self.ends
            if end in self.stored and next(self.wide_below(end), None)
        )
        waiting = list(found)
        while waiting:
            root = waiting.pop()
            self.stored |= set(self.operands(root))
            if self.passes.form([root], self.stored):
                continue
            statistics = [
                node for node in self.statistics(root) if node not in self.stored
            ]
            self.stored |= set(statistics)
            waiting += [node for node in statistics if node not in found]
            found |= dict.fromkeys(statistics)
        return [root for root in found if next(self.wide_below(root), None)]

    def wide_below(self, root: Node) -> Iterator[Node]:
        """The wide values that a root's kernel makes again."""
        return (node for node in _inside(root, self.stored) if node in self.wide)

    def statistics(self, root: Node) -> Iterator[Node]:
        """Values of a row, made of wide ones, that a root's kernel repeats."""
        seen, stack = {root}, [root]
        while stack:
            node = stack.pop()
            for source in node.sources:
                if source in seen or source in self.stored or is_leaf(source):
                    continue
                seen.add(source)
                is_repeated = isinstance(node, moves.Expand) and self.is_row(source)
                if is_repeated and next(self.wide_below(source), None):
                    yield _plain(source)
                else:
                    stack.append(source)

    def operands(self, root: Node) -> Iterator[Node]:
        """Factors of a root's products that are neither wide nor in memory."""
        products = self.products()
        inside = _inside(root, self.stored)
        for node in inside:
            is_product = node in products or node is self.decisions.epilogues.get(root)
            if not is_product or not isinstance(node.sources[0], ops.Mul):
                continue
            for factor in node.sources[0].sources:
                operand = _plain(factor)
                if operand in self.stored or is_leaf(operand):
                    continue
                below = _inside(operand, self.stored)
                if not any(entry in self.wide or entry in products for entry in below):
                    yield operand

    # --- passes that share products ---

    def joined(self, roots: list[Node]) -> list[list[Node]]:
        """Roots of equal shapes whose inner products are partly the same."""
        groups: list[list[Node]] = []
        for root in roots:
            for group in groups:
                if self.shares(group, root):
                    group.append(root)
                    break
            else:
                groups.append([root])
        return [group for group in groups if len(group) > 1]

    def shares(self, group: list[Node], root: Node) -> bool:
        """Whether one kernel makes fewer inner products than two."""
        if any(not _fits(other, root) for other in group):
            return False
        if any(
            self.depends(*pair)
            for other in group
            for pair in ((root, other), (other, root))
        ):
            return False
        form = self.passes.form([*group, root], self.stored)
        single = self.passes.form([root], self.stored)
        several = self.passes.form(list(group), self.stored)
        if form is None or single is None or several is None:
            return False
        return len(form.inner) < len(single.inner) + len(several.inner)

    def depends(self, node: Node, other: Node) -> bool:
        """Whether a third kernel makes a kernel's inputs of another's result."""
        stack = [entry for entry in loads_of(node, self.stored) if entry is not other]
        seen = set(stack)
        while stack:
            current = stack.pop()
            if current is other:
                return True
            more = [source for source in current.sources if source not in seen]
            seen.update(more)
            stack += more
        return False


def _plain(node: Node) -> Node:
    """What a value is before it is repeated, moved or widened."""
    while isinstance(node, _REARRANGED) or (
        isinstance(node, ops.Cast)
        and node.operand.dtype.itemsize <= node.dtype.itemsize
    ):
        node = node.sources[0]
    return node


def _fits(node: Node, other: Node) -> bool:
    """Whether two roots run over the same loops, but for a dimension reduced to 1."""
    if node.ndim != other.ndim or node.device != other.device:
        return False
    pairs = zip(node.shape, other.shape, strict=True)
    return all(size == another or 1 in (size, another) for size, another in pairs)


def _nbytes(node: Node) -> int:
    return node.numel * node.dtype.itemsize
