"""From protobuf messages to checked plain data: graphs whose nodes can run in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tetragrad.core.errors import FileFormatError
from tetragrad.onnx.graph import (
    AttributeReference,
    Function,
    Graph,
    ModelFile,
    Node,
    ValueType,
)
from tetragrad.onnx.reading import array_of, read_model, sparse_array_of
from tetragrad.onnx.values import element_type

#: AttributeProto's numbers for what an attribute holds.
_FLOAT, _INT, _STRING, _TENSOR, _GRAPH = 1, 2, 3, 4, 5
_FLOATS, _INTS, _STRINGS = 6, 7, 8


def parse_file(source: Any) -> ModelFile:
    """Read a model from a path, bytes or a ModelProto, and check its structure.

    Raises:
        FileFormatError: what the file says contradicts itself.
    """
    model, folder = read_model(source)
    opsets = _opsets(model.opset_import)
    functions = {
        (_domain(proto.domain), proto.name): parse_function(proto, folder)
        for proto in model.functions
    }
    _refuse_recursion(functions)
    graph = _Parser(folder).graph(model.graph, frozenset())
    return ModelFile(graph, opsets, functions, _text(model.producer_name))


def parse_function(proto: Any, folder: Path | None = None) -> Function:
    """An operator that is defined by others."""
    parser = _Parser(folder)
    _check_names(proto.name, *proto.input, *proto.output)
    names = frozenset(proto.input)
    produced = {name for node in proto.node for name in node.output if name}
    nodes = parser.nodes(proto.node, names | produced)
    return Function(
        proto.name,
        _domain(proto.domain),
        tuple(proto.input),
        tuple(proto.output),
        _in_order(f"function {proto.name!r}", nodes, names),
        {entry.name: parser.attribute(entry, names) for entry in proto.attribute_proto},
        _opsets(proto.opset_import),
    )


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _text(data: str | bytes) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data


def _check_names(*names: str | bytes) -> None:
    """Raise for names that are no text: protobuf hands those over as bytes."""
    for name in names:
        if isinstance(name, bytes):
            raise FileFormatError(f"the name {name!r} is not UTF-8")


def _opsets(imports: Iterable[Any]) -> Mapping[str, int]:
    imports = list(imports)
    _check_names(*(entry.domain for entry in imports))
    opsets = {_domain(entry.domain): int(entry.version) for entry in imports}
    opsets.setdefault("", 1)
    return opsets


class _Parser:
    """Turns messages into data; knows the folder of the file."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def graph(self, proto: Any, outside: frozenset[str]) -> Graph:
        """A graph; ``outside`` are the names that it may read from around it."""
        title = f"graph {proto.name!r}"
        declared = (*proto.input, *proto.output, *proto.initializer)
        _check_names(*(entry.name for entry in declared))
        constants = {
            entry.name: array_of(entry, self.folder) for entry in proto.initializer
        }
        for entry in proto.sparse_initializer:
            constants[entry.values.name] = sparse_array_of(entry, self.folder)
        # Before version 4 of the format, constants are listed as inputs too.
        inputs = tuple(_value_type(e) for e in proto.input if e.name not in constants)
        own = frozenset(constants) | {entry.name for entry in inputs}
        if len({entry.name for entry in inputs}) != len(inputs):
            raise FileFormatError(f"{title} has two inputs of one name")
        produced = {name for node in proto.node for name in node.output if name}
        nodes = self.nodes(proto.node, outside | own | produced)
        ordered = _in_order(title, nodes, outside | own)
        outputs = tuple(_value_type(entry) for entry in proto.output)
        for entry in outputs:
            if entry.name not in outside | own | produced:
                raise FileFormatError(
                    f"{title} has an output {entry.name!r} that no node computes"
                )
        return Graph(proto.name, inputs, outputs, ordered, constants)

    def nodes(self, protos: Iterable[Any], visible: frozenset[str]) -> list[Node]:
        return [self.node(proto, visible) for proto in protos]

    def node(self, proto: Any, visible: frozenset[str]) -> Node:
        _check_names(proto.op_type, proto.domain, proto.name)
        _check_names(*proto.input, *proto.output, *(e.name for e in proto.attribute))
        return Node(
            proto.op_type,
            _domain(proto.domain),
            proto.name,
            tuple(proto.input),
            tuple(proto.output),
            {entry.name: self.attribute(entry, visible) for entry in proto.attribute},
            proto,
        )

    def attribute(self, proto: Any, visible: frozenset[str]) -> Any:
        """An attribute as a number, a string, an array, a graph, or a tuple."""
        if proto.ref_attr_name:
            return AttributeReference(proto.ref_attr_name)
        kind = proto.type or _guessed_kind(proto)
        match kind:
            case 1:
                return float(proto.f)
            case 2:
                return int(proto.i)
            case 3:
                return _text(proto.s)
            case 4:
                return array_of(proto.t, self.folder)
            case 5:
                return self.graph(proto.g, visible)
            case 6:
                return tuple(proto.floats)
            case 7:
                return tuple(proto.ints)
            case 8:
                return tuple(_text(entry) for entry in proto.strings)
            case 9:
                return tuple(array_of(entry, self.folder) for entry in proto.tensors)
            case 10:
                return tuple(self.graph(entry, visible) for entry in proto.graphs)
            case 11:
                return sparse_array_of(proto.sparse_tensor, self.folder)
            case 13:
                return _type_of("", proto.tp)
        raise FileFormatError(f"attribute {proto.name!r} is of unknown kind {kind}")


