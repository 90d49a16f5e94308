"""Whether anybody has touched the values that a replay overwrites, since the last one.

A training step overwrites hundreds of storages, and before each replay it would have to
look whether every one still has the value that the last replay left, and whether
somebody else holds that value. So where nobody did for some replays, the storages are
*lent*: they become :class:`LentStorage`, which is a storage like any other until its
value is read or written, by whatever thread. Then that is counted, and it is a plain
storage again. As long as nothing was counted there is nothing to look at, and a storage
that is not lent costs what it always did.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.changes import Changes
from tetragrad.graph.node import Node
from tetragrad.tensor.storage import Storage

#: At most so many replays pass until storages that were touched are lent again.
LONGEST_WAIT = 64
#: So many replays without a look are worth lending for.
WORTH_LENDING = 4

#: Each time when a lent storage is touched.
_touches = Changes()


class LentStorage(Storage):
    """A storage whose value nobody has read or written since it was lent."""

    __slots__ = ()

    def give_back(self) -> None:
        """Become a plain storage again, whose value is about to be touched."""
        self.__class__ = Storage  # type: ignore[assignment]
        # Before the value is known to anybody: a replay that begins then looks again.
        _touches.note()

    @property
    def value(self) -> Node:
        """The value, which from now on somebody may hold."""
        self.give_back()
        return self.value

    @value.setter
    def value(self, node: Node) -> None:
        self.give_back()
        self.value = node


class Lending:
    """The storages that one captured call overwrites, lent where that pays.

    To lend them takes longer than to look at them once. So storages that are touched
    again and again, as by an average of weights, are lent ever more rarely.

    Args:
        storages: all of those.
    """

    def __init__(self, storages: Sequence[Storage]) -> None:
        self._storages = storages
        #: The latest touch before they were lent, and the same once it is certain that
        #: nobody held a value then.
        self._latest = self._certain = -1
        self._replays = 0
        self._wait = self._left = 1

    def are_untouched(self) -> bool:
        """Whether nobody else has touched a value since a replay wrote to all."""
        if _touches.latest != self._certain:
            return False
        self._replays += 1
        return True

    def lend(self, values: Sequence[Node]) -> None:
        """Lend the storages, if it is time to, which were just found to hold values.

        Nobody may have looked yet who else holds these.
        """
        if self._certain >= 0:
            worked = self._replays >= WORTH_LENDING
            self._wait = 1 if worked else min(2 * self._wait, LONGEST_WAIT)
            self._left, self._certain, self._replays = self._wait, -1, 0
        self._latest = -1
        self._left -= 1
        if self._left > 0:
            return
        latest = _touches.latest
        for storage in self._storages:
            storage.__class__ = LentStorage
        # Another thread may have written just before they were lent.
        if list(map(_CONTENT, self._storages)) == values:
            self._latest = latest

    def confirm(self) -> None:
        """After a replay: it found that nobody else held any value."""
        self._certain = self._latest


_CONTENT = Storage.__dict__["value"].__get__
