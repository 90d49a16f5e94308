"""A graph whose nodes are bound to the functions that compute them.

Binding happens once, when a file is loaded: unknown operators, attributes that an
operator does not have and missing inputs are found before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tetragrad.onnx.operators  # noqa: F401 (fills the registry)
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.onnx import schemas
from tetragrad.onnx.graph import Function, Graph, ModelFile, Node, ValueType
from tetragrad.onnx.parsing import as_array, substitute
from tetragrad.onnx.registry import Operator, find

#: Attributes of the first operator sets that say how to save memory.
_WITHOUT_MEANING = frozenset(("consumed_inputs",))


@frozen(eq=False)
class Step:
    """A node and what computes it: a function of ours, or a program of its own."""

    node: Node
    operator: Operator | None
    body: Program | schemas.Definition | None
    #: Attributes; graphs have become programs.
    attributes: Mapping[str, Any]
    #: Attributes that the operator takes as inputs, as arrays.
    named_inputs: Mapping[str, Any]


@frozen(eq=False)
class Program:
    """A graph that can run."""

    graph: Graph
    steps: tuple[Step, ...]
    #: Names that a Gradient node differentiates by.
    differentiated: frozenset[str] = frozenset()

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.graph.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.graph.outputs)


class Binder:
    """Binds graphs in the light of a file's operator sets and functions."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.opsets = file.opsets
        #: What cannot be run, one line each.
        self.problems: dict[str, None] = {}

    def bind(self, graph: Graph) -> Program:
        steps = tuple(self._step(node) for node in graph.nodes)
        return Program(graph, steps, _differentiated(graph))

    def _step(self, node: Node) -> Step:
        key = (node.domain, node.operator)
        if key in self.file.functions:
            return Step(node, None, self._local_function(node), {}, {})
        version = self.opsets.get(node.domain)
        if version is None:
            # The format allows it for ONNX's other domains in old files only.
            version = 1
        operator = find(node.domain, node.operator, version)
        if operator is None:
            return self._defined_by_schema(node, version)
        return self._checked(node, operator)

    def _checked(self, node: Node, operator: Operator) -> Step:
        """The step of an operator of ours, if the node fits its signature."""
        inputs = {entry.name for entry in operator.inputs}
        attributes: dict[str, Any] = {}
        named: dict[str, Any] = {}
        for name, value in node.attributes.items():
            if name in operator.attributes or operator.takes_any_attribute:
                attributes[name] = self._value(value)
            elif name in inputs:
                named[name] = as_array(value)
            elif name not in _WITHOUT_MEANING:
                self.problems[f"{node.title} with an attribute {name!r}"] = None
        if len(node.inputs) > len(operator.inputs) and operator.variadic is None:
            self.problems[f"{node.title} with {len(node.inputs)} inputs"] = None
        return Step(node, operator, None, attributes, named)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Graph):
            return self.bind(value)
        if isinstance(value, tuple) and any(isinstance(e, Graph) for e in value):
            return tuple(map(self._value, value))
        return value

    def _local_function(self, node: Node) -> Program:
        """A program for one call of an operator that the file defines."""
        function = self.file.functions[node.domain, node.operator]
        nodes = substitute(function, node.attributes)
        return self._in_function(function.opsets, function_graph(function, nodes))

    def _in_function(self, opsets: Mapping[str, int], graph: Graph) -> Program:
        outside, self.opsets = self.opsets, opsets
        try:
            return self.bind(graph)
        finally:
            self.opsets = outside

    def _defined_by_schema(self, node: Node, version: int) -> Step:
        """An operator that the standard itself defines by other operators."""
        definition = schemas.definition_of(node, version)
        if definition is None:
            self.problems[f"{node.title} of operator set {version}"] = None
        return Step(node, None, definition, {}, {})


def _differentiated(graph: Graph) -> frozenset[str]:
    """What the gradients in a graph are with respect to."""
    nodes = (node for node in graph.nodes if node.operator == "Gradient")
    return frozenset(name for node in nodes for name in node.attributes.get("xs", ()))


def function_graph(function: Function, nodes: tuple[Node, ...]) -> Graph:
    """The graph of a function for one call."""
    return Graph(
        function.name,
        tuple(ValueType(name) for name in function.inputs),
        tuple(ValueType(name) for name in function.outputs),
        nodes,
        {},
    )


def bind(file: ModelFile) -> Program:
    """The program of a file.

    Raises:
        UnsupportedError: the file uses operators that are not there; it names them.
    """
    binder = Binder(file)
    program = binder.bind(file.graph)
    if binder.problems:
        listed = "".join(f"\n  {problem}" for problem in binder.problems)
        raise UnsupportedError(
            f"the model uses what is not supported:{listed}",
            hint="`tetragrad onnx FILE --check` lists everything in a file",
        )
    return program


def problems_of(file: ModelFile) -> list[str]:
    """What in a file cannot be run, one line each."""
    binder = Binder(file)
    binder.bind(file.graph)
    return list(binder.problems)
