"""Functions and methods that are made of others, with their signatures and examples."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def function_of(method: Callable[..., R]) -> Callable[..., R]:
    """A method as a function: what was self is named ``input``, as in PyTorch."""

    @functools.wraps(method)
    def function(input: Any, *args: Any, **kwargs: Any) -> R:
        return method(input, *args, **kwargs)

    vars(function).update(__signature__=_with_input(inspect.signature(method)))
    return function


def function_with_inplace(method: Callable[..., R]) -> Callable[..., R]:
    """``function_of`` with one more argument: whether to write over the input."""
    signature = _with_input(inspect.signature(method))
    own = list(signature.parameters.values())
    option = inspect.Parameter(
        "inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False
    )
    place = len(own) - 1

    @functools.wraps(method)
    def function(input: Any, *args: Any, inplace: bool = False, **kwargs: Any) -> R:
        if len(args) == place + 1:
            *args, inplace = args  # type: ignore[assignment]
        output: Any = method(input, *args, **kwargs)
        return input.copy_(output) if inplace else output

    signature = signature.replace(parameters=[*own, option])
    vars(function).update(__signature__=signature)
    return function


def _with_input(signature: inspect.Signature) -> inspect.Signature:
    first, *rest = signature.parameters.values()
    return signature.replace(parameters=[first.replace(name="input"), *rest])


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
    vars(function).update(__signature__=signature, __module__=body.__module__)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = docstring
    return function


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
