"""Choose how temporaries lie in memory, for all kernels of a schedule together.

    x: (n, c, h, w) in the graph     a convolution sums over c and slides along h and w
    x: n, h, w, c in memory          so rows of its operand are channels

Kernels have affine addresses, so whoever writes and reads a temporary may do so in any
order of its dimensions. Products have wishes: the copy engine brings rows of whole
chunks, along one axis, and what does not lie so is stored once more first. Everything
else wants its large buffers to lie alike. A wish spreads from a product's operand
through the kernels that write and read it, and what costs fewer bytes is taken. What
a user sees is row-major.

Must run after groups have been lowered, as addresses tell the wishes; what changes is
lowered again.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.graph.node import Node
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.layouts.access import Accesses, Walk, accesses_of, walk_through
from tetragrad.kernel.layouts.orders import Layouts, with_innermost
from tetragrad.kernel.lowering import Lowered

#: Smaller values lie as they come.
SMALLEST_ELEMENTS = 1 << 12
#: What is smaller than this part of a kernel's largest buffer decides nothing there.
SMALL_PART = 16
#: A product's operand that lies badly is read and written once more.
STORED_AGAIN = 2.0
#: How often a choice is looked at again after its neighbours'.
SWEEPS = 3


def choose_layouts(
    kernels: Sequence[Lowered], seen: Set[Node], target: Target
) -> Layouts:
    """The orders of those temporaries that should not be row-major.

    Args:
        kernels: all kernels of a schedule, in order, with row-major temporaries.
        seen: values that somebody outside of the schedule sees.
        target: what it says of chunks decides what products wish.
    """
    if not target.chunk_bytes:
        return {}
    return _Choice(kernels, seen, target).layouts()


@frozen
class _Use:
    """What one kernel does with one large buffer of so many bytes.

    A dimension is one of its ``rows`` if boxes could have neighbours along it.
    """

    node: Node
    walk: Walk
    rows: frozenset[int]
    last_dim: int
    nbytes: float


@frozen
class _Work:
    """One kernel with the large buffers that it reads and writes."""

    has_product: bool
    uses: tuple[_Use, ...]


class _Choice:
    """Wishes and choices for one schedule: the innermost dimension of each node."""

    def __init__(
        self, kernels: Sequence[Lowered], seen: Set[Node], target: Target
    ) -> None:
        self.temporaries = {
            node
            for lowered in kernels
            for node in lowered.outputs
            if node not in seen and _is_of_interest(node)
        }
        self.works: list[_Work] = []
        self.touching: dict[Node, list[_Work]] = {}
        known: dict[Kernel, Accesses] = {}
        for lowered in kernels:
            if self.temporaries.isdisjoint(lowered.nodes):
                continue
            if lowered.kernel not in known:
                known[lowered.kernel] = accesses_of(lowered.kernel)
            work = _work(lowered, known[lowered.kernel], target.chunk_bytes)
            self.works.append(work)
            for use in work.uses:
                self.touching.setdefault(use.node, []).append(work)
        self._drop_odd()
        self.inner: dict[Node, int] = {}

    def _drop_odd(self) -> None:
        """Leave alone what some kernel reads in a way that is not understood."""
        for work in self.works:
            for use in work.uses:
                if use.walk.access.is_odd:
                    self.temporaries.discard(use.node)

    def layouts(self) -> Layouts:
        """Wish, spread, weigh: what is wished for most goes first.

        Where several dimensions are as good, those around it may settle which.
        """
        wishes = self._wishes()
        leads = {node: _lead(node, votes) for node, votes in wishes.items()}
        for node in sorted(wishes, key=lambda n: (_is_tie(wishes[n]), -leads[n])):
            if leads[node] > 0.0:
                votes = wishes[node]
                self._spread(node, max(votes, key=lambda dim: (votes[dim], dim)))
        self._weigh()
        return {
            node: with_innermost(node.ndim, dim)
            for node, dim in self.inner.items()
            if dim != _last_dim(node)
        }

    # --- wishes ---------------------------------------------------------------

    def _wishes(self) -> dict[Node, dict[int, float]]:
        """How many bytes like each dimension of a temporary to be innermost."""
        found: dict[Node, dict[int, float]] = {}
        for work in self.works:
            for use in work.uses:
                if use.node not in self.temporaries or not _has_wish(work, use):
                    continue
                votes = found.setdefault(use.node, {})
                for dim in use.rows:
                    votes[dim] = votes.get(dim, 0.0) + use.nbytes
        return found

    # --- spreading ----------------------------------------------------------------

    def _spread(self, node: Node, dim: int) -> None:
        """Let a wish reach what is written and read along the same axis."""
        if node in self.inner:
            return
        self.inner[node] = dim
        waiting = [node]
        while waiting:
            current = waiting.pop()
            for work in self.touching[current]:
                for other, wished in self._alike(work, current):
                    if other not in self.inner and other in self.temporaries:
                        self.inner[other] = wished
                        waiting.append(other)

    def _alike(self, work: _Work, node: Node) -> list[tuple[Node, int]]:
        """Other buffers of a kernel, with the dimension that lies as the node's does.

        A product's operands say nothing of what it writes.
        """
        axes = {
            use.walk.inner[self._inner_of(use)]
            for use in work.uses
            if use.node is node and not use.walk.access.is_operand
        } - {None}
        return [
            (use.node, dim)
            for use in work.uses
            if use.node is not node and not use.walk.access.is_operand
            for dim, movers in enumerate(use.walk.movers)
            if len(movers) == 1 and movers[0] in axes
        ]

    def _inner_of(self, use: _Use) -> int:
        """The dimension of a use's buffer that is innermost so far."""
        return self.inner.get(use.node, use.last_dim)

    # --- weighing -------------------------------------------------------------------

    def _weigh(self) -> None:
        """Keep what costs less than row-major memory, first by and by, then as one."""
        for _ in range(SWEEPS):
            changes = [node for node in self.inner if self._is_better_plain(node)]
            if not changes:
                break
        for nodes in self._components():
            works = list({id(w): w for n in nodes for w in self.touching[n]}.values())
            cost = sum(map(self._cost, works))
            chosen = {node: self.inner.pop(node) for node in nodes}
            if cost < sum(map(self._cost, works)):
                self.inner.update(chosen)

    def _is_better_plain(self, node: Node) -> bool:
        """Go back to row-major where that costs less, the others being as they are."""
        dim = self.inner[node]
        if dim == _last_dim(node):
            return False
        cost = sum(map(self._cost, self.touching[node]))
        self.inner[node] = _last_dim(node)
        if sum(map(self._cost, self.touching[node])) < cost:
            return True
        self.inner[node] = dim
        return False

    def _components(self) -> list[list[Node]]:
        """Nodes with a choice, together with those that they share a kernel with."""
        found: list[list[Node]] = []
        done: set[Node] = set()
        for start in self.inner:
            if start in done:
                continue
            done.add(start)
            component, waiting = [start], [start]
            while waiting:
                for work in self.touching[waiting.pop()]:
                    for use in work.uses:
                        if use.node in self.inner and use.node not in done:
                            done.add(use.node)
                            component.append(use.node)
                            waiting.append(use.node)
            found.append(component)
        return found

    def _cost(self, work: _Work) -> float:
        """Bytes that a kernel moves more than it would if everything lay well."""
        cost = 0.0
        along: dict[Any, float] = {}
        for use in work.uses:
            dim = self._inner_of(use)
            if use.walk.access.is_operand:
                if use.rows and dim not in use.rows:
                    cost += STORED_AGAIN * use.nbytes
                continue
            axis = use.walk.inner[dim]
            along[axis] = along.get(axis, 0.0) + use.nbytes
            if work.has_product and dim not in use.rows:
                cost += use.nbytes
        # Windows and taps, which no one axis moves along, are no order to share.
        shared = max(
            (size for axis, size in along.items() if axis is not None), default=0.0
        )
        return cost + sum(along.values()) - shared


