"""The table by which equal values are one object, for as long as somebody holds it.

What ``WeakValueDictionary`` does with fewer steps: every node of a graph and of a
kernel's expressions is looked up here when it is made.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import ref

Value = TypeVar("Value")


class _Reference(ref[Value]):
    """A weak reference that knows the key of its entry."""

    __slots__ = ("key",)
    key: Hashable


class Interned(Generic[Value]):
    """Values by key; one that nobody holds any more is forgotten."""

    def __init__(self) -> None:
        #: Where a value is looked up first, without a lock; it may just have died.
        self.references: dict[Hashable, _Reference[Value]] = {}
        self._lock = threading.RLock()

    def added(self, key: Hashable, make: Callable[[Any], Value], given: Any) -> Value:
        """The value of a key: ``make(given)``, unless another thread was quicker."""
        value = make(given)
        reference = _Reference(value, self._forget)
        reference.key = key
        # One step, between which no other thread runs.
        if self.references.setdefault(key, reference) is reference:
            return value
        with self._lock:
            other = self.references.get(key)
            known = other() if other is not None else None
            if known is not None:
                return known
            self.references[key] = reference
            return value

    def _forget(
        self,
        reference: _Reference[Value],
        is_exiting: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        """Drop an entry, unless the key already has a new value."""
        if is_exiting():
            # Modules are emptied by and by, so that keys cannot be compared.
            return
        with self._lock:
            if self.references.get(reference.key) is reference:
                del self.references[reference.key]

    def values(self) -> list[Value]:
        """All values that somebody holds."""
        held = [reference() for reference in list(self.references.values())]
        return [value for value in held if value is not None]
