"""Counting how often functions of ours are called: the same on every machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: The class or module of a function, its name there, and what its calls count as.
Watched = Sequence[tuple[Any, str, str]]


@contextmanager
def counting(watched: Watched) -> Iterator[Counter[str]]:
    """Count calls of what is watched."""
    counts = Counter({label: 0 for _, _, label in watched})
    originals = [(owner, name, owner.__dict__[name]) for owner, name, _ in watched]
    try:
        for owner, name, label in watched:
            setattr(owner, name, _counted(owner.__dict__[name], label, counts))
        yield counts
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _counted(function: Any, label: str, counts: Counter[str]) -> Any:
    kind = type(function) if isinstance(function, classmethod | staticmethod) else None
    inner: Callable[..., Any] = function.__func__ if kind else function

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        counts[label] += 1
        return inner(*args, **kwargs)

    return kind(wrapper) if kind else wrapper
