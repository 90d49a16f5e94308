"""Functions and methods that are made of others, with their signatures and examples."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType, FunctionType
from typing import Any, Concatenate, ParamSpec, TypeVar

from tetragrad.tensor.strangers import refuse_strangers

P = ParamSpec("P")
R = TypeVar("R")


def function_of(method: Callable[..., R], name: str = "") -> Callable[..., R]:
    """A method as a function: what was self is named ``input``, as in PyTorch.

    Args:
        method: of tensors.
        name: what the module calls the function; as the method if left out.
    """
    name = name or method.__name__

    @functools.wraps(method)
    def function(input: Any, *args: Any, **kwargs: Any) -> R:
        try:
            return method(input, *args, **kwargs)
        except AttributeError as error:
            refuse_strangers(f"{name}()", (input, *args), error)
            raise

    vars(function).update(__wrapped__=_taking_input(method))
    return _placed(function, name, sys._getframe(1))


def _taking_input(method: Callable[..., R]) -> Callable[..., R]:
    """The method's own code with ``input`` for its first argument: what is shown.

    To put a signature together from the method's takes twenty times as long.
    """
    own: Any = inspect.unwrap(method)
    code = own.__code__.replace(co_varnames=("input", *own.__code__.co_varnames[1:]))
    shown = FunctionType(
        code, own.__globals__, own.__name__, own.__defaults__, own.__closure__
    )
    shown.__kwdefaults__, shown.__annotations__ = (
        own.__kwdefaults__,
        own.__annotations__,
    )
    return shown


def _placed(function: Callable[P, R], name: str, frame: FrameType) -> Callable[P, R]:
    """The function with the name and the module it has, by which it is pickled."""
    function.__name__ = function.__qualname__ = name
    function.__module__ = frame.f_globals["__name__"]
    return function


def function_with_inplace(method: Callable[..., R]) -> Callable[..., R]:
    """``function_of`` with one more argument: whether to write over the input."""
    plain = function_of(method)
    signature = inspect.signature(plain)
    own = list(signature.parameters.values())
    option = inspect.Parameter(
        "inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False
    )
    place = len(own) - 1

    @functools.wraps(plain)
    def function(input: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> R:
        if len(args) == place + 1:
            *args, inplace = args  # type: ignore[assignment]
        output: Any = plain(input, *args, **kwargs)
        return input.copy_(output) if inplace else output

    signature = signature.replace(parameters=[*own, option])
    vars(function).update(__signature__=signature)
    return _placed(function, method.__name__, sys._getframe(1))


def with_dims(
    name: str, dims: int, body: Callable[Concatenate[int, P], R], docstring: str
) -> Callable[P, R]:
    """A function whose body's first parameter, how many dimensions, is given.

    So one body serves all numbers of spatial dimensions.
    """

    def function(*args: P.args, **kwargs: P.kwargs) -> R:
        return body(dims, *args, **kwargs)

    _, *parameters = inspect.signature(body).parameters.values()
    signature = inspect.signature(body).replace(parameters=parameters)
    vars(function).update(__signature__=signature)
    function.__doc__ = docstring
    return _placed(function, name, sys._getframe(1))


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
