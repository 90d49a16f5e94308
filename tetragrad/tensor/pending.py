"""When pending values run: what is asked for, with all that shares its work.

A graph that nobody reads runs too, before it is too long or keeps too much memory.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet, ref

from tetragrad.engine import capture
from tetragrad.engine import realize as engine
from tetragrad.engine.held import SMALL
from tetragrad.engine.memory import allocated_bytes
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node, interned_count, walk
from tetragrad.graph.samples import computed_from_samples
from tetragrad.tensor.storage import Storage, StorageSet, waiting

if TYPE_CHECKING:
    from tetragrad.tensor.base import TensorBase

Function = TypeVar("Function", bound=Callable[..., Any])

#: A pending graph of more nodes than this realizes itself.
PENDING_LIMIT = 50_000

#: So does one that keeps this many bytes of older values, when memory has grown.
PENDING_BYTES = 256 << 20

#: And one of a loop that nobody reads, after so many new nodes.
LOOP_LIMIT = 2_000

#: The same for a loop that was cut before: at its line, after a fraction of those.
ROUNDS = 8

#: So many more than a round before: otherwise what was pending then has run.
FEW_NODES = 16

#: The nodes of what has just run are still to be forgotten.
AFTER_A_LOOK = -1

_next_check = PENDING_LIMIT
_next_bytes = PENDING_BYTES
_next_loop = AFTER_A_LOOK

#: The line of the user's that was running when a graph was found to grow, with how many
#: nodes there were, and the line where such a graph ran: cut at one line, the rounds of
#: a loop are equal graphs.
_marked: tuple[CodeType, int] | None = None
_marked_nodes = 0
_first_nodes = 0
_cut_at: tuple[CodeType, int] | None = None

#: Code inside of which no graph is cut, by its identity.
_whole: dict[int, CodeType] = {}

#: Storages that must advance whenever anything runs: random generators' states.
effects = StorageSet()

#: Storages written in place or differentiated whose values are still pending. An
#: optimiser's step computes them with its own results, which share most of the work.
outstanding = StorageSet()


class _ReversePasses(threading.local):
    """What the reverse passes of this thread have to compute.

    ``given`` has the gradients for each storage that ``backward`` was called on,
    ``members`` all that belong to one pass for each of them, until that has run.
    """

    def __init__(self) -> None:
        self.given: WeakKeyDictionary[Storage, list[ref[Storage]]] = WeakKeyDictionary()
        self.members: WeakKeyDictionary[Storage, list[ref[Storage]]] = (
            WeakKeyDictionary()
        )

    def add(self, outputs: Iterable[Storage], gradients: Iterable[Storage]) -> None:
        """Note what one pass is from, and what it gives."""
        storages = [*outputs, *gradients]
        members = [ref(storage) for storage in storages]
        for storage in storages:
            self.members[storage] = members


reverse_passes = _ReversePasses()

#: Storages whose graph an optimiser's step must not end: ``retain_graph=True``.
kept_graphs: WeakSet[Storage] = WeakSet()

#: Storages whose graph an optimiser's step has ended.
ended_graphs: WeakSet[Storage] = WeakSet()


def realize_tensors(tensors: Iterable[TensorBase]) -> list[Buffer]:
    """Compute several tensors together, so that they can share kernels.

    Gives the buffer of each tensor's storage. A storage that no gradient needs
    the graph of lets go of it.
    """
    tensors = list(tensors)
    storages = [tensor.storage for tensor in tensors]
    known = _values_in_memory(storages)
    if known is not None:
        return known
    with _line_in_errors(tensors):
        return _realize(storages)


def realize_step(tensors: Iterable[TensorBase]) -> None:
    """Compute a step's results together with everything else that is outstanding.

    The losses that were differentiated let go of their graphs, unless they are to be
    kept: a program that collects its losses would keep every step's weights as well.
    """
    tensors = list(tensors)
    with _line_in_errors(tensors):
        _realize([*(tensor.storage for tensor in tensors), *outstanding])
    for storage in list(reverse_passes.given):
        if storage.tracked and storage not in kept_graphs:
            storage.value = engine.realize([storage.value])[0]
            storage.tracked = False
            ended_graphs.add(storage)
        reverse_passes.given.pop(storage, None)


def _realize(storages: list[Storage]) -> list[Buffer]:
    global _next_loop
    needed = _all_below(storages) if outstanding or reverse_passes.members else set()
    gradients = _of_passes(needed)
    written = [entry for entry in outstanding if entry.value in needed]
    # What pending writes make on the way is kept. Otherwise each read of what was
    # computed from it would run the writes again: a memory that is written to at
    # every step would cost more with each one.
    pending = list(dict.fromkeys([*storages, *gradients, *written, *effects]))
    others = _others(pending)
    held = [storage.value for storage in others]
    buffers = engine.realize([storage.value for storage in pending], held)
    for storage, buffer in zip(pending, buffers, strict=True):
        outstanding.discard(storage)
        reverse_passes.members.pop(storage, None)
        _settle(storage, buffer)
    for storage in others:
        _settle(storage, engine.known_values().get(storage.value))
    known = dict(zip(pending, buffers, strict=True))
    if _next_loop != sys.maxsize:
        _next_loop = min(_next_loop, interned_count() + LOOP_LIMIT)
    return [known[storage] for storage in storages]


def _values_in_memory(storages: list[Storage]) -> list[Buffer] | None:
    """The values, if all of them have run and nothing else has to."""
    if capture.active() is not None:
        return None
    found: list[Any] = [storage.value for storage in storages]
    wanted = [*found, *[storage.value for storage in effects]]
    if set(map(type, wanted)) - {Buffer}:
        return None
    if outstanding and any(storage in outstanding for storage in storages):
        return None
    return found


@contextmanager
def _line_in_errors(tensors: Sequence[TensorBase]) -> Iterator[None]:
    """Say in every error which of the user's lines asked for what could not run.

    Execution is lazy: the line that reads a value need not be where the mistake is.
    """
    try:
        yield
    except Exception as error:
        lines = dict.fromkeys(tensor.line for tensor in tensors)
        shown = ", ".join(itertools.islice(lines, 3))
        error.add_note(f"while computing the tensor made at {shown}")
        raise


def _others(asked: list[Storage]) -> list[Storage]:
    """All other storages that wait for their values."""
    if capture.active() is not None:
        return []
    known = set(asked)
    return _computable([storage for storage in waiting if storage not in known])


def _computable(storages: list[Storage]) -> list[Storage]:
    """Those that have values: within ``vmap`` not all do."""
    unknown = computed_from_samples([storage.value for storage in storages])
    return [storage for storage in storages if storage.value not in unknown]


def _settle(storage: Storage, buffer: Buffer | None) -> None:
    """The value has run: without a gradient, nothing needs its graph any more."""
    if buffer is None:
        return
    waiting.discard(storage)
    if not storage.tracked:
        storage.value = buffer


def _all_below(storages: list[Storage]) -> set[Node]:
    """Every node that values are computed from."""
    return set(walk([storage.value for storage in storages]))


def _of_passes(needed: set[Node]) -> list[Storage]:
    """All that reverse passes compute with what some values need of them.

    The gradients of a pass share their work, and the loss's. Whoever reads one after
    the other would otherwise run the whole pass for each.
    """
    members = reverse_passes.members
    passes = {
        id(one_pass): one_pass
        for storage, one_pass in list(members.items())
        if storage.value in needed
    }
    found = (entry() for one_pass in passes.values() for entry in one_pass)
    return _computable([entry for entry in found if entry is not None])


# --- before it is too much ------------------------------------------------------------


@contextmanager
def relief_paused() -> Iterator[None]:
    """Inside, no graph is run only because it is long: it may have no values yet."""
    global _next_check, _next_bytes, _next_loop
    before = _next_check, _next_bytes, _next_loop
    _next_check = _next_bytes = _next_loop = sys.maxsize
    try:
        yield
    finally:
        _next_check, _next_bytes, _next_loop = before


def relieve(tensor: TensorBase) -> None:
    """Realize a tensor whose pending graph has grown beyond the limit."""
    global _next_check
    if allocated_bytes() > _next_bytes:
        _relieve_memory(tensor)
    if interned_count() > _next_loop:
        _relieve_loop(tensor)
    if interned_count() <= _next_check:
        return
    pending = sum(1 for _ in walk([tensor.storage.value]))
    remaining = interned_count()
    if pending > PENDING_LIMIT:
        realize_tensors([tensor])
        # Its graph is gone as soon as the operation that made it returns.
        remaining -= pending
    # So many new nodes pay for this walk. Another tensor's may be the long graph, so
    # it must not be always the same operation of a loop that is looked at.
    patience = min(pending, PENDING_LIMIT // 2)
    _next_check = max(PENDING_LIMIT, remaining + patience)


def _relieve_memory(tensor: TensorBase) -> None:
    """Realize tensors that are still to be computed from many older values.

    An average that takes in new weights at every step, and is not read, would keep
    the weights of all steps.
    """
    global _next_bytes
    if capture.active() is not None:
        return
    heavy = [entry for entry in waiting if _bytes_kept_by(entry) > PENDING_BYTES]
    if heavy:
        with _line_in_errors([tensor]):
            _realize(heavy)
    _next_bytes = allocated_bytes() + PENDING_BYTES


def _bytes_kept_by(storage: Storage) -> int:
    """The size of all values in memory that a pending one is to be computed from."""
    leaves = (node for node in walk([storage.value]) if isinstance(node, Buffer))
    return sum(leaf.numel * leaf.dtype.itemsize for leaf in leaves)


# --- loops that nobody reads ----------------------------------------------------------


def keeps_whole(function: Function) -> Function:
    """Mark a function that no graph is cut in: each layer comes back to its lines."""
    _whole[id(function.__code__)] = function.__code__
    return function


def _relieve_loop(tensor: TensorBase) -> None:
    """Realize what a loop carries from round to round, where it comes back to a line.

    An evaluation that adds up its losses, a text that is sampled, or a simulation would
    otherwise be one ever longer graph. Nothing that a gradient needs is cut.
    """
    global _marked, _cut_at, _next_loop, _marked_nodes, _first_nodes
    nodes = interned_count()
    limit = LOOP_LIMIT if _cut_at is None else LOOP_LIMIT // ROUNDS
    if _next_loop == AFTER_A_LOOK:
        _first_nodes, _next_loop = nodes, nodes + limit
        return
    if tensor._origin != _cut_at and nodes < _first_nodes + LOOP_LIMIT:
        return
    grown = nodes - _marked_nodes
    if tensor._origin != _cut_at and (tensor._origin != _marked or grown < FEW_NODES):
        # Fewer nodes than at the mark are left of another time.
        is_stale = not 0 <= grown <= LOOP_LIMIT
        if (_marked is None or is_stale) and not _is_kept_whole():
            _marked, _marked_nodes = tensor._origin, nodes
        return
    if capture.active() is not None or _is_kept_whole():
        return
    carried = _carried()
    if any(_is_long(entry, limit) for entry in carried):
        _cut_at = tensor._origin
        with _line_in_errors([tensor]):
            _realize(carried)
    _expect_loops()


def _expect_loops() -> None:
    """Look again when there are so many nodes more than after this operation."""
    global _marked, _next_loop
    _marked, _next_loop = None, AFTER_A_LOOK


def _carried() -> list[Storage]:
    """Small values that somebody holds, and that no gradient has to do with."""
    differentiated = {entry.value for entry in waiting if entry.tracked}
    differentiated |= {entry.value for entry in list(reverse_passes.members)}
    small = [
        entry
        for entry in waiting
        if entry.value.numel * entry.value.dtype.itemsize <= SMALL
    ]
    known = engine.known_values()
    for node in walk([entry.value for entry in small], stop=known.__contains__):
        if node not in known and not differentiated.isdisjoint(node.sources):
            differentiated.add(node)
    return [entry for entry in small if entry.value not in differentiated]


def _is_long(storage: Storage, limit: int) -> bool:
    """Whether a value is to be computed from more nodes than a limit."""
    known = engine.known_values()
    entered, ahead = {storage.value}, [storage.value]
    while ahead and len(entered) <= limit:
        node = ahead.pop()
        if node not in known:
            ahead += set(node.sources) - entered
            entered.update(node.sources)
    return len(entered) > limit


def _is_kept_whole() -> bool:
    """Whether a function that keeps its graph whole is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if id(frame.f_code) in _whole:
            return True
        frame = frame.f_back
    return False
