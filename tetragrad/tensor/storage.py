"""Where a tensor's value lives, shared with all of its views.

A value is never changed: an in-place operation builds the next value and puts it
in the storage, and every view sees it because a view is only a list of steps.
Whoever still needs the old value (a gradient) keeps the old node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tetragrad.core.dtypes import DType, bool_, from_numpy
from tetragrad.core.errors import ExchangeError, ShapeError
from tetragrad.core.frozen import frozen
from tetragrad.engine import realize as engine
from tetragrad.engine.memory import Memory
from tetragrad.graph.elementwise import Where
from tetragrad.graph.leaves import Buffer, constant
from tetragrad.graph.markers import CustomGradient, Detached, Variable
from tetragrad.graph.movement import Expand, Movement, Window, broadcast_to
from tetragrad.graph.node import Node, Shape


class ViewStep:
    """One step from a storage's value to what a tensor shows of it."""

    __slots__ = ()

    def apply(self, node: Node) -> Node:
        """The view of a value."""
        raise NotImplementedError

    def write(self, old: Node, new: Node) -> Node:
        """``old`` with its view replaced by ``new``; a marker hides nothing."""
        return new


@frozen(slots=True)
class Moved(ViewStep):
    """A movement: its class and the arguments after the source."""

    movement: type[Movement]
    arguments: tuple[Any, ...]

    def apply(self, node: Node) -> Node:
        return self.movement(node, *self.arguments)

    def write(self, old: Node, new: Node) -> Node:
        # Built without local algebra, which could merge it with the movement before.
        view = self.movement.build((old, *self.arguments))
        if _overlaps(view):
            raise ShapeError(
                f"in-place write to an expanded view of shape {view.shape}: several "
                "of its elements are one element in memory",
                hint="write to x.clone(), or assign the result to a new name",
            )
        everywhere = broadcast_to(constant(True, bool_), view.shape)
        inside = _adjoint(view, everywhere, old)
        return Where(inside, _adjoint(view, new, old), old)


@frozen(slots=True)
class Stopped(ViewStep):
    """From here on no gradient flows back: ``detach()``."""

    def apply(self, node: Node) -> Node:
        return Detached(node)


@frozen(slots=True)
class Collected(ViewStep):
    """Gradients arrive here: at a leaf, or where ``retain_grad()`` was called."""

    key: int
    is_leaf: bool

    def apply(self, node: Node) -> Node:
        return Variable(node, self.key)


@frozen(slots=True)
class Hooked(ViewStep):
    """Functions of the user's see, and may replace, the gradient, one after another."""

    rules: tuple[Callable[[Node], Node], ...]

    def apply(self, node: Node) -> Node:
        return CustomGradient(node, self.passed, (node,))

    def passed(self, upstream: Node) -> tuple[Node]:
        """The gradient after all rules."""
        for rule in self.rules:
            upstream = rule(upstream)
        return (upstream,)


@frozen(slots=True)
class Read(ViewStep):
    """From here on the last dimension holds the two parts of complex numbers.

    Or no longer: the last step of this kind counts. The value stays as it is.
    """

    as_complex: bool

    def apply(self, node: Node) -> Node:
        return node


View = tuple[ViewStep, ...]

AS_COMPLEX = Read(True)
AS_REAL = Read(False)


def shows_complex(view: View) -> bool:
    """Whether a view's elements are complex numbers: pairs along the last dimension."""
    for step in reversed(view):
        if isinstance(step, Read):
            return step.as_complex
    return False


def _overlaps(view: Node) -> bool:
    """Whether several elements of a view are one element of what it shows."""
    if isinstance(view, Window):
        return view.stride <= (view.size - 1) * view.dilation
    return isinstance(view, Expand) and bool(view.expanded_dims)


def _adjoint(view: Node, value: Node, old: Node) -> Node:
    """Place a value of the view's shape back into the shape of the viewed."""
    placed = view.gradient(value)[0]
    assert placed is not None and placed.shape == old.shape
    return placed


