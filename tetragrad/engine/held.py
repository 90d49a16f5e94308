"""Which values that somebody still holds are stored with the work that computes them.

The hidden state of a network, or its cache of keys, is carried from one turn of a loop
to the next and never read by itself. Unless it is stored when it is computed, each turn
computes all turns before it again. But a name may also hold what is only an
intermediate, scores of an attention say, and storing it could split a kernel.

So what is small is stored at once, and what is larger when values of its kind were
left out before and then had to be computed again. What is not computed on the way, but
little work from there (a running average, the states of all layers in one tensor), is
computed along with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from weakref import WeakSet

from tetragrad.core.dtypes import DType
from tetragrad.graph.host_call import HostCall
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.transfer import Transfer

#: What stays in a core's cache costs next to nothing to store.
SMALL = 256 << 10
#: Larger values are computed again rather than kept.
LARGEST = 64 << 20

#: How many nodes a value may be away from what is computed anyway.
LITTLE_WORK = 64

#: Values that were computed on the way, are still held, and were not stored.
_left_out: WeakSet[Node] = WeakSet()

#: Kinds of values that were left out, and then had to be computed again.
_computed_again: set[tuple[Shape, DType]] = set()


def within_reach(
    order: Sequence[Node], held: Sequence[Node], is_known: Callable[[Node], bool]
) -> list[Node]:
    """Held values that take little more than what is computed for others anyway.

    ``order`` has all nodes that these are computed from, and where that begins.
    """
    candidates = [node for node in held if _is_small(node)]
    reached = set(order) if candidates else set()
    return [node for node in candidates if _is_within_reach(node, reached, is_known)]


def _is_within_reach(
    node: Node, reached: set[Node], is_known: Callable[[Node], bool]
) -> bool:
    """Whether a value is computed from what is reached, by small steps, and few."""
    if node in reached and node.sources and not is_known(node):
        return False
    path, entered, touches = [node], {node}, False
    while path:
        current = path.pop()
        if not _is_small(current) or isinstance(current, Transfer | HostCall):
            return False
        for source in current.sources:
            if is_known(source):
                continue
            if source in reached and source.sources:
                touches = touches or source.device is not None
            elif source not in entered:
                entered.add(source)
                path.append(source)
        if len(entered) > LITTLE_WORK:
            return False
    return touches


def note_what_is_computed_again(order: Iterable[Node]) -> None:
    """Learn from a graph that is about to run."""
    if not _left_out:
        return
    for node in _left_out.intersection(order):
        _computed_again.add((node.shape, node.dtype))
        _left_out.discard(node)


def kinds_computed_again() -> int:
    """How much was learned so far: what is stored depends on it."""
    return len(_computed_again)


def worth_storing(held: Iterable[Node]) -> list[Node]:
    """Those of the held values of a graph that become results of their own."""
    return [node for node in held if _is_worth_storing(node)]


def note_what_is_left_out(holders: Iterable[Node]) -> None:
    """Remember what was computed, but not stored."""
    _left_out.update([node for node in holders if _nbytes(node) <= LARGEST])


def _is_worth_storing(node: Node) -> bool:
    if node.device is None:
        return False  # A constant, or positions: every kernel makes its own.
    if _is_small(node):
        return True
    return (node.shape, node.dtype) in _computed_again and _nbytes(node) <= LARGEST


def _is_small(node: Node) -> bool:
    return _nbytes(node) <= SMALL


def _nbytes(node: Node) -> int:
    return node.numel * node.dtype.itemsize
