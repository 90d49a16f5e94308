"""What is in an ONNX file, in words: for the command line and for ``repr``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tetragrad.onnx.graph import Graph, ModelFile, Node
from tetragrad.onnx.program import problems_of


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of the graphs inside of them."""
    for node in graph.nodes:
        yield node
        for value in node.attributes.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, Graph):
                    yield from all_nodes(inner)


def operators_of(graph: Graph) -> Counter[str]:
    """How often each operator occurs."""
    return Counter(node.title for node in all_nodes(graph))


def constants_in(graph: Graph) -> Iterator[np.ndarray]:
    """The arrays that a graph brings along, those of Constant nodes included."""
    yield from graph.constants.values()
    for node in all_nodes(graph):
        for value in node.attributes.values():
            if isinstance(value, np.ndarray):
                yield value
            elif isinstance(value, Graph):
                yield from value.constants.values()


def describe_file(file: ModelFile) -> str:
    """Operator sets, operators, sizes, inputs and outputs, and what is missing."""
    sets = ", ".join(
        f"{domain or 'ai.onnx'} {version}" for domain, version in file.opsets.items()
    )
    counts = operators_of(file.graph)
    listed = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    constants = list(constants_in(file.graph))
    elements = sum(array.size for array in constants)
    nbytes = sum(array.nbytes for array in constants)
    lines = [
        f"producer: {file.producer or 'not said'}",
        f"operator sets: {sets}",
        f"nodes: {sum(counts.values())}",
        f"operators: {listed}",
        f"constants: {elements:,} elements, {nbytes:,} bytes",
    ]
    lines += [f"input {entry}" for entry in file.graph.inputs]
    lines += [f"output {entry}" for entry in file.graph.outputs]
    problems = problems_of(file)
    lines += [f"not supported: {problem}" for problem in problems]
    if not problems:
        lines.append("everything in it is supported")
    return "\n".join(lines)
