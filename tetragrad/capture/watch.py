"""Which tensors from outside a captured function reads, and which it changes.

While a capture runs, the slots of ``Storage`` and of tensor handles are replaced by
descriptors that tell the watch of the capturing thread. All other code pays nothing.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

from tetragrad.capture.guards import kind_of_grad
from tetragrad.capture.lending import LentStorage
from tetragrad.engine import capture
from tetragrad.engine import realize as engine
from tetragrad.engine.capture import Recorder
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.markers import CustomGradient, Variable
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.storage import SharedStorage, Storage, View

_SLOT: Any = Storage.__dict__["value"]
_SHARED: Any = SharedStorage.__dict__["value"]


class _Value:
    """The value of any storage, as a descriptor that nobody watches."""

    def __get__(self, storage: Storage, cls: type | None = None) -> Node:
        if isinstance(storage, LentStorage):
            storage.give_back()
        raw = _SHARED if isinstance(storage, SharedStorage) else _SLOT
        return cast(Node, raw.__get__(storage))

    def __set__(self, storage: Storage, value: Node) -> None:
        if isinstance(storage, LentStorage):
            storage.give_back()
        if not isinstance(storage, SharedStorage):
            _SLOT.__set__(storage, value)


#: The slots themselves, past any watching.
VALUE: Any = _Value()
STORAGE: Any = TensorBase.__dict__["storage"]
STEPS: Any = TensorBase.__dict__["steps"]
GRAD: Any = TensorBase.__dict__["grad"]


@dataclass
class HandleNote:
    """A tensor from outside, and what it showed when it was first used."""

    handle: TensorBase
    storage: Storage
    steps: View


@dataclass
class GradNote:
    """The ``.grad`` of a tensor from outside, before anything changed it."""

    handle: TensorBase
    before: Any
    was_read: bool
    kind: tuple[Any, ...] | None


@dataclass
class WriteNote:
    """A storage from outside, and what it held before it was written."""

    storage: Storage
    value: Node
    tracked: bool


class Watch:
    """What one capture does to tensors that existed before it."""

    def __init__(self, recorder: Recorder, *, may_defer: bool) -> None:
        self.recorder = recorder
        self._may_defer = may_defer
        self.inputs: dict[int, tuple[Storage, Buffer]] = {}
        self.written: dict[int, WriteNote] = {}
        self.handles: dict[int, HandleNote] = {}
        self.grads: dict[int, GradNote] = {}
        #: Identities of storages and handles that were made inside of the capture.
        self.born: set[int] = set()
        # Those of which nothing more must be known when they are read.
        self.known_storages: set[int] = set()
        self.known_handles: set[int] = set()
        self._buffers: set[Buffer] = set()
        self._boundaries: list[tuple[Storage, Node]] = []

    def is_born(self, entry: object) -> bool:
        """Whether a storage or a handle was made inside of the capture."""
        return id(entry) in self.born

    # --- values of storages ----------------------------------------------------

    def read_value(self, storage: Storage) -> Node:
        key = id(storage)
        if isinstance(storage, SharedStorage) and key in self.inputs:
            return self.inputs[key][1]
        if key in self.born or key in self.inputs or key in self.written:
            if not isinstance(storage, SharedStorage):
                self.known_storages.add(key)
            found: Node = VALUE.__get__(storage)
            return found
        return self._first_read(storage)

    def read_argument(self, storage: Storage) -> None:
        """Take the value of an argument, which is computed first if it is pending."""
        if id(storage) not in self.inputs:
            self._take(storage, VALUE.__get__(storage))

    def _first_read(self, storage: Storage) -> Node:
        """Take a storage's value as an input of the capture."""
        node: Node = VALUE.__get__(storage)
        if self._may_defer and not isinstance(node, Buffer) and not storage.tracked:
            # Computed on its own, it could not be fused with what reads it.
            self.recorder.defer(engine.remembered())
            return node
        return self._take(storage, node)

    def _take(self, storage: Storage, node: Node) -> Node:
        with capture.recording(None):
            buffer = engine.realize([node])[0]
        if buffer in self._buffers:
            buffer = _alias(buffer)
        self._buffers.add(buffer)
        self.inputs[id(storage)] = (storage, buffer)
        if not storage.tracked:
            VALUE.__set__(storage, buffer)
            return buffer
        self._boundaries.append((storage, node))
        boundary = _boundary(buffer, self.recorder)
        VALUE.__set__(storage, boundary)
        return boundary

    def write_value(self, storage: Storage, value: Node) -> None:
        if isinstance(storage, SharedStorage):
            self._refuse_shared_write(storage, value)
            return
        key = id(storage)
        if key not in self.born and key not in self.written:
            old = _get(VALUE, storage)
            if old is None:
                self.born.add(key)
            else:
                self.written[key] = WriteNote(storage, old, storage.tracked)
        VALUE.__set__(storage, value)

    def _refuse_shared_write(self, storage: Storage, value: Node) -> None:
        known = self.inputs.get(id(storage))
        if known is None or value is not known[1]:
            self.recorder.refuse(
                "a tensor that shares the memory of a NumPy array is changed",
                hint="copy it first: Tensor(array)",
            )

    # --- handles ---------------------------------------------------------------

    def read_handle(self, slot: Any, handle: TensorBase) -> Any:
        self._note_handle(handle)
        return slot.__get__(handle)

    def write_handle(self, slot: Any, handle: TensorBase, value: Any) -> None:
        key = id(handle)
        if key not in self.known_handles:
            if _get(STORAGE, handle) is None:
                self.born.add(key)
            self._note_handle(handle)
        slot.__set__(handle, value)

    def _note_handle(self, handle: TensorBase) -> None:
        key = id(handle)
        if key not in self.born and key not in self.handles:
            storage, steps = STORAGE.__get__(handle), STEPS.__get__(handle)
            self.handles[key] = HandleNote(handle, storage, steps)
        self.known_handles.add(key)

    def read_grad(self, handle: TensorBase) -> Any:
        self._note_grad(handle, was_read=True)
        return GRAD.__get__(handle)

    def write_grad(self, handle: TensorBase, value: Any) -> None:
        self._note_grad(handle, was_read=False)
        GRAD.__set__(handle, value)

    def _note_grad(self, handle: TensorBase, *, was_read: bool) -> None:
        key = id(handle)
        if key not in self.born and key not in self.grads:
            before = _get(GRAD, handle)
            kind = kind_of_grad(before) if was_read else None
            self.grads[key] = GradNote(handle, before, was_read, kind)

    # --- afterwards ------------------------------------------------------------

    def remove_boundaries(self) -> None:
        """Give storages that carry a gradient their graph back."""
        for storage, node in self._boundaries:
            if id(storage) not in self.written:
                VALUE.__set__(storage, node)

    def roll_back(self) -> None:
        """Undo everything that was done to tensors from outside."""
        originals = {id(storage): node for storage, node in self._boundaries}
        for key, note in self.written.items():
            VALUE.__set__(note.storage, originals.get(key, note.value))
            note.storage.tracked = note.tracked
        for handle in self.handles.values():
            STORAGE.__set__(handle.handle, handle.storage)
            STEPS.__set__(handle.handle, handle.steps)
        for grad in self.grads.values():
            GRAD.__set__(grad.handle, grad.before)


