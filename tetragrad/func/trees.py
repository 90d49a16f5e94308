"""Tensors nested in tuples, lists and dictionaries: taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """What a tree holds, in order; anything but the three containers is a leaf."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, tuple | list):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree]


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """A tree of the same form around other leaves, in the same order."""
    if isinstance(tree, dict):
        return type(tree)((key, rebuilt(value, values)) for key, value in tree.items())
    if isinstance(tree, tuple | list):
        parts = [rebuilt(value, values) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(values)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of the same form with a function applied to every leaf."""
    return rebuilt(tree, iter([function(leaf) for leaf in leaves(tree)]))


def spread(prefix: Any, tree: Any, what: str) -> list[Any]:
    """One entry of ``prefix`` for each leaf; an entry may stand for a whole branch.

    Raises:
        ValueError: the prefix has another form than the tree.
    """
    if isinstance(prefix, tuple | list) and isinstance(tree, tuple | list):
        if len(prefix) == len(tree):
            pairs = zip(prefix, tree, strict=True)
            return [
                entry for part, branch in pairs for entry in spread(part, branch, what)
            ]
    elif isinstance(prefix, dict) and isinstance(tree, dict):
        if prefix.keys() == tree.keys():
            return [
                entry
                for key, branch in tree.items()
                for entry in spread(prefix[key], branch, what)
            ]
    elif not isinstance(prefix, tuple | list | dict):
        return [prefix] * len(leaves(tree))
    raise ValueError(
        f"{what}={prefix!r} does not have the form of what it is for\n"
        "hint: give one entry for each argument, or one number for all"
    )
