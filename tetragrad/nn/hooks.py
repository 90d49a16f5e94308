"""Functions that users hang onto a module: around calls, gradients and states."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from tetragrad.core.changes import CountedDict, changes
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from tetragrad.nn.backward_hooks import Passage

_numbers = itertools.count()


@frozen(slots=True)
class Hook:
    """One registered function and how it wants to be called."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False

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

    #: Attributes whose changes are all counted.
    counted_attributes: ClassVar[frozenset[str]] = frozenset(("entries",))

    def __init__(self) -> None:
        self.entries: dict[int, Hook] = CountedDict()

    def add(
        self,
        function: Callable[..., Any],
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Register a function, at the end unless ``prepend``."""
        number = next(_numbers)
        added = {number: Hook(function, with_kwargs, always_call)}
        self.replace(added | self.entries if prepend else self.entries | added)
        return RemovableHandle(self, number)

    def replace(self, entries: dict[int, Hook]) -> None:
        """Have other hooks from now on."""
        self.entries = CountedDict(entries)
        changes.note()

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
        self.hooks.replace(remaining)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


#: The attributes of a module that hold its hooks.
KINDS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def no_hooks() -> dict[str, Hooks]:
    """What a new module has: no hook of any kind."""
    return {name: Hooks() for name in KINDS}


class ModuleHooks:
    """The part of :class:`Module` that registers hooks; all return a handle."""

    _forward_hooks: Hooks
    _forward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _backward_pre_hooks: Hooks
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks

    def register_forward_pre_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; a result replaces args."""
        return self._forward_pre_hooks.add(hook, prepend, with_kwargs)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; a result replaces
        the output.

        With ``always_call`` also when ``forward`` raises, with None for the output.
        """
        return self._forward_hooks.add(hook, prepend, with_kwargs, always_call)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` in the backward pass.

        Both are tuples, with None where there is no gradient: one entry for each
        positional argument, and one for each part of the output. A result takes the
        place of ``grad_input``.

        >>> layer = nn.Linear(1, 1)
        >>> show = lambda module, grad_input, grad_output: print(grad_output)
        >>> handle = layer.register_full_backward_hook(show)
        >>> layer(Tensor([[2.0]])).sum().backward()
        (tensor([[1.]]),)
        """
        return self._backward_hooks.add(hook, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the gradients of its inputs are
        computed; a result takes the place of ``grad_output``."""
        return self._backward_pre_hooks.add(hook, prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict()`` reads."""
        return self._state_dict_pre_hooks.add(hook)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any]
    ) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` afterwards; it may
        change the dictionary."""
        return self._state_dict_hooks.add(hook)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any]
    ) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict,
        missing_keys, unexpected_keys, error_msgs)`` before this module's values are
        looked for; it may change the dictionary, which is a copy."""
        return self._load_state_dict_pre_hooks.add(hook)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any]
    ) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after the values were copied; it
        may change the lists of names, before strict loading complains of them."""
        return self._load_state_dict_post_hooks.add(hook)

    def _gradient_passage(self) -> Passage | None:
        """What passes a call's gradients to the hooks, if there are any."""
        if not (self._backward_hooks.entries or self._backward_pre_hooks.entries):
            return None
        # Few programs look at gradients like this; others need not import it.
        from tetragrad.nn.backward_hooks import Passage

        return Passage(self, self._backward_pre_hooks, self._backward_hooks)

    def _call_hooks_of_failures(self, args: Any, kwargs: dict[str, Any]) -> None:
        """Call the hooks that want to know that ``forward`` raised."""
        for hook in self._forward_hooks:
            if hook.always_call:
                # The error of ``forward`` is the one to show.
                with suppress(Exception):
                    hook.after(self, args, kwargs, None)
