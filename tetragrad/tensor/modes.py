"""Whether operations record gradients here: a setting of the thread or task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar, Token
from typing import Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_enabled: ContextVar[bool] = ContextVar("gradient_enabled", default=True)


def is_grad_enabled() -> bool:
    """Whether operations record gradients here.

    >>> with tetragrad.no_grad():
    ...     tetragrad.is_grad_enabled()
    False
    """
    return _enabled.get()


class GradientMode:
    """A ``with`` block, or a decorated function, with gradients on or off."""

    def __init__(self, enabled: bool) -> None:
        self._value = enabled
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> Self:
        self._tokens.append(_enabled.set(self._value))
        return self

    def __exit__(self, *error: object) -> None:
        _enabled.reset(self._tokens.pop())

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Run ``function`` in this mode whenever it is called.

        A generator runs in it whenever it is resumed; its user does not.
        """
        if inspect.isgeneratorfunction(function):
            return _resumed_in_mode(self._value, function)

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            with GradientMode(self._value):
                return function(*args, **kwargs)

        return wrapped


def _resumed_in_mode(enabled: bool, function: Callable[P, Any]) -> Callable[P, Any]:
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        resume = functools.partial(generator.send, None)
        try:
            while True:
                with GradientMode(enabled):
                    item = resume()
                try:
                    resume = functools.partial(generator.send, (yield item))
                except Exception as error:
                    resume = functools.partial(generator.throw, error)
        except StopIteration as stop:
            return stop.value
        finally:
            generator.close()

    return wrapped


class FixedMode(GradientMode):
    """A mode that also decorates a function without parentheses."""

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        if not callable(function):
            return made
        made.__init__()  # type: ignore[misc]
        return made(function)


class no_grad(FixedMode):
    """Operations inside record no gradients; also a decorator.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with tetragrad.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self) -> None:
        super().__init__(False)


class inference_mode(FixedMode):
    """Like ``no_grad``; ``inference_mode(False)`` changes nothing else.

    >>> with tetragrad.inference_mode():
    ...     tetragrad.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode)


class enable_grad(FixedMode):
    """Operations inside record gradients, even within ``no_grad``.

    >>> with tetragrad.no_grad(), tetragrad.enable_grad():
    ...     tetragrad.is_grad_enabled()
    True
    """

    def __init__(self) -> None:
        super().__init__(True)


class set_grad_enabled(GradientMode):
    """Gradients on or off, by a flag: from now on, or for a ``with`` block.

    >>> with tetragrad.set_grad_enabled(False):
    ...     tetragrad.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._before = _enabled.get()
        _enabled.set(mode)

    def __enter__(self) -> Self:
        _enabled.set(self._value)
        return self

    def __exit__(self, *error: object) -> None:
        _enabled.set(self._before)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        # A decorator sets the mode of its function only.
        _enabled.set(self._before)
        return super().__call__(function)
