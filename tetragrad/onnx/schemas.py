"""Operators that the ONNX standard itself defines by other operators.

The ``onnx`` package carries these definitions. Some depend on the element types of
the inputs, so a definition becomes a program when it is called, once for each
combination of types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import UnsupportedError
from tetragrad.onnx.graph import AttributeReference, Graph, ModelFile, Node
from tetragrad.onnx.parsing import attribute_of, parse_function, substitute
from tetragrad.onnx.reading import onnx_package
from tetragrad.onnx.values import ELEMENT_NUMBERS, Value, dtype_of
from tetragrad.tensor import Tensor


class Definition:
    """One node's operator, defined by the standard."""

    def __init__(self, node: Node, version: int, schema: Any) -> None:
        self.node = node
        self.version = version
        self.schema = schema
        self._programs: dict[tuple[Any, ...], Any] = {}

    def program(self, values: Sequence[Value]) -> Any:
        """The program for inputs of these types."""
        key = tuple(_type_key(value) for value in values)
        if key not in self._programs:
            self._programs[key] = self._bound(values)
        return self._programs[key]

    def _bound(self, values: Sequence[Value]) -> Any:
        # A definition is bound like a file, and binding finds definitions.
        from tetragrad.onnx.program import Binder, function_graph

        function = parse_function(self._body(values))
        defaults = _default_attributes(self.schema)
        nodes = substitute(function, {**defaults, **self.node.attributes})
        graph = function_graph(function, nodes)
        opsets = {"": self.version, **function.opsets}
        binder = Binder(ModelFile(graph, opsets, {}))
        program = binder.bind(graph)
        if binder.problems:
            raise UnsupportedError(
                f"{self.node.title} needs {', '.join(binder.problems)}"
            )
        return program

    def _body(self, values: Sequence[Value]) -> Any:
        """The standard's definition, as a FunctionProto."""
        onnx = onnx_package()
        if self.schema.has_function:
            return self.schema.function_body
        types = [_type_proto(onnx, value).SerializeToString() for value in values]
        node = _node_proto(onnx, self.node).SerializeToString()
        body = self.schema.get_context_dependent_function(node, types)
        function = onnx.FunctionProto()
        function.ParseFromString(body)
        return function


def definition_of(node: Node, version: int) -> Definition | None:
    """The standard's definition of a node's operator, if it has one."""
    onnx = onnx_package()
    try:
        schema = onnx.defs.get_schema(node.operator, version, node.domain)
    except onnx.defs.SchemaError:
        return None
    if not (schema.has_function or schema.has_context_dependent_function):
        return None
    return Definition(node, version, schema)


def _default_attributes(schema: Any) -> dict[str, Any]:
    """Values of the attributes that a node leaves out."""
    found = {}
    for name, entry in schema.attributes.items():
        if entry.default_value.name:
            found[name] = attribute_of(entry.default_value)
    return found


def _type_key(value: Value) -> tuple[Any, ...]:
    if isinstance(value, Tensor | np.ndarray):
        return dtype_of(value).name, len(value.shape)
    return (type(value).__name__,)


def _type_proto(onnx: Any, value: Value) -> Any:
    """A value's type in ONNX's words."""
    helper = onnx.helper
    if isinstance(value, Tensor | np.ndarray):
        number = ELEMENT_NUMBERS[dtype_of(value)]
        return helper.make_tensor_type_proto(number, list(value.shape))
    if isinstance(value, list) and value:
        return helper.make_sequence_type_proto(_type_proto(onnx, value[0]))
    return onnx.TypeProto()


def _node_proto(onnx: Any, node: Node) -> Any:
    """The node as a message again; definitions look at its attributes."""
    proto = onnx.NodeProto(op_type=node.operator, domain=node.domain, name=node.name)
    proto.input.extend(node.inputs)
    proto.output.extend(node.outputs)
    for entry in node.message.attribute:
        if entry.HasField("g"):
            proto.attribute.append(entry)
    for name, value in node.attributes.items():
        if isinstance(value, Graph | AttributeReference):
            continue
        if isinstance(value, np.ndarray):
            value = onnx.numpy_helper.from_array(value)
        proto.attribute.append(onnx.helper.make_attribute(name, value))
    return proto
