"""Small ONNX models for the tests, made with the ``onnx`` package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


def make_model(
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, int, Sequence[Any] | None]],
    outputs: Sequence[str],
    constants: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 21,
    functions: Sequence[Any] = (),
) -> onnx.ModelProto:
    """A model of nodes; outputs have no declared type."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(entry.domain, 1) for entry in functions]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions))


def small_network() -> onnx.ModelProto:
    """A linear layer, a reshape whose shape is computed, a softmax."""
    generator = np.random.default_rng(1)
    nodes = [
        helper.make_node("MatMul", ["x", "layer.weight"], ["product"]),
        helper.make_node("Add", ["product", "layer.bias"], ["sum"]),
        helper.make_node("Shape", ["sum"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["sum", "target"], ["reshaped"]),
        helper.make_node("Softmax", ["reshaped"], ["y"], axis=-1),
    ]
    constants = {
        "layer.weight": generator.standard_normal((3, 4)).astype(np.float32),
        "layer.bias": generator.standard_normal(4).astype(np.float32),
        "zero": np.asarray(0, np.int64),
        "axes": np.asarray([0], np.int64),
        "rest": np.asarray([2, -1], np.int64),
    }
    return make_model(nodes, [("x", FLOAT, ["batch", 3])], ["y"], constants)


def expected_of_small_network(x: np.ndarray) -> np.ndarray:
    """What the network computes, in NumPy."""
    constants = {
        entry.name: numpy_helper.to_array(entry)
        for entry in small_network().graph.initializer
    }
    total = x @ constants["layer.weight"] + constants["layer.bias"]
    powers = np.exp(total.reshape(len(x), 2, 2))
    return np.asarray(powers / powers.sum(-1, keepdims=True))
