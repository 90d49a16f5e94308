"""The table by which equal values are one object, for as long as somebody holds it.

What ``WeakValueDictionary`` does with fewer steps: every node of a graph and of a
kernel's expressions is looked up here when it is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Generic, TypeVar
from weakref import ref

Value = TypeVar("Value")


class Interned(Generic[Value]):
    """Values by key; one that nobody holds any more is forgotten."""

    def __init__(self) -> None:
        #: Where a value is looked up first, without a lock; it may just have died.
        self.references: dict[Hashable, ref[Value]] = {}
        self._lock = threading.RLock()

    def added(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, which is made unless another thread was quicker."""
        with self._lock:
            reference = self.references.get(key)
            value = reference() if reference is not None else None
            if value is None:
                value = make()
                self.references[key] = ref(value, partial(self._forget, key))
            return value

    def _forget(self, key: Hashable, reference: ref[Value]) -> None:
        """Drop an entry, unless the key already has a new value."""
        with self._lock:
            if self.references.get(key) is reference:
                del self.references[key]

    def values(self) -> list[Value]:
        """All values that somebody holds."""
        held = [reference() for reference in list(self.references.values())]
        return [value for value in held if value is not None]
