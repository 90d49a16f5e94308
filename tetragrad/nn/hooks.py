"""Functions that users hang onto a module, run around its ``forward``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tetragrad.core.frozen import frozen

_numbers = itertools.count()


@frozen(slots=True)
class Hook:
    """One registered function and how it wants to be called."""

    function: Callable[..., Any]
    with_kwargs: bool

    def before(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Run ahead of ``forward``; give the arguments it should get."""
        if self.with_kwargs:
            replaced = self.function(module, args, kwargs)
            if replaced is None:
                return args, kwargs
            if not isinstance(replaced, tuple) or len(replaced) != 2:
                raise TypeError(
                    "a forward pre-hook with kwargs must return None or a pair "
                    f"(args, kwargs), not {replaced!r}"
                )
            return replaced
        replaced = self.function(module, args)
        if replaced is None:
            return args, kwargs
        return (replaced if isinstance(replaced, tuple) else (replaced,)), kwargs

    def after(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        """Run behind ``forward``; give the output the caller should get."""
        if self.with_kwargs:
            replaced = self.function(module, args, kwargs, output)
        else:
            replaced = self.function(module, args, output)
        return output if replaced is None else replaced


class Hooks:
    """The hooks of one kind on one module, in the order they run."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[int, Hook] = {}

    def add(
        self, function: Callable[..., Any], prepend: bool, with_kwargs: bool
    ) -> RemovableHandle:
        """Register a function, at the end unless ``prepend``."""
        number = next(_numbers)
        added = {number: Hook(function, with_kwargs)}
        self.entries = added | self.entries if prepend else self.entries | added
        return RemovableHandle(self, number)

    def __iter__(self) -> Iterator[Hook]:
        # Hooks may remove themselves while they run: ``entries`` is then another dict.
        return iter(self.entries.values())


@frozen(slots=True)
class RemovableHandle:
    """What registering a hook returns; ``remove()`` or a ``with`` block ends it."""

    hooks: Hooks
    number: int

    def remove(self) -> None:
        """Take the hook off; doing so twice is harmless."""
        remaining = dict(self.hooks.entries)
        remaining.pop(self.number, None)
        self.hooks.entries = remaining

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
