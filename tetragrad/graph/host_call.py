"""Values that the host computes with NumPy: factorisations, and nothing faster.

A factorisation chooses pivots and iterates until it converges, which no fixed loop
nest can say. Contractions never come here: they are sums of products, and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import VerifyError
from tetragrad.graph.node import Node, Shape

#: What one output of a host function is.
Description = tuple[Shape, DType]


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A function of arrays, and what its results are before it has run.

    ``compute(*arrays, *options)`` gives one array for each output, of the shapes and
    dtypes that ``describe(*sources, *options)`` promises for sources of these nodes.
    """

    name: str
    compute: Callable[..., Sequence[np.ndarray]]
    describe: Callable[..., Sequence[Description]]


_functions: dict[str, HostFunction] = {}


def register(function: HostFunction) -> HostFunction:
    """Make a function known under its name, which is all that a node holds of it."""
    assert function.name not in _functions, f"two host functions {function.name!r}"
    _functions[function.name] = function
    return function


class HostCall(Node):
    """One output of a host function of the inputs.

    The other outputs are nodes of their own, equal but for ``output``; the engine
    runs the function once for all of them. ``options`` are plain Python values.
    """

    __slots__ = ()
    fields = ("function", "options", "output", "home", "inputs")

    @classmethod
    def build(cls, arguments: tuple[Any, ...]) -> Node:
        node = super().build(arguments)
        node.sources = arguments[-1]
        return node

    @classmethod
    def infer(
        cls,
        function: str,
        options: tuple[Any, ...],
        output: int,
        home: str,
        inputs: tuple[Node, ...],
    ) -> tuple[Shape, DType]:
        described = _functions[function].describe(*inputs, *options)
        return described[output]

    @classmethod
    def place(
        cls,
        function: str,
        options: tuple[Any, ...],
        output: int,
        home: str,
        inputs: tuple[Node, ...],
    ) -> str:
        # The inputs must agree, although the result's device is written down: inputs
        # may all be constants, which live nowhere.
        super().place(*inputs)
        return home

    def replace_sources(self, sources: tuple[Node, ...]) -> Node:
        function, options, output, home, _ = self.arguments
        return HostCall(function, options, output, home, sources)


def outputs_of(
    function: str, options: tuple[Any, ...], home: str, inputs: tuple[Node, ...]
) -> tuple[Node, ...]:
    """One node for each output of a host function; ``home`` is their device."""
    count = len(_functions[function].describe(*inputs, *options))
    return tuple(
        HostCall(function, options, output, home, inputs) for output in range(count)
    )


def siblings_of(node: HostCall) -> tuple[Node, ...]:
    """All outputs of the call that a node is one output of."""
    function, options, _, home, inputs = node.arguments
    return outputs_of(function, options, home, inputs)


def compute(node: HostCall, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All outputs of a call, from the values of its inputs.

    Raises:
        VerifyError: the function gave something else than it promised.
    """
    function, options, _, _, inputs = node.arguments
    known = _functions[function]
    with np.errstate(all="ignore"):
        results = [np.asarray(array) for array in known.compute(*arrays, *options)]
    promised = known.describe(*inputs, *options)
    given = [(array.shape, array.dtype) for array in results]
    wanted = [(shape, dtype.numpy) for shape, dtype in promised]
    if given != wanted:
        raise VerifyError(f"{function} promised {wanted} and gave {given}")
    return results
