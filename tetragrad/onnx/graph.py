"""An ONNX graph as plain data, checked: what the parser gives and programs run.

Nothing here knows protobuf; nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np

from tetragrad.core.frozen import frozen


@frozen
class ValueType:
    """What a file says about an input or output of a graph."""

    name: str
    #: 'tensor', 'sequence', 'optional', 'map', or '' where the file says nothing.
    kind: str = ""
    dtype: np.dtype | None = None
    #: Sizes, names of sizes that vary, or None for unknown ones; None: unknown rank.
    shape: tuple[int | str | None, ...] | None = None

    def __str__(self) -> str:
        if self.kind not in ("", "tensor"):
            return f"{self.name}: {self.kind}"
        dtype = "?" if self.dtype is None else self.dtype.name
        if self.shape is None:
            return f"{self.name}: {dtype.replace('object', 'string')}"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {dtype.replace('object', 'string')}[{sizes}]"


@frozen
class Node:
    """One operator of a graph, with the names of what it reads and writes."""

    operator: str
    domain: str
    name: str
    #: '' stands for an input or output that is left out.
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    #: Numbers, strings, arrays, graphs, and tuples of them.
    attributes: Mapping[str, Any] = field(default_factory=dict)
    #: The message of the file, for the standard's own definitions of operators.
    message: Any = field(default=None, compare=False, repr=False)

    @property
    def title(self) -> str:
        """How messages call the operator."""
        return f"{self.domain}.{self.operator}" if self.domain else self.operator

    def __str__(self) -> str:
        named = f" {self.name!r}" if self.name else ""
        outputs = ", ".join(name for name in self.outputs if name)
        return f"{self.title}{named} -> {outputs}"


@frozen
class Graph:
    """Nodes in an order in which they can run."""

    name: str
    inputs: tuple[ValueType, ...]
    outputs: tuple[ValueType, ...]
    nodes: tuple[Node, ...]
    #: Arrays that are part of the graph, by name.
    constants: Mapping[str, np.ndarray]


@frozen
class Function:
    """An operator that a file defines by other operators."""

    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    #: Values of attributes that a call leaves out.
    defaults: Mapping[str, Any]
    opsets: Mapping[str, int]


@frozen
class AttributeReference:
    """In a function: the attribute of the call that stands here."""

    name: str


@frozen
class ModelFile:
    """Everything that a file says."""

    graph: Graph
    #: The version of each operator set, by domain; '' is ONNX's own.
    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str], Function]
    producer: str = ""