def _get(slot: Any, owner: object) -> Any:
    """The content of a slot, or None if it was never set."""
    try:
        return slot.__get__(owner)
    except AttributeError:
        return None


def _alias(buffer: Buffer) -> Buffer:
    """Another buffer node on the same memory.

    Two tensors with equal values share a node. Inputs must not, or a replay could not
    tell them apart when their values differ. The alias holds the node, not only its
    memory, so that nothing takes the node for unused.
    """
    memory = buffer.memory.alias(buffer)
    return Buffer(memory, buffer.shape, buffer.dtype, buffer.device)


_boundary_keys = itertools.count(1)


def _boundary(buffer: Buffer, recorder: Recorder) -> Node:
    """A value that may be used, but that no gradient may pass."""
    # A variable makes every gradient that could go on come this way.
    variable = Variable(buffer, -next(_boundary_keys))

    def refuse(upstream: Node) -> tuple[Node | None, ...]:
        recorder.refuse(
            "a gradient flows back to a tensor that was computed outside,",
            hint="compute it inside, or pass x.detach()",
        )
        return (None,)

    return CustomGradient(variable, refuse, (variable,))


# --- watching ------------------------------------------------------------------------


class _Local(threading.local):
    watch: Watch | None = None


_local = _Local()
_install_lock = threading.Lock()
_installed = 0


class _WatchedSlot:
    """Stands in for a slot: tells the watch of this thread, if there is one.

    What the watch has nothing more to learn of is read at once: values and handles are
    read a hundred thousand times while a training step is captured.
    """

    def __init__(
        self,
        slot: Any,
        plain: Callable[[Watch], Container[int]],
        read: Callable[[Watch, Any], Any],
        write: Callable[[Watch, Any, Any], None],
    ) -> None:
        self._get = slot.__get__
        self._set = slot.__set__
        self._plain = plain
        self._read = read
        self._write = write

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        if owner is None:
            return self
        watch = _local.watch
        if watch is None or id(owner) in self._plain(watch):
            return self._get(owner)
        return self._read(watch, owner)

    def __set__(self, owner: Any, value: Any) -> None:
        watch = _local.watch
        if watch is None:
            self._set(owner, value)
        else:
            self._write(watch, owner, value)


def _watched_handle(slot: Any) -> _WatchedSlot:
    """A slot of a handle itself, which none of its views share."""

    def read(watch: Watch, handle: Any) -> Any:
        return watch.read_handle(slot, handle)

    def write(watch: Watch, handle: Any, value: Any) -> None:
        watch.write_handle(slot, handle, value)

    return _WatchedSlot(slot, attrgetter("known_handles"), read, write)


def _watched_value(slot: Any) -> _WatchedSlot:
    """The value of a storage."""
    known = attrgetter("known_storages")
    return _WatchedSlot(slot, known, Watch.read_value, Watch.write_value)


_SLOTS: list[tuple[type, str, Any, _WatchedSlot]] = [
    (Storage, "value", _SLOT, _watched_value(_SLOT)),
    (SharedStorage, "value", _SHARED, _watched_value(_SHARED)),
    (
        TensorBase,
        "grad",
        GRAD,
        _WatchedSlot(GRAD, attrgetter("born"), Watch.read_grad, Watch.write_grad),
    ),
    (TensorBase, "storage", STORAGE, _watched_handle(STORAGE)),
    (TensorBase, "steps", STEPS, _watched_handle(STEPS)),
]


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Tell a watch what this thread does to tensors."""
    _install(1)
    _local.watch = watch
    try:
        yield
    finally:
        _local.watch = None
        _install(-1)


def _install(change: int) -> None:
    """Watch the slots while any thread captures."""
    global _installed
    with _install_lock:
        before, _installed = _installed, _installed + change
        if (before > 0) == (_installed > 0):
            return
        for owner, name, slot, watched in _SLOTS:
            setattr(owner, name, watched if _installed else slot)
