"""The sibling join: kernels over one domain that share values become one kernel.

Before → after, for an optimiser's step on one parameter:

    m' = f(m, g);  v' = h(v, g);  p' = p - r * m' / sqrt(v')      three kernels
    [m', v', p'] = …                                              one, g read once
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Constant, Iota
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Reduce
from tetragrad.kernel.fusion.groups import Group

MAXIMUM_OUTPUTS = 8
#: Kernels of more nodes gain little by reading together, and are equal less often.
MAXIMUM_NODES = 128
RECENT = 8  # How many earlier groups of one domain are looked at.


def join_siblings(
    groups: Sequence[Group], in_memory: Set[Node], contractions: Set[Node]
) -> list[Group]:
    """Join what may be joined; the result is in an order that can run."""
    return _Siblings(groups, in_memory, contractions).joined()


@dataclass
class Member:
    """A group with what decides whether it may be joined."""

    group: Group
    reads: set[Node]
    nodes: int
    domain: tuple[object, ...] | None = None
    needs: int = 0  # Bit set of the members it depends on, directly or not.
    direct: int = 0


class Joining:
    """Groups in order, each joined with an earlier one where a subclass allows it."""

    def __init__(self, groups: Sequence[Group], in_memory: Set[Node]) -> None:
        self.groups, self.in_memory = groups, in_memory
        self.members: list[Member] = []

    def domain(
        self, member: Member, reduces: Sequence[Reduce]
    ) -> tuple[object, ...] | None:
        """Only groups with equal domains may be joined; None with no other."""
        raise NotImplementedError

    def may_join(self, early: Member, late: Member) -> bool:
        """Whether joining these two pays, and each value is there when it is read."""
        raise NotImplementedError

    def joined(self) -> list[Group]:
        """The groups that are left, in an order that can run."""
        members = self.members
        owner: dict[Node, int] = {}
        recent: dict[tuple[object, ...], list[int]] = {}
        for group in self.groups:
            position = len(members)
            member = self._described(group)
            for node in member.reads:
                if node in owner:
                    dependency = owner[node]
                    member.direct |= 1 << dependency
                    member.needs |= members[dependency].needs | 1 << dependency
            members.append(member)
            for root in group.roots:
                owner[root] = position
            if member.domain is None:
                continue
            peers = recent.setdefault(member.domain, [])
            for peer in reversed(peers):
                if self._may_join(peer, position):
                    _join(members, owner, peer, position)
                    break
            else:
                peers.append(position)
                del peers[:-RECENT]
        return _in_order([member for member in members if member.group.roots], owner)

    def _described(self, group: Group) -> Member:
        """The group's domain, and what it reads from memory."""
        reads: set[Node] = set()
        reduces: list[Reduce] = []
        seen = set(group.roots)
        stack = list(group.roots)
        while stack:
            node = stack.pop()
            if isinstance(node, Reduce):
                reduces.append(node)
            for source in node.sources:
                if source in seen:
                    continue
                seen.add(source)
                if source in self.in_memory or not source.sources:
                    reads.add(source)
                else:
                    stack.append(source)
        member = Member(group, reads, len(seen))
        member.domain = self.domain(member, reduces)
        return member

    def _may_join(self, first: int, second: int) -> bool:
        """Whether joining pays, and no third group stands between the two."""
        members = self.members
        early, late = members[first], members[second]
        if len(early.group.roots) + len(late.group.roots) > MAXIMUM_OUTPUTS:
            return False
        if early.nodes + late.nodes > MAXIMUM_NODES:
            return False
        if not self.may_join(early, late):
            return False
        between = late.direct & ~(1 << first)
        return not any(
            members[position].needs >> first & 1 for position in _bits(between)
        ) and not any(
            members[position].needs >> second & 1 for position in _bits(early.direct)
        )


class _Siblings(Joining):
    """Groups of one result each, over the same loops."""

    def __init__(
        self, groups: Sequence[Group], in_memory: Set[Node], contractions: Set[Node]
    ) -> None:
        super().__init__(groups, in_memory)
        self._contractions = contractions

    def domain(
        self, member: Member, reduces: Sequence[Reduce]
    ) -> tuple[object, ...] | None:
        root, *others = member.group.roots
        if others or any(node in self._contractions for node in reduces):
            return None
        if not reduces:
            return ("map", root.shape, root.device)
        if len(reduces) == 1 and root.numel == reduces[0].numel:
            (reduce,) = reduces
            return ("reduce", root.shape, reduce.source.shape, reduce.dims, root.device)
        return None

    def may_join(self, early: Member, late: Member) -> bool:
        feeds = [root for root in early.group.roots if root in late.reads]
        shares = any(
            node.numel > 1 and not isinstance(node, Constant | Iota)
            for node in early.reads & late.reads
        )
        if not feeds and not shares:
            return False
        return all(_reads_in_place(root, late) for root in feeds)


def _reads_in_place(root: Node, member: Member) -> bool:
    """Whether the member reads each element of ``root`` where it is, only."""
    stack = list(member.group.roots)
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen or node in member.reads:
            continue
        seen.add(node)
        if isinstance(node, moves.Movement) and _reaches(node, root, member.reads):
            return False
        stack.extend(node.sources)
    return True


def _reaches(node: Node, root: Node, reads: Set[Node]) -> bool:
    """Whether a value computed inline depends on ``root``."""
    stack, seen = [node], set()
    while stack:
        current = stack.pop()
        if current is root:
            return True
        if current not in seen and current not in reads:
            seen.add(current)
            stack.extend(current.sources)
    return False


def _join(
    members: list[Member], owner: dict[Node, int], first: int, second: int
) -> None:
    """Move the later group's roots into the earlier one."""
    early, late = members[first], members[second]
    for root in late.group.roots:
        owner[root] = first
    names = f"{len(early.group.roots)} + {len(late.group.roots)} outputs"
    early.group.reasons.extend([*late.group.reasons, f"sibling: {names}"])
    early.group.roots.extend(late.group.roots)
    early.nodes += late.nodes
    early.reads = (early.reads | late.reads) - set(early.group.roots)
    added = (late.needs | early.needs) & ~(1 << first) & ~(1 << second)
    early.needs = added
    early.direct = (early.direct | late.direct) & ~(1 << first) & ~(1 << second)
    late.group.roots = []
    late.needs = late.direct = 0
    for member in members:
        if member.needs >> first & 1:
            member.needs |= added
        if member.direct >> second & 1 or member.needs >> second & 1:
            member.needs |= 1 << first


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def _in_order(members: Sequence[Member], owner: dict[Node, int]) -> list[Group]:
    """Groups after the groups they read from; otherwise as they came."""
    by_root = {id(root): member for member in members for root in member.group.roots}
    finished: list[Group] = []
    done: set[int] = set()
    for start in members:
        stack = [(start, False)]
        while stack:
            member, expanded = stack.pop()
            if id(member) in done:
                continue
            if expanded:
                done.add(id(member))
                finished.append(member.group)
                continue
            stack.append((member, True))
            for node in member.reads:
                needed = by_root.get(id(node))
                if needed is not None and needed is not member:
                    stack.append((needed, False))
    return finished
