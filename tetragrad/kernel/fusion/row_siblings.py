"""The join of kernels that go over the same rows, one after the other.

Before → after, for a layer norm whose gradient reads what it stores:

    d = x - mean(x);  v = sum(d * d);  h = d / sqrt(v)    three kernels store d, v and h
    [v, h] = …                                            one stores what others read

A row kernel may so have results of two kinds: whole rows, and one number for each of
them. Must run after ``siblings.py``, whose kernels are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node, Shape, size_of
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.analysis import Analysis, Kind
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.fusion.row_join import without_ones
from tetragrad.kernel.fusion.siblings import Joining, Member

#: Rows for each unit, at least: fewer had better be divided among units.
ROWS_A_UNIT = 2


@frozen
class Rows:
    """The elements that a kernel goes over, and the dimensions of one row of them.

    ``dims`` is None where nothing is reduced: then any dimensions will do.
    """

    shape: Shape
    dims: tuple[int, ...] | None

    @property
    def one_each(self) -> Shape:
        """The shape of what there is one of for each row."""
        dims = self.dims or ()
        return tuple(1 if dim in dims else n for dim, n in enumerate(self.shape))

    def are_of(self, roots: Sequence[Node]) -> bool:
        """Whether results are whole rows, or one number for each."""
        return all(root.shape in (self.shape, self.one_each) for root in roots)


def join_row_siblings(
    groups: Sequence[Group], wanted: Set[Node], facts: Analysis, target: Target
) -> list[Group]:
    """Join what may be joined, and store no more what nobody else reads."""
    if not target.has_free_iterations or Kind.ROW not in facts.kinds.values():
        return list(groups)
    joining = _RowJoining(groups, facts, target)
    found = joining.joined()
    for group in found:
        if len(group.roots) > 1:
            joining.drop_unread(group, wanted)
    return found


class _RowJoining(Joining):
    """The rows of each kernel decide what it may be joined with."""

    def __init__(
        self, groups: Sequence[Group], facts: Analysis, target: Target
    ) -> None:
        in_memory = {root for group in groups for root in group.roots}
        super().__init__(groups, in_memory)
        self.facts, self.target = facts, target
        self.rows: dict[int, Rows] = {}

    def domain(
        self, member: Member, reduces: Sequence[Reduce]
    ) -> tuple[object, ...] | None:
        rows = self._rows_of(member, reduces)
        if rows is None:
            return None
        self.rows[id(member)] = rows
        return (rows.shape, member.group.roots[0].device)

    def _rows_of(self, member: Member, reduces: Sequence[Reduce]) -> Rows | None:
        """What the kernel goes over, if it does so row by row or in any order."""
        roots = member.group.roots
        if not reduces:
            shape = roots[0].shape
            is_one = all(root.shape == shape for root in roots)
            return Rows(shape, None) if is_one and size_of(shape) > 1 else None
        first = reduces[0]
        rows = Rows(first.source.shape, first.dims)
        if any(
            self.facts.kinds[entry] is not Kind.ROW
            or (entry.source.shape, entry.dims) != (rows.shape, rows.dims)
            for entry in reduces
        ):
            return None
        if not _is_innermost(rows) or not rows.are_of(roots):
            return None
        count = size_of(rows.one_each)
        length = size_of(rows.shape) // max(1, count)
        enough = ROWS_A_UNIT * self.target.units
        # Blocks that share a row would wait for one another at every pass.
        fits = length * self.target.neighbours <= self.target.longest_kept_row
        return rows if fits and count >= enough else None

    def may_join(self, early: Member, late: Member) -> bool:
        first, second = self.rows[id(early)], self.rows[id(late)]
        dims = {rows.dims for rows in (first, second)} - {None}
        if len(dims) != 1:
            return False
        rows = Rows(first.shape, dims.pop())
        whole = size_of(rows.shape)
        feeds = [root for root in early.group.roots if root in late.reads]
        shares = [node for node in early.reads & late.reads if node.numel == whole]
        if not shares and not any(root.numel == whole for root in feeds):
            return False
        if not all(_stays_on_row(root, late, rows) for root in feeds):
            return False
        self.rows[id(early)] = rows
        return True

    def drop_unread(self, group: Group, wanted: Set[Node]) -> None:
        """Store only what others read, and what is asked for."""
        others = {
            node
            for member in self.members
            if member.group is not group and member.group.roots
            for node in member.reads
        }
        kept = [root for root in group.roots if root in others or root in wanted]
        group.roots[:] = kept or group.roots


def _is_innermost(rows: Rows) -> bool:
    """Whether a row lies together in memory."""
    dims = rows.dims or ()
    long = [dim for dim, size in enumerate(rows.shape) if size > 1]
    reduced = [dim for dim in long if dim in dims]
    return bool(reduced) and long[-len(reduced) :] == reduced


def _stays_on_row(root: Node, member: Member, rows: Rows) -> bool:
    """Whether the member reads a value on the row that it belongs to, only."""
    reached = _made_with(root, member)
    return all(
        isinstance(node, ops.Elementwise) or _is_on_row(node, rows) for node in reached
    )


def _made_with(root: Node, member: Member) -> list[Node]:
    """What the member computes inline that depends on a value it reads."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(node, False) for node in member.group.roots]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
        elif node not in seen and node not in member.reads:
            seen.add(node)
            stack.append((node, True))
            stack += [(source, False) for source in node.sources]
    found = {root}
    for node in order:
        if not found.isdisjoint(node.sources):
            found.add(node)
    return [node for node in order if node in found]


def _is_on_row(node: Node, rows: Rows) -> bool:
    if isinstance(node, Reduce):
        return (node.source.shape, node.dims) == (rows.shape, rows.dims)
    if isinstance(node, moves.Reshape):
        return without_ones(node.shape) == without_ones(node.source.shape)
    if not isinstance(node, moves.Expand):
        return False
    return without_ones(node.shape) == without_ones(rows.shape) and (
        without_ones(node.source.shape) == without_ones(rows.one_each)
    )
