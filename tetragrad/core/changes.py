"""How often what seldom changes has changed: one number in place of many comparisons.

A replay depends on hundreds of things that hardly ever change: what tensors show, what
modules and optimisers hold. To compare them all takes longer than a small model. So
whoever changes one of them says so here, and while nobody has, there is nothing to
compare.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_numbers = itertools.count(1)


class Changes:
    """Changes of everything that is counted, in all threads."""

    __slots__ = ("latest",)

    def __init__(self) -> None:
        #: A number that no other change had.
        self.latest = 0

    def note(self) -> None:
        """Say that something has changed; call it after the change."""
        # Never a sum: two threads that add at once would count one change.
        self.latest = next(_numbers)


#: Of this process.
changes = Changes()


def counted(function: Function) -> Function:
    """A function that notes a change whenever it has run."""
    from functools import wraps

    @wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            changes.note()

    return noting  # type: ignore[return-value]


class CountedDict(dict[Any, Any]):
    """A dict whose changes are counted; to read it is as fast as any dict.

    >>> entries = CountedDict(a=1)
    >>> before = changes.latest
    >>> entries["b"] = 2
    >>> before == changes.latest, entries
    (False, {'a': 1, 'b': 2})
    """

    __slots__ = ()

    __setitem__ = counted(dict.__setitem__)
    __delitem__ = counted(dict.__delitem__)
    __ior__ = counted(dict.__ior__)
    clear = counted(dict.clear)
    pop = counted(dict.pop)
    popitem = counted(dict.popitem)
    setdefault = counted(dict.setdefault)
    update = counted(dict.update)

    def copy(self) -> CountedDict:
        """Another such dict with the same entries."""
        return CountedDict(self)
