"""Run a program: values by name, each node a call of its operator.

What the host knows (constants, shapes and what is computed from them) stays there:
chains such as Shape -> Gather -> Concat -> Reshape never touch a device. Everything
else becomes operations on tensors, which are fused and compiled when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.core.frozen import frozen
from tetragrad.onnx.program import Program, Step
from tetragrad.onnx.registry import HOST, Operator
from tetragrad.onnx.schemas import Definition
from tetragrad.onnx.values import STORED_ONLY, Value, to_host, to_tensor
from tetragrad.tensor import Tensor

#: Arrays with more elements are computed with on a device, if a device can.
HOST_LIMIT = 4096


class Scope:
    """The values that nodes of one graph see, and the graph's surroundings."""

    def __init__(
        self,
        values: dict[str, Value],
        outer: Scope | None,
        on_device: Mapping[int, Tensor],
    ) -> None:
        self.values = values
        self.outer = outer
        #: Tensors of constants, by the identity of the array.
        self.on_device = on_device

    def find(self, name: str) -> Value:
        """The value of a name, here or around; None if nothing has computed it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        return None

    def tensor(self, value: Value) -> Tensor:
        """A value on the device; constants have been put there before."""
        found = self.on_device.get(id(value))
        return to_tensor(value) if found is None else found


@frozen
class Body:
    """A graph inside of a node, which sees the values around the node."""

    program: Program
    scope: Scope

    def __call__(self, *inputs: Value) -> list[Value]:
        return run(self.program, inputs, self.scope.on_device, self.scope)


def run(
    program: Program,
    inputs: Sequence[Value],
    on_device: Mapping[int, Tensor],
    outer: Scope | None = None,
    given: Mapping[str, Value] | None = None,
) -> list[Value]:
    """The outputs of a program.

    Args:
        inputs: a value for each input of its graph.
        on_device: tensors of constants, by the identity of the array.
        outer: what is around the graph, if it is inside of a node.
        given: values that stand for constants of the graph: trained parameters.
    """
    names = program.input_names
    if len(inputs) > len(names):
        raise ShapeError(f"{len(inputs)} inputs for a graph with {len(names)}")
    values: dict[str, Value] = {**program.graph.constants, **(given or {})}
    values.update(dict.fromkeys(names[len(inputs) :]))
    values.update(zip(names, inputs, strict=False))
    scope = Scope(values, outer, on_device)
    for name in program.differentiated & values.keys():
        values[name] = _with_gradient(values[name])
    for step in program.steps:
        results = _step_results(step, scope)
        for name, value in zip(step.node.outputs, results, strict=False):
            if name in program.differentiated:
                value = _with_gradient(value)
            if name:
                values[name] = value
    return [scope.find(name) for name in program.output_names]


def _with_gradient(value: Value) -> Value:
    """A value that a node of the graph asks the gradient of."""
    if value is None or (isinstance(value, Tensor) and value.requires_grad):
        return value
    return to_tensor(value).detach().requires_grad_()


def _step_results(step: Step, scope: Scope) -> Sequence[Value]:
    values = [scope.find(name) if name else None for name in step.node.inputs]
    try:
        results = _computed(step, values, scope)
    except TetragradError as error:
        error.add_note(f"in the ONNX node {step.node}, of {_described(values)}")
        raise
    except Exception as error:
        raise TetragradError(
            f"the ONNX node {step.node} cannot run on {_described(values)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    wanted = sum(1 for name in step.node.outputs if name)
    if len(results) < len(step.node.outputs) and wanted > len(results):
        raise TetragradError(
            f"the ONNX node {step.node} has {len(step.node.outputs)} outputs, and its "
            f"operator {len(results)}"
        )
    return results


def _computed(step: Step, values: list[Value], scope: Scope) -> Sequence[Value]:
    if step.operator is not None:
        return _as_outputs(call_operator(step.operator, step, values, scope))
    body = step.body
    if isinstance(body, Definition):
        body = body.program(values)
    assert body is not None
    return run(body, values, scope.on_device)


def _as_outputs(result: Any) -> Sequence[Value]:
    return result if isinstance(result, tuple) else (result,)


def call_operator(
    operator: Operator, step: Step, values: list[Value], scope: Scope
) -> Any:
    """Compute one node, on the host if all that it reads is there."""
    on_host = HOST.get(operator.name) if not operator.domain else None
    attributes = {
        name: _with_scope(value, scope) for name, value in step.attributes.items()
    }
    if on_host is not None and _belongs_on_host(values):
        arrays = [*values, *_trailing(operator, step, len(values))]
        return on_host(*arrays, **attributes)
    arguments = [
        _argument(operator, index, value, scope) for index, value in enumerate(values)
    ]
    named = {
        name: _converted(entry.takes, step.named_inputs[name], scope)
        for entry in operator.inputs
        if (name := entry.name) in step.named_inputs
    }
    special: dict[str, Any] = {}
    if "node" in operator.special:
        special["node"] = step.node
    if "find" in operator.special:
        special["find"] = scope.find
    return operator.function(*arguments, **named, **attributes, **special)


def _trailing(operator: Operator, step: Step, count: int) -> list[Value]:
    """Inputs after the first ``count`` that this version passes as attributes."""
    if not step.named_inputs:
        return []
    return [step.named_inputs.get(entry.name) for entry in operator.inputs[count:]]


def _belongs_on_host(values: Sequence[Value]) -> bool:
    arrays = [value for value in values if value is not None]
    if not all(isinstance(value, np.ndarray) for value in arrays):
        return False
    if any(value.dtype in STORED_ONLY for value in arrays):  # type: ignore[union-attr]
        return True
    return sum(value.size for value in arrays) <= HOST_LIMIT  # type: ignore[misc, union-attr]


def _with_scope(value: Any, scope: Scope) -> Any:
    return Body(value, scope) if isinstance(value, Program) else value


def _argument(operator: Operator, index: int, value: Value, scope: Scope) -> Value:
    parameter = operator.parameter(index)
    assert parameter is not None
    return _converted(parameter.takes, value, scope)


def _converted(takes: str, value: Value, scope: Scope) -> Value:
    if value is None or takes == "Value":
        return value
    if takes == "Host":
        return to_host(value)
    return scope.tensor(value)


def _described(values: Sequence[Value]) -> str:
    return ", ".join(_description(value) for value in values) or "nothing"


def _description(value: Value) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return "nothing" if value is None else type(value).__name__
