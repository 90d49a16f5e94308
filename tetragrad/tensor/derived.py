"""Docstrings of methods that are made of others: their examples under a new name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def derived_docstring(summary: str, method: Callable[..., Any], name: str) -> str:
    """A summary, and the examples of a method with ``.name(`` in place of its own.

    ``.exp()`` in an example of ``exp`` becomes ``.exp_()`` in that of ``exp_``; the
    result that it prints is to be the same.
    """
    text = method.__doc__ or ""
    start = text.find(">>>")
    if start < 0:
        return summary
    # Indented like the first line of the example.
    indentation = text[text.rfind("\n", 0, start) + 1 : start]
    examples = text[start:].replace(f".{method.__name__}(", f".{name}(")
    return f"{summary}\n\n{indentation}{examples}"
