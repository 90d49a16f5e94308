"""Values that the host computes with NumPy: factorisations, and nothing faster.

A factorisation chooses pivots and iterates until it converges, which no fixed loop
nest can say. Contractions never come here: they are sums of products, and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType, part_dtype
from tetragrad.core.errors import VerifyError
from tetragrad.core.frozen import frozen
from tetragrad.graph.node import Node, Shape


@frozen(slots=True)
class Operand:
    """An input or output of a host function, before there are values.

    It may be complex, which a node never is: that one holds pairs of real numbers,
    in a last dimension of 2.
    """

    shape: Shape
    dtype: DType

    @property
    def node_type(self) -> tuple[Shape, DType]:
        """Shape and dtype of the node that holds it."""
        shape = (*self.shape, 2) if self.dtype.is_complex else self.shape
        return shape, part_dtype(self.dtype)

    def from_node(self, elements: np.ndarray) -> np.ndarray:
        """The array that a function takes, from the elements of a node."""
        if not self.dtype.is_complex:
            return elements
        pairs = np.ascontiguousarray(elements)
        return pairs.view(self.dtype.numpy).reshape(self.shape)

    def to_node(self, array: np.ndarray) -> np.ndarray:
        """The elements of a node, from the array that a function gave."""
        shape, dtype = self.node_type
        return np.ascontiguousarray(array).view(dtype.numpy).reshape(shape)


@frozen(slots=True)
class HostFunction:
    """A function of arrays, and what its results are before it has run.

    ``compute(*arrays, *options)`` gives one array for each output, of the shapes and
    dtypes that ``describe(*operands, *options)`` promises.
    """

    name: str
    compute: Callable[..., Sequence[np.ndarray]]
    describe: Callable[..., Sequence[Operand]]


_functions: dict[str, HostFunction] = {}


def register(function: HostFunction) -> HostFunction:
    """Make a function known under its name, which is all that a node holds of it."""
    assert function.name not in _functions, f"two host functions {function.name!r}"
    _functions[function.name] = function
    return function


class HostCall(Node):
    """One output of a host function of the inputs.

    The other outputs are nodes of their own, equal but for ``output``; the engine
    runs the function once for all of them. ``options`` are plain Python values,
    ``dtypes`` those of the inputs, which say where pairs are complex numbers.
    """

    __slots__ = ()
    fields = ("function", "options", "output", "home", "dtypes", "inputs")

    @classmethod
    def sources_of(cls, arguments: tuple[Any, ...]) -> tuple[Node, ...]:
        """The inputs, which are one argument."""
        inputs: tuple[Node, ...] = arguments[-1]
        return inputs

    @classmethod
    def infer(
        cls,
        function: str,
        options: tuple[Any, ...],
        output: int,
        home: str,
        dtypes: tuple[DType, ...],
        inputs: tuple[Node, ...],
    ) -> tuple[Shape, DType]:
        call = Call(function, options, home, dtypes, inputs)
        return call.outputs()[output].node_type

    @classmethod
    def place(cls, *arguments: Any) -> str:
        *_, home, _, inputs = arguments
        # The inputs must agree, although the result's device is written down: inputs
        # may all be constants, which live nowhere.
        super().place(*inputs)
        assert isinstance(home, str)
        return home

    def replace_sources(self, sources: tuple[Node, ...]) -> Node:
        *others, _ = self.arguments
        return HostCall(*others, sources)


@frozen(slots=True)
class Call:
    """A host function with its inputs; ``home`` is the device of its outputs."""

    function: str
    options: tuple[Any, ...]
    home: str
    dtypes: tuple[DType, ...]
    inputs: tuple[Node, ...]

    @classmethod
    def of(cls, node: HostCall) -> Call:
        """The call that a node is one output of."""
        function, options, _, home, dtypes, inputs = node.arguments
        return cls(function, options, home, dtypes, inputs)

    def operands(self) -> list[Operand]:
        """What the function takes."""
        return [
            Operand(node.shape[:-1] if dtype.is_complex else node.shape, dtype)
            for node, dtype in zip(self.inputs, self.dtypes, strict=True)
        ]

    def outputs(self) -> Sequence[Operand]:
        """What the function gives."""
        return _functions[self.function].describe(*self.operands(), *self.options)

    def nodes(self) -> tuple[Node, ...]:
        """One node for each output."""
        return tuple(
            HostCall(
                self.function,
                self.options,
                position,
                self.home,
                self.dtypes,
                self.inputs,
            )
            for position in range(len(self.outputs()))
        )

    def compute(self, elements: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The elements of all outputs' nodes, from those of the inputs.

        Raises:
            VerifyError: the function gave something else than it promised.
        """
        arrays = [
            operand.from_node(values)
            for operand, values in zip(self.operands(), elements, strict=True)
        ]
        known = _functions[self.function]
        with np.errstate(all="ignore"):
            results = [
                np.asarray(array) for array in known.compute(*arrays, *self.options)
            ]
        outputs = self.outputs()
        given = [(array.shape, array.dtype) for array in results]
        wanted = [(output.shape, output.dtype.numpy) for output in outputs]
        if given != wanted:
            raise VerifyError(f"{self.function} promised {wanted} and gave {given}")
        return [
            output.to_node(array)
            for output, array in zip(outputs, results, strict=True)
        ]
