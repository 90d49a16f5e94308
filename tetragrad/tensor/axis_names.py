"""NumPy's names of arguments, which PyTorch takes beside its own.

``x.sum(axis=0, keepdims=True)`` is ``x.sum(dim=0, keepdim=True)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

#: What an argument is called here, by what NumPy calls it.
NAMES = {"axis": "dim", "keepdims": "keepdim"}


def also_axis(function: Function) -> Function:
    """Let a function of a ``dim`` take ``axis``, and ``keepdims`` for ``keepdim``."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for name, ours in NAMES.items():
                if name in kwargs:
                    kwargs[ours] = _only(function, kwargs, name, ours)
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]


def _only(
    function: Callable[..., Any], kwargs: dict[str, Any], name: str, ours: str
) -> Any:
    if ours in kwargs:
        raise TypeError(
            f"{function.__name__}() got {ours}={kwargs[ours]!r} and {name}="
            f"{kwargs[name]!r}, which are two names of one argument"
        )
    return kwargs.pop(name)
