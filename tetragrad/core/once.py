"""What is made once for the whole process, whichever thread asks first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def once(make: Callable[[], Value]) -> Callable[[], Value]:
    """A function that calls ``make`` the first time, and gives the same value always.

    Of two threads that ask at once, ``functools.cache`` lets both make a value and
    forgets one of them: fatal where the value keeps machine code in memory.
    """
    lock = threading.Lock()
    made: list[Value] = []

    def value() -> Value:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0]

    return value
