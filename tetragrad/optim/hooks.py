"""Functions that users hang onto an optimiser: around steps and states."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tetragrad.tensor.hooks import HookHandle

#: The kinds of hooks, each a list of functions.
KINDS = (
    "step_pre",
    "step_post",
    "state_dict_pre",
    "state_dict_post",
    "load_state_dict_pre",
    "load_state_dict_post",
)


def with_step_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A ``step`` that calls the hooks around it, once for nested calls."""

    @functools.wraps(step)
    def hooked(self: OptimizerHooks, *args: Any, **kwargs: Any) -> Any:
        before, after = self._hooks["step_pre"], self._hooks["step_post"]
        if self._is_stepping or not (before or after):
            return step(self, *args, **kwargs)
        self._is_stepping = True
        try:
            for hook in tuple(before):
                replaced = hook(self, args, kwargs)
                if replaced is not None:
                    args, kwargs = _checked(replaced)
            result = step(self, *args, **kwargs)
            for hook in tuple(after):
                hook(self, args, kwargs)
        finally:
            self._is_stepping = False
        return result

    return hooked


def _checked(replaced: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not isinstance(replaced, tuple) or len(replaced) != 2:
        raise TypeError(
            "a hook before a step must return None or a pair (args, kwargs), not "
            f"{replaced!r}"
        )
    return replaced


class OptimizerHooks:
    """The part of :class:`Optimizer` that registers hooks; all return a handle."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in KINDS}
        self._is_stepping = False

    def __init_subclass__(cls) -> None:
        # Also a user's own ``step`` calls the hooks.
        own = cls.__dict__.get("step")
        if own is not None:
            cls.step = with_step_hooks(own)  # type: ignore[attr-defined]

    def _add_hook(
        self, kind: str, hook: Callable[..., Any], prepend: bool = False
    ) -> HookHandle:
        hooks = self._hooks[kind]
        hooks.insert(0 if prepend else len(hooks), hook)

        def remove() -> None:
            if hook in hooks:
                hooks.remove(hook)

        return HookHandle(remove)

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(optimizer, args, kwargs)`` before a step; a pair that it
        returns takes the place of the step's arguments."""
        return self._add_hook("step_pre", hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(optimizer, args, kwargs)`` after every step."""
        return self._add_hook("step_post", hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> HookHandle:
        """Call ``hook(optimizer)`` before ``state_dict()`` reads."""
        return self._add_hook("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> HookHandle:
        """Call ``hook(optimizer, state_dict)`` afterwards; a result replaces it."""
        return self._add_hook("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> HookHandle:
        """Call ``hook(optimizer, state_dict)`` before a state is loaded; it gets a
        copy, and a result takes its place."""
        return self._add_hook("load_state_dict_pre", hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> HookHandle:
        """Call ``hook(optimizer)`` after a state was loaded."""
        return self._add_hook("load_state_dict_post", hook, prepend)

    def _through_hooks(self, kind: str, value: Any) -> Any:
        """A state after every hook of a kind has seen, and perhaps replaced, it."""
        for hook in tuple(self._hooks[kind]):
            replaced = hook(self, value)
            value = value if replaced is None else replaced
        return value
