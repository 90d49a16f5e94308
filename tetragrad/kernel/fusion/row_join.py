"""The row join: what goes over a reduced row again while it is in the cache.

    weights = exp(x - x.max(-1));  weights / weights.sum(-1)

are two reductions of one row and elementwise work over the same row: one kernel that
goes over each row three times and stores the last values only. A reduction may join
the kernel that reads it if every way from it to that kernel's end stays on its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import Kind, work_per_element
from tetragrad.kernel.fusion.decisions import MOST_FEATURES, Decisions

#: The elementwise work before a selection from rows that is looked at.
MAXIMUM_ROW_NODES = 64
#: Steps from a repeated value back to the reduction that it is made of, at most.
LONGEST_WAY_BACK = 8
#: Elements of a row that are added up without a loop.
FEW = 16
#: Operations on an element that several kernels may as well repeat.
MOST_REPEATED_WORK = 12.0


def joins_row(decisions: Decisions, node: Reduce) -> bool:
    """Whether a reduction can be a pass of the one kernel that reads it."""
    readers = decisions.readers[node]
    if decisions.facts.kinds[node] is not Kind.ROW or len(readers) != 1:
        return False
    (root,) = readers
    is_other = isinstance(root, Reduce) and decisions.facts.kinds[root] is not Kind.ROW
    if is_other and root not in decisions.row_gathers:
        return False
    revisits = _revisits_row(decisions, node, root)
    if revisits is None or (
        revisits and not _row_is_worth_keeping(decisions.target, node)
    ):
        return False
    form = "row" if revisits else "epilogue"
    name = type(node).__name__.lower()
    decisions.note(root, f"{form}: {name} over {node.source.shape}")
    return True


def _row_is_worth_keeping(target: Target, node: Reduce) -> bool:
    """Whether the row is still in the cache, and there are rows for all units."""
    length = node.source.numel // max(node.numel, 1)
    return _row_fits(target, node) and (
        node.numel >= 2 * target.units
        or node.source.numel <= 1 << 16
        or length <= target.longest_kept_row
    )


def _revisits_row(decisions: Decisions, node: Reduce, root: Node) -> bool | None:
    """Whether the root reads the reduced row again; None if a path leaves it."""
    row_shape = without_ones(node.source.shape)
    revisits = reshapes = False
    seen: set[Node] = set()
    stack = list(decisions.facts.users[node])
    while stack:
        user = stack.pop()
        if user in seen:
            continue
        seen.add(user)
        if _reshapes_few(user, node):
            reshapes = True
        elif not _stays_on_row(decisions, user, node, row_shape):
            return None
        revisits = revisits or isinstance(user, moves.Expand)
        if user is root or _is_same_row_reduce(decisions, user, node):
            continue
        if user in decisions.in_memory or not decisions.facts.users[user]:
            return None
        stack.extend(decisions.facts.users[user])
    return None if reshapes and revisits else revisits


def _reshapes_few(user: Node, node: Reduce) -> bool:
    """Whether the sums of a few elements each are given another shape.

    What follows them is done where they are made, as for overlapping windows.
    """
    return (
        isinstance(user, moves.Reshape | moves.Permute)
        and user.numel == node.numel
        and node.source.numel <= FEW * node.numel
    )


def _stays_on_row(
    decisions: Decisions, user: Node, node: Reduce, row_shape: tuple[int, ...]
) -> bool:
    if isinstance(user, ops.Elementwise):
        return True
    if isinstance(user, moves.Reshape):
        return without_ones(user.shape) == without_ones(user.source.shape)
    if isinstance(user, moves.Expand):
        return without_ones(user.shape) == row_shape
    return _is_same_row_reduce(decisions, user, node) or _is_gather(
        decisions, user, node
    )


def _is_same_row_reduce(decisions: Decisions, user: Node, node: Reduce) -> bool:
    return (
        isinstance(user, Reduce)
        and user.source.shape == node.source.shape
        and user.dims == node.dims
        and decisions.facts.kinds[user] is Kind.ROW
    )


def _is_gather(decisions: Decisions, user: Node, node: Reduce) -> bool:
    """Whether a selection takes one element of each row that is reduced."""
    return (
        decisions.facts.kinds.get(user) is Kind.GATHER
        and without_ones(user.sources[0].shape) == without_ones(node.source.shape)
        and without_ones(user.shape) == without_ones(node.shape)
    )


def gathers_from_row(decisions: Decisions, node: Reduce) -> bool:
    """Whether a selection from rows is made with the rows' own statistics.

    Stored here, as the loss of a class is, the rows are read once: neither they
    nor their statistics go to memory.
    """
    statistics = _row_statistics(decisions, node)
    if not statistics or not all(
        _is_gather(decisions, node, entry)
        and _revisits_row(decisions, entry, node)
        and _row_is_worth_keeping(decisions.target, entry)
        for entry in statistics
    ):
        return False
    decisions.row_gathers.add(node)
    decisions.note(node, f"row: one element of each in {node.source.shape}")
    return True


def _row_statistics(decisions: Decisions, node: Reduce) -> set[Reduce]:
    """The reductions of rows that a value, element by element, is made with."""
    found: set[Reduce] = set()
    seen: set[Node] = set()
    stack = [node.source]
    while stack and len(seen) < MAXIMUM_ROW_NODES:
        current = stack.pop()
        if current in seen or current in decisions.in_memory:
            continue
        seen.add(current)
        if isinstance(current, moves.Expand):
            reduction = _repeated_reduction(decisions, current)
            if reduction is not None:
                found.add(reduction)
        elif isinstance(current, ops.Elementwise | moves.Reshape):
            stack += current.sources
    return found


def ends_a_row(decisions: Decisions, node: Node) -> bool:
    """Whether a value made with its row's statistics is about to leave that row.

    Stored here, the row is read once; inlined further, its statistics would be
    a kernel of their own, and the row would be read again.
    """
    if node in decisions.aligned or _is_made_again(decisions, node):
        return False
    return any(
        _is_row_statistic(decisions, expand, node)
        for expand in decisions.facts.expands.get(node, ())
    )


def _is_made_again(decisions: Decisions, node: Node) -> bool:
    """Whether several kernels had better make a value from its row and statistics.

    What a normalisation subtracts and divides by is little, and what it is of is often
    half as wide as the result: the more kernels read the result, the less it pays to
    write it. Not so in a softmax, whose maximum belongs to the one pass over its row.
    """
    readers = len(decisions.readers[node])
    if readers < 2 or _work_on_row(decisions, node) > MOST_REPEATED_WORK:
        return False
    reads = decisions.reads[node]
    statistics = sum(isinstance(entry, Reduce) for entry in reads)
    if not statistics or any(0 < decisions.depth(e) <= MOST_FEATURES for e in reads):
        return False
    read, own = sum(reads.values()), node.numel * node.dtype.itemsize
    if (statistics + readers) * read > read + (1 + readers) * own * 1.05:
        return False
    for entry in _on_row(decisions, node):
        if isinstance(entry, moves.Expand):
            decisions.factors.update(_factor_of(entry))
    return True


def _factor_of(expand: Node) -> Iterator[Node]:
    """The computed value, one for each row, that an Expand repeats along rows.

    Kernels that go down columns would compute it for every element.
    """
    current = expand.source
    while isinstance(current, moves.Reshape | ops.Cast):
        current = (
            current.source if isinstance(current, moves.Reshape) else current.operand
        )
    if isinstance(current, ops.Elementwise):
        yield current


def _work_on_row(decisions: Decisions, node: Node) -> float:
    """Operations for each element, without those on what a row has one of."""
    return sum(map(work_per_element, _on_row(decisions, node)))


def _on_row(decisions: Decisions, node: Node) -> list[Node]:
    """What a value is made of, element by element, up to what is in memory."""
    seen, stack = {node}, [node]
    while stack and len(seen) < MAXIMUM_ROW_NODES:
        for source in stack.pop().sources:
            is_whole = source.numel == node.numel and not isinstance(source, Reduce)
            if is_whole and source not in seen and source not in decisions.in_memory:
                seen.add(source)
                stack.append(source)
    return list(seen)


def _is_row_statistic(decisions: Decisions, expand: Node, node: Node) -> bool:
    """Whether an Expand repeats a reduction of this very row."""
    if expand not in decisions.repeated:
        decisions.repeated[expand] = _repeated_reduction(decisions, expand)
    found = decisions.repeated[expand]
    return (
        found is not None
        and without_ones(found.source.shape) == without_ones(node.shape)
        and _revisits_row(decisions, found, node) is not None
    )


def _repeated_reduction(decisions: Decisions, expand: Node) -> Reduce | None:
    """The reduction of a row that fits the cache, from which an Expand is made."""
    current = expand.source
    for _ in range(LONGEST_WAY_BACK):
        if isinstance(current, Reduce):
            is_row = decisions.facts.kinds[current] is Kind.ROW
            return current if is_row and _row_fits(decisions.target, current) else None
        if not isinstance(current, ops.Elementwise | moves.Reshape):
            return None
        reads = decisions.reads
        current = max(current.sources, key=lambda source: len(reads[source]))
    return None


def _row_fits(target: Target, node: Reduce) -> bool:
    source = node.source
    row_bytes: int = source.numel // max(node.numel, 1) * source.dtype.itemsize
    return row_bytes <= target.cache_bytes // 2


def without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """The sizes that say how many elements there are."""
    return tuple(size for size in shape if size != 1)
