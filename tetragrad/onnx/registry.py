"""Which Python function computes an operator: a decorator and a table.

An operator is a function whose positional parameters are its inputs and whose
keyword parameters are its attributes:

    @operator("LeakyRelu")
    def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
        return x.leaky_relu(alpha)

The annotation of an input says what the function takes: ``Tensor`` (on a device),
``Host`` (an array, read if need be) or ``Value`` (whatever there is). An input that
has been an attribute in older operator sets is passed under the same name. Attributes
that several operators have may stand in one typed dictionary:
``**placement: Unpack[Placement]``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tetragrad.core.frozen import frozen

F = TypeVar("F", bound=Callable[..., Any])

#: Keyword parameters that are no attributes: what the evaluator knows of the call.
SPECIAL: Final = frozenset(("node", "find"))


@frozen
class Parameter:
    """One input of an operator: its name and what the function takes."""

    name: str
    #: 'Tensor', 'Host' or 'Value'.
    takes: str


@frozen
class Operator:
    """A registered function, and what its signature says."""

    name: str
    domain: str
    since: int
    function: Callable[..., Any]
    inputs: tuple[Parameter, ...]
    #: What each further input is, for operators with any number of them.
    variadic: Parameter | None
    attributes: frozenset[str]
    special: frozenset[str]
    takes_any_attribute: bool = False

    def parameter(self, index: int) -> Parameter | None:
        """What the input at a position is passed as; None if there is none such."""
        if index < len(self.inputs):
            return self.inputs[index]
        return self.variadic


_OPERATORS: Final[dict[tuple[str, str], list[Operator]]] = {}

#: The same operators on arrays: for values that the host knows, shapes above all.
HOST: Final[dict[str, Callable[..., Any]]] = {}


def operator(name: str, since: int = 1, domain: str = "") -> Callable[[F], F]:
    """Register a function as an operator from one operator set version on."""

    def register(function: F) -> F:
        versions = _OPERATORS.setdefault((domain, name), [])
        versions.append(_described(name, domain, since, function))
        versions.sort(key=lambda entry: -entry.since)
        return function

    return register


def host(*names: str) -> Callable[[F], F]:
    """Register a function on arrays as what computes operators on the host."""

    def register(function: F) -> F:
        for name in names:
            HOST[name] = function
        return function

    return register


def find(domain: str, name: str, version: int) -> Operator | None:
    """The newest definition that is not newer than the operator set."""
    for entry in _OPERATORS.get((domain, name), ()):
        if entry.since <= version:
            return entry
    return None


def _described(
    name: str, domain: str, since: int, function: Callable[..., Any]
) -> Operator:
    inputs: list[Parameter] = []
    variadic = None
    keywords: set[str] = set()
    takes_any = False
    for entry in inspect.signature(function).parameters.values():
        takes = str(entry.annotation).partition(" ")[0]
        if entry.kind is entry.KEYWORD_ONLY:
            keywords.add(entry.name)
        elif entry.kind is entry.VAR_KEYWORD:
            shared = _shared_attributes(function, str(entry.annotation))
            keywords |= shared
            takes_any = not shared
        elif entry.kind is entry.VAR_POSITIONAL:
            variadic = Parameter(entry.name, takes)
        else:
            inputs.append(Parameter(entry.name, takes))
    return Operator(
        name,
        domain,
        since,
        function,
        tuple(inputs),
        variadic,
        frozenset(keywords - SPECIAL),
        frozenset(keywords & SPECIAL),
        takes_any,
    )


def _shared_attributes(function: Callable[..., Any], annotation: str) -> set[str]:
    """The names that ``Unpack[Placement]`` stands for; none for other annotations."""
    if not annotation.startswith("Unpack["):
        return set()
    dictionary = annotation.removeprefix("Unpack[").removesuffix("]")
    return set(function.__globals__[dictionary].__annotations__)
