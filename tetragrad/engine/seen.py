"""Graphs that have run before, recognised as they are asked for.

To run a graph, its markers are removed, what has run becomes buffers, and a key is made
of the result: all of it is built anew. A program that runs step after step asks for the
same graphs every time. They are known by their *outline*, which one walk over the graph
as it stands gives, markers and all; what the work led to the first time is remembered
under it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.engine.schedule import Schedule
from tetragrad.graph.host_call import HostCall
from tetragrad.graph.leaves import (
    Buffer,
    Constant,
    LaunchValue,
    is_given_at_launch,
    launch_signature,
)
from tetragrad.graph.markers import InRange, Marker
from tetragrad.graph.node import Node
from tetragrad.graph.transfer import Transfer

#: How long all outlines that are remembered may be together; the oldest is forgotten.
MAXIMUM_LENGTH = 8 << 20

#: Where a value comes from: a result of the schedule, or (as -1 - position) a leaf.
Place = int


@frozen(slots=True)
class Outline:
    """What a graph computes, and on what: two of equal keys do the same.

    ``held`` are those of the held values that the graph computes on its way, and
    ``checks`` the indices that must be in range, in the order of the walk.
    """

    key: tuple[Hashable, ...]
    leaves: tuple[Buffer, ...]
    constants: tuple[LaunchValue, ...]
    held: tuple[Node, ...]
    checks: tuple[InRange, ...]


@frozen(slots=True)
class Ran:
    """A schedule that has run: on what, and the values that it gave.

    It is None if it serves several outlines, with arguments of its own.
    """

    schedule: Schedule | None
    device: str
    leaves: tuple[Buffer, ...]
    constants: tuple[LaunchValue, ...]
    results: tuple[Node, ...]


@frozen(slots=True)
class Seen:
    """What running a graph led to, in terms of its outline.

    ``leaves`` and ``constants`` are what the schedule takes, as positions in the
    outline's. A held value that was not stored has no place.
    """

    schedule: Schedule | None
    device: str
    leaves: tuple[int, ...]
    constants: tuple[int, ...]
    asked: tuple[Place, ...]
    held: tuple[Place | None, ...]
    checks: tuple[Place, ...]


def outline_of(
    order: Sequence[Node],
    asked: Sequence[Node],
    held: Iterable[Node],
    realized: Mapping[Node, Buffer],
    state: Hashable,
) -> Outline | None:
    """The outline of a graph; None if some of it must be looked at more closely.

    Args:
        order: every node, sources first.
        asked: the outputs.
        held: values that somebody holds.
        realized: what has run.
        state: what else decides about the schedule.
    """
    numbering = _Numbering(realized)
    if not numbering.takes(order):
        return None
    number, parts = numbering.number, numbering.parts
    known = [node for node in held if node in number]
    parts.append(state)
    parts += [number[node] for node in asked]
    parts.append(None)
    parts += [number[node] for node in known]
    return Outline(
        tuple(parts),
        tuple(numbering.leaves),
        tuple(numbering.constants),
        tuple(known),
        tuple(numbering.checks),
    )


#: What is no part of a kernel.
_BOUNDARIES = (Marker, Transfer, HostCall)


class _Numbering:
    """The nodes of a graph as numbers, with what tells them from others as parts.

    A class stands in front of the numbers of its sources, so that parts of different
    graphs cannot be the same. Markers have the numbers of what they mark.
    """

    def __init__(self, realized: Mapping[Node, Buffer]) -> None:
        self.number: dict[Node, int] = {}
        self.parts: list[Any] = []
        self.leaves: list[Buffer] = []
        self.constants: list[LaunchValue] = []
        self.checks: list[InRange] = []
        self._count = 0
        self._realized = realized

    def takes(self, order: Iterable[Node]) -> bool:
        """Number nodes, sources first; False if one cannot be."""
        number, parts, known = self.number, self.parts, self._realized.get
        for node in order:
            sources = node.sources
            if not sources:
                self._take_leaf(node)
                continue
            buffer = None if node.device is None else known(node)
            if buffer is not None:
                self._take_leaf(buffer)
                number[node] = number[buffer]
            elif isinstance(node, _BOUNDARIES):
                if not self._takes_marker(node):
                    return False
            else:
                parts.append(type(node))
                for source in sources:
                    parts.append(number[source])
                rest = node.arguments
                if len(sources) < len(rest):
                    parts.append(tuple([e for e in rest if not isinstance(e, Node)]))
                number[node] = self._count
                self._count += 1
        return True

    def _take_leaf(self, node: Node) -> None:
        if node in self.number:
            return  # A buffer, and what has run and gave it.
        if isinstance(node, Buffer):
            self.leaves.append(node)
            self.parts += (Buffer, node.shape, node.dtype, node.device)
        elif is_given_at_launch(node):
            self.constants.append(node)
            self.parts += (Constant, launch_signature(node))
        else:
            self.parts += (type(node), node.arguments)
        self.number[node] = self._count
        self._count += 1

    def _takes_marker(self, node: Node) -> bool:
        """A marker, unless a constant stands behind it, to be computed with now."""
        if not isinstance(node, Marker) or node.device is None:
            return False
        self.number[node] = self.number[node.sources[0]]
        if isinstance(node, InRange):
            self.checks.append(node)
            self.parts += (InRange, self.number[node.worst])
        return True


# --- what is remembered ---------------------------------------------------------------


_seen: dict[tuple[Hashable, ...], Seen] = {}
_length = 0


def seen_before(outline: Outline) -> Seen | None:
    """What running such a graph led to, if one has run."""
    return _seen.get(outline.key)


def remember(outline: Outline, seen: Seen) -> None:
    """What running a graph has led to."""
    global _length
    if outline.key not in _seen:
        _length += len(outline.key)
    _seen[outline.key] = seen
    while _length > MAXIMUM_LENGTH:
        oldest = next(iter(_seen))
        _length -= len(oldest)
        del _seen[oldest]


def forget_seen() -> None:
    """Forget all outlines."""
    global _length
    _seen.clear()
    _length = 0


def described(
    outline: Outline,
    runs: Sequence[Ran],
    plain: Sequence[Node],
    held: Mapping[Node, Node],
    checks: Mapping[InRange, Node],
) -> Seen | None:
    """What has run, in terms of its outline; None if it was not of one schedule.

    Args:
        outline: of the graph as it was asked for.
        runs: what came of it.
        plain: what became of the nodes that were asked for.
        held: what became of the held values.
        checks: what became of the worst elements.
    """
    leaves = {leaf: position for position, leaf in enumerate(outline.leaves)}
    constants = {node: position for position, node in enumerate(outline.constants)}
    places: dict[Node, Place] = {leaf: -1 - place for leaf, place in leaves.items()}
    if not runs:
        ran = Ran(None, "", (), (), ())
    elif len(runs) == 1 and runs[0].schedule is not None:
        ran = runs[0]
    else:
        return None
    places |= {node: position for position, node in enumerate(ran.results)}
    try:
        return Seen(
            ran.schedule,
            ran.device,
            tuple([leaves[leaf] for leaf in ran.leaves]),
            tuple([constants[node] for node in ran.constants]),
            tuple([places[node] for node in plain]),
            tuple([places.get(held.get(node, node)) for node in outline.held]),
            tuple([places[checks[index]] for index in outline.checks]),
        )
    except KeyError:
        return None  # A value was found that the outline does not know of.
