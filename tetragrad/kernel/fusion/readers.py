"""Which kernels compute an inline value, and how often for each of its elements.

Asked from the outputs to the inputs, when what is known of a value's users tells it.
"""

from __future__ import annotations

from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node, size_of
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import Kind
from tetragrad.kernel.fusion.decisions import FEW_BYTES, Decisions

#: Places for which the same value is made by one thread, if it reads few bytes.
MOST_TOGETHER = 4
#: Reductions that compute each element of what they run over once.
READING_ONCE = frozenset([Kind.CONTRACTION, Kind.SCAN, Kind.SCATTER])

#: Movement whose result has more or fewer elements, each read once.
_RESIZING = (moves.Window, moves.Skew, moves.Shrink, moves.Stride)
#: What visits the elements of its source one to one.
_ONE_TO_ONE = (ops.Elementwise, moves.Reshape, moves.Permute)


def collect_readers(decisions: Decisions, node: Node) -> None:
    """Which kernels compute this node inline, and how often per element.

    Users that read it where it is share one computation; each that moves it
    reads it somewhere else, and needs one more.
    """
    users = decisions.facts.users[node]
    if len(users) == 1 and _repetition(decisions, node, users[0]) == 1.0:
        _read_like(decisions, node, users[0])
        return
    in_place: dict[Node, float] = {}
    moved: dict[Node, float] = {}
    copies: dict[Node, int] = {}
    aligned = True
    for user in users:
        factor = _repetition(decisions, node, user)
        for root, times in decisions.readers[user].items():
            if isinstance(user, moves.Movement):
                moved[root] = moved.get(root, 0.0) + times * factor
            else:
                in_place[root] = max(in_place.get(root, 0.0), times)
        for root, places in decisions.copies[user].items():
            if isinstance(user, moves.Movement):
                copies[root] = copies.get(root, 0) + places
            else:
                copies[root] = max(copies.get(root, 0), places)
        aligned = (
            aligned and user in decisions.aligned and _keeps_aligned(decisions, user)
        )
    roots = dict.fromkeys([*in_place, *moved])
    readers = {root: in_place.get(root, 0.0) + moved.get(root, 0.0) for root in roots}
    _set_readers(decisions, node, readers, copies, aligned)


def _read_like(decisions: Decisions, node: Node, user: Node) -> None:
    """The node is computed where, and as often as, its one user is."""
    aligned = user in decisions.aligned and _keeps_aligned(decisions, user)
    _set_readers(
        decisions, node, decisions.readers[user], decisions.copies[user], aligned
    )


def _set_readers(
    decisions: Decisions,
    node: Node,
    readers: dict[Node, float],
    copies: dict[Node, int],
    aligned: bool,
) -> None:
    """Remember what was found; the tables are shared, and so never changed."""
    decisions.readers[node] = readers
    if aligned and len(readers) == 1:
        decisions.aligned.add(node)
    decisions.copies[node] = copies
    for root, places in copies.items():
        decisions.inline_count[root] = decisions.inline_count.get(root, 0) + places


def _repetition(decisions: Decisions, node: Node, user: Node) -> float:
    """How often the user computes one element of the node."""
    if isinstance(user, _RESIZING):
        return user.numel / max(node.numel, 1)
    if not isinstance(user, moves.Expand) or _is_read_once(decisions, user):
        return 1.0
    if _is_made_together(decisions, node, user):
        return 1.0
    return _outer_repetition(user, any_order=decisions.target.chunk_bytes > 0)


def _is_made_together(decisions: Decisions, node: Node, user: Node) -> bool:
    """Whether a GPU's threads compute what is repeated for all places together.

    As the words of random numbers, which are made of next to nothing.
    """
    times = user.numel // max(node.numel, 1)
    if not decisions.target.has_free_iterations or times > MOST_TOGETHER:
        return False
    return sum(decisions.reads[node].values()) <= FEW_BYTES


def _is_read_once(decisions: Decisions, node: Node) -> bool:
    """Whether the node is (close to) what a contraction, scan or scatter reads.

    A contraction's operands are packed once; a running value takes in one element
    at each step and a scatter goes over its elements once, although their sums
    are written over all pairs.
    """
    for _ in range(4):
        users = decisions.facts.users[node]
        if len(users) != 1:
            return False
        node = users[0]
        if decisions.facts.kinds.get(node) in READING_ONCE:
            return True
    return False


def _keeps_aligned(decisions: Decisions, user: Node) -> bool:
    if isinstance(user, _ONE_TO_ONE):
        return True
    if isinstance(user, Reduce):
        kind = decisions.facts.kinds[user]
        if kind is Kind.GATHER:
            return user in decisions.row_gathers
        # A root reads its row once; a joined one once a pass.
        return kind is Kind.ROW and user not in decisions.in_memory
    return False


def _outer_repetition(expand: Node, any_order: bool) -> float:
    """Repetition along inner dimensions is free: the value stays in a register.

    Unless it is repeated along outer ones too and memory may be in any order: channels,
    say, may become the innermost dimension.
    """
    old = expand.source.shape
    last = max((dim for dim, size in enumerate(old) if size > 1), default=-1)
    dims = expand.expanded_dims
    outer = [dim for dim in dims if dim < last]
    counted = dims if outer and any_order else outer
    return float(size_of(expand.shape[dim] for dim in counted))