def _work(lowered: Lowered, accesses: Accesses, chunk_bytes: int) -> _Work:
    kernel = lowered.kernel
    largest = max(map(_nbytes, lowered.nodes))
    uses = []
    for slot, access in accesses.by_slot.items():
        node = lowered.nodes[slot]
        is_large = access.is_operand or _nbytes(node) * SMALL_PART >= largest
        if is_large and _is_of_interest(node):
            walk = walk_through(kernel, access, node.shape)
            rows = _rows(node, walk, accesses.outermost, chunk_bytes)
            uses.append(_Use(node, walk, rows, _last_dim(node), _nbytes(node)))
    return _Work(accesses.has_product, tuple(uses))


def _rows(
    node: Node, walk: Walk, outermost: Set[int], chunk_bytes: int
) -> frozenset[int]:
    """The dimensions along which boxes could have neighbours, in whole chunks.

    What is outermost for every buffer of a kernel stays so.
    """
    chunk = max(1, chunk_bytes // node.dtype.itemsize)
    never = outermost | walk.access.guarded
    return frozenset(
        dim
        for dim, axis in enumerate(walk.inner)
        if axis is not None and axis not in never and node.shape[dim] % chunk == 0
    )


def _is_tie(votes: dict[int, float]) -> bool:
    """Whether there is no one first choice."""
    return list(votes.values()).count(max(votes.values(), default=0.0)) != 1


def _has_wish(work: _Work, use: _Use) -> bool:
    """Whether a product reads or writes it, or a window slides over it."""
    access = use.walk.access
    if work.has_product:
        return access.is_operand or access.is_stored
    return any(len(movers) > 1 for movers in use.walk.movers)


def _lead(node: Node, votes: dict[int, float]) -> float:
    """How much more the first choice is wished for than what row-major memory has."""
    last = votes.get(_last_dim(node), 0.0)
    return max(votes.values(), default=0.0) - last


def _is_of_interest(node: Node) -> bool:
    """Whether a node has dimensions that could change places."""
    dims = sum(size > 1 for size in node.shape)
    return dims >= 3 and node.numel >= SMALLEST_ELEMENTS


def _last_dim(node: Node) -> int:
    """The dimension whose neighbours are next to one another in row-major memory."""
    return max((dim for dim, size in enumerate(node.shape) if size > 1), default=0)


def _nbytes(node: Node) -> float:
    return float(node.numel * node.dtype.itemsize)
