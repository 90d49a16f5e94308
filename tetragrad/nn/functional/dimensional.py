"""One function for each number of spatial dimensions, where one body serves all."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def with_dims(
    name: str, dims: int, body: Callable[Concatenate[int, P], R], docstring: str
) -> Callable[P, R]:
    """A function whose body's first parameter, how many dimensions, is given."""

    def function(*args: P.args, **kwargs: P.kwargs) -> R:
        return body(dims, *args, **kwargs)

    _, *parameters = inspect.signature(body).parameters.values()
    signature = inspect.signature(body).replace(parameters=parameters)
    vars(function).update(__signature__=signature, __module__=body.__module__)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = docstring
    return function