def _guessed_kind(proto: Any) -> int:
    """The kind of an attribute in files older than the field that says it."""
    single = {"f": _FLOAT, "i": _INT, "s": _STRING, "t": _TENSOR, "g": _GRAPH}
    for field, kind in single.items():
        if proto.HasField(field):
            return kind
    for field, kind in {"floats": _FLOATS, "strings": _STRINGS}.items():
        if getattr(proto, field):
            return kind
    return _INTS


def _value_type(proto: Any) -> ValueType:
    return _type_of(proto.name, proto.type)


def _type_of(name: str, proto: Any) -> ValueType:
    kind = (proto.WhichOneof("value") or "").removesuffix("_type").replace("_", " ")
    if kind != "tensor":
        return ValueType(name, kind)
    number = proto.tensor_type.elem_type
    dtype = element_type(number) if number else None
    if not proto.tensor_type.HasField("shape"):
        return ValueType(name, kind, dtype)
    sizes = tuple(_size(entry) for entry in proto.tensor_type.shape.dim)
    return ValueType(name, kind, dtype, sizes)


def _size(proto: Any) -> int | str | None:
    if proto.HasField("dim_value"):
        # Some exporters write -1 or 0 for a size that varies.
        return int(proto.dim_value) if proto.dim_value > 0 else None
    return proto.dim_param or None


def _in_order(title: str, nodes: list[Node], known: frozenset[str]) -> tuple[Node, ...]:
    """The nodes so that each comes after those whose outputs it reads."""
    _refuse_repeated_names(title, nodes, known)
    producers = {name: node for node in nodes for name in node.outputs if name}
    waiting: dict[int, int] = {}
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        sources = set()
        for name in _names_read(node):
            if name in producers:
                sources.add(id(producers[name]))
            elif name not in known:
                raise FileFormatError(
                    f"in {title}, {node} reads {name!r}, which nothing computes"
                )
        waiting[id(node)] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(node)
    ready = [node for node in reversed(nodes) if not waiting[id(node)]]
    ordered = []
    while ready:
        node = ready.pop()
        ordered.append(node)
        for reader in reversed(readers.get(id(node), ())):
            waiting[id(reader)] -= 1
            if not waiting[id(reader)]:
                ready.append(reader)
    if len(ordered) < len(nodes):
        stuck = next(node for node in nodes if waiting[id(node)])
        raise FileFormatError(f"in {title}, {stuck} depends on its own output: a cycle")
    return tuple(ordered)


def _refuse_repeated_names(
    title: str, nodes: Iterable[Node], known: frozenset[str]
) -> None:
    seen: set[str] = set()
    for node in nodes:
        for name in node.outputs:
            if name and name in seen:
                raise FileFormatError(f"in {title}, two nodes compute {name!r}")
            seen.add(name)


def _names_read(node: Node) -> Iterable[str]:
    """What a node reads, and what the graphs inside of it read from around them."""
    yield from (name for name in node.inputs if name)
    for value in node.attributes.values():
        for graph in value if isinstance(value, tuple) else (value,):
            if isinstance(graph, Graph):
                yield from free_names(graph)


def free_names(graph: Graph) -> set[str]:
    """What a graph reads that is neither its input nor computed in it."""
    own = set(graph.constants) | {entry.name for entry in graph.inputs}
    own.update(name for node in graph.nodes for name in node.outputs)
    read = {name for node in graph.nodes for name in _names_read(node)}
    read.update(entry.name for entry in graph.outputs)
    return read - own


def _refuse_recursion(functions: Mapping[tuple[str, str], Function]) -> None:
    """Raise if a function of the file uses itself, directly or through others."""
    done: set[tuple[str, str]] = set()
    for start in functions:
        path = [(start, iter(_calls(functions[start], functions)))]
        active = {start}
        while path:
            current, calls = path[-1]
            called = next(calls, None)
            if called is None:
                path.pop()
                active.discard(current)
                done.add(current)
            elif called in active:
                raise FileFormatError(f"function {called[1]!r} of the file uses itself")
            elif called not in done:
                active.add(called)
                path.append((called, iter(_calls(functions[called], functions))))


def _calls(
    function: Function, functions: Mapping[tuple[str, str], Function]
) -> list[tuple[str, str]]:
    found = []
    pending = list(function.nodes)
    while pending:
        node = pending.pop()
        if (node.domain, node.operator) in functions:
            found.append((node.domain, node.operator))
        for value in node.attributes.values():
            for graph in value if isinstance(value, tuple) else (value,):
                if isinstance(graph, Graph):
                    pending.extend(graph.nodes)
    return found


def substitute(function: Function, given: Mapping[str, Any]) -> tuple[Node, ...]:
    """The function's nodes for a call with these attributes."""
    values = {**function.defaults, **given}
    return tuple(_substituted(node, values) for node in function.nodes)


def _substituted(node: Node, values: Mapping[str, Any]) -> Node:
    attributes: dict[str, Any] = {}
    for name, value in node.attributes.items():
        if isinstance(value, AttributeReference):
            # An attribute that the call leaves out is left out inside, too.
            if value.name in values:
                attributes[name] = values[value.name]
        elif isinstance(value, Graph):
            inner = tuple(_substituted(entry, values) for entry in value.nodes)
            attributes[name] = replace(value, nodes=inner)
        else:
            attributes[name] = value
    return replace(node, attributes=attributes)


def as_array(value: Any) -> Any:
    """An attribute's numbers as the array that later versions take as an input."""
    if isinstance(value, tuple):
        is_whole = all(isinstance(entry, int) for entry in value)
        return np.asarray(value, np.int64 if is_whole else np.float32)
    if isinstance(value, int):
        return np.asarray(value, np.int64)
    return np.asarray(value, np.float32) if isinstance(value, float) else value


def attribute_of(proto: Any) -> Any:
    """The value of an AttributeProto that stands alone."""
    return _Parser(None).attribute(proto, frozenset())