class Storage:
    """The current value of a tensor and of all its views.

    ``tracked`` says that the value was computed from something that collects
    gradients, so that its graph must be kept.
    """

    __slots__ = ("__weakref__", "tracked", "value")

    def __init__(self, value: Node, *, tracked: bool) -> None:
        self.value = value
        self.tracked = tracked
        if value.sources:
            waiting.add(self)

    @property
    def shape(self) -> Shape:
        """The value's shape."""
        return self.value.shape

    @property
    def dtype(self) -> DType:
        """The value's dtype."""
        return self.value.dtype

    @property
    def home(self) -> str | None:
        """The device of the value, if it has one."""
        return self.value.device

    def read(self, view: View) -> Node:
        """The value as a view sees it."""
        node = self.value
        for step in view:
            node = step.apply(node)
        return node

    def write(self, view: View, new: Node) -> None:
        """Replace what a view shows; every other view of the storage sees it."""
        self.value = _write(self.value, view, new)
        waiting.add(self)

    def carries_gradient(self, view: View) -> bool:
        """Whether gradients flow from this view of the value."""
        for step in reversed(view):
            if isinstance(step, Collected):
                return True
            if isinstance(step, Stopped):
                return False
        return self.tracked


class SharedStorage(Storage):
    """Memory that belongs to a NumPy array, which anybody may change at any time.

    So every read is of a new buffer, whose value nothing remembers, and every write
    goes to the array at once.
    """

    __slots__ = ("array", "device")

    def __init__(self, array: np.ndarray, device: str) -> None:
        self.array = array
        self.device = device
        self.tracked = False

    # What does not change is answered without making a buffer.

    @property
    def shape(self) -> Shape:
        """The array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> DType:
        """The array's dtype."""
        return from_numpy(self.array.dtype)

    @property
    def home(self) -> str | None:
        """The device whose memory the array's is."""
        return self.device

    @property
    def value(self) -> Node:
        """A buffer on the array's memory as it is now."""
        dtype = from_numpy(self.array.dtype)
        memory = Memory(self.array.reshape(-1).view(np.uint8), self.array)
        return Buffer(memory, self.array.shape, dtype, self.device)

    @value.setter
    def value(self, node: Node) -> None:
        elements = engine.read_buffer(engine.realize([node])[0])
        if np.may_share_memory(elements, self.array):
            return
        if not self.array.flags.writeable:
            raise ExchangeError(
                "an in-place operation on memory that another library lent for "
                "reading only",
                hint="write to x.clone()",
            )
        self.array[...] = elements


def _write(old: Node, view: View, new: Node) -> Node:
    if not view:
        return new
    first, *rest = view
    return first.write(old, _write(first.apply(old), tuple(rest), new))


class StorageSet(threading.local):
    """Storages in the order in which they were added; dead ones drop out.

    Each thread has its own: what one thread is changing, no other may compute.
    What runs together is run in this order, so it must not depend on addresses as
    the order of a set does: the schedule's key would change from step to step.
    """

    def __init__(self) -> None:
        self._entries: WeakKeyDictionary[Storage, None] = WeakKeyDictionary()

    def add(self, storage: Storage) -> None:
        """Add at the end, unless it is there already."""
        self._entries[storage] = None

    def update(self, storages: Iterable[Storage]) -> None:
        """Add several."""
        for storage in storages:
            self.add(storage)

    def discard(self, storage: Storage) -> None:
        """Remove, if it is there."""
        self._entries.pop(storage, None)

    def __contains__(self, storage: Storage) -> bool:
        return storage in self._entries

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __iter__(self) -> Iterator[Storage]:
        # Several times faster than the dictionary's own iterator.
        entries = [reference() for reference in self._entries.keyrefs()]
        return iter([entry for entry in entries if entry is not None])


#: Storages whose value may still be pending. What happens to be stored while others
#: are computed is kept for them, so that it is not computed a second time.
waiting = StorageSet()
