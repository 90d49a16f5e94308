"""Capture a function's work once, then replay it without running its Python.

>>> import tetragrad
>>> @tetragrad.jit
... def double(x):
...     return x * 2
>>> double(Tensor([1.0])), double(Tensor([3.0]))
(tensor([2.]), tensor([6.]))
>>> len(double.captures)
1

What the function computes may depend on its arguments and on the state that it reads:
tensors, attributes, globals, closures, modes. Each replay compares them first, and a
call that differs is captured anew. A replay has the function's effects on tensors,
gradients, random generators and attributes; output to the screen or to files happens
only when the function itself runs.

A number among the arguments is part of the capture, and each new one is captured anew.
Pass what changes from call to call as a tensor: with ``position`` a tensor and
``cache`` a buffer of a module, ``cache[:, position] = row`` is captured once, and
writes that row where the cache lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from tetragrad.core.errors import CaptureError

if TYPE_CHECKING:
    from tetragrad.capture.function import JitFunction

P = ParamSpec("P")
R = TypeVar("R")


@overload
def jit(function: Callable[P, R], /) -> JitFunction[P, R]: ...
@overload
def jit() -> Callable[[Callable[P, R]], JitFunction[P, R]]: ...


def jit(function: Any = None, /) -> Any:
    """Capture a function, method or module, and replay it where that is safe.

    Use it as ``@tetragrad.jit`` or as ``tetragrad.jit(model)``. The function's first
    call with new kinds of arguments runs it; later calls launch the same kernels on
    the new values. The setting ``TETRAGRAD_JIT=0`` turns captures off.

    Args:
        function: takes and returns tensors, numbers, text, and lists, tuples, dicts
            and data classes of them; other arguments are told apart by identity.

    Raises:
        CaptureError: in a call, if the function does what cannot be repeated, such as
            reading a tensor's values or the clock.

    >>> step = tetragrad.jit(lambda x, y: (x * y).sum())
    >>> step(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    tensor(11.)
    """
    if function is None:
        return jit
    if isinstance(function, type) or not callable(function):
        raise CaptureError(
            f"jit() of {function!r}", hint="pass a function, a method or a module"
        )
    # Slow to import, and most programs capture nothing.
    import inspect

    from tetragrad.capture.function import JitFunction

    checks = (
        inspect.isgeneratorfunction,
        inspect.iscoroutinefunction,
        inspect.isasyncgenfunction,
    )
    if any(check(function) for check in checks):
        raise CaptureError(
            f"jit() of {function.__qualname__}, a generator or coroutine: it runs in "
            "parts, between which anything may change",
            hint="capture the function that does one step",
        )
    return JitFunction(function)
