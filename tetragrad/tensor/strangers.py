"""What is said of arrays, lists and numbers that are given in place of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class StrangerError(TypeError):
    """Something was given in place of a tensor.

    Args:
        name: the function or module that was called.
        given: what it was given, also found as ``obj``.
        what: how that is called in a sentence.
    """

    def __init__(self, name: str, given: Any, what: str) -> None:
        instead = "from_numpy" if isinstance(given, np.ndarray) else "tensor"
        super().__init__(
            f"{name} is given {what} instead of a tensor\n"
            f"hint: pass tetragrad.{instead}(x)"
        )
        self.obj = given


def refuse_strangers(name: str, args: Sequence[Any], error: BaseException) -> None:
    """Raise StrangerError if what was taken for a tensor is one of the arguments.

    Args:
        name: of the function or module that was called.
        args: what it was given.
        error: what was raised in it.
    """
    if not isinstance(error, AttributeError | StrangerError):
        return
    given = error.obj
    what = _described(given)
    if what and any(entry is given for entry in args):
        raise StrangerError(name, given, what) from error


def _described(given: Any) -> str:
    """What could be meant as a tensor, in words; empty for other objects."""
    if isinstance(given, np.ndarray):
        return f"a NumPy array of shape {given.shape}"
    if isinstance(given, list | tuple | int | float):
        return f"a {type(given).__name__}"
    return repr(given) if given is None or isinstance(given, str) else ""
