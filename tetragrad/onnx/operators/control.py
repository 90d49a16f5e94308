"""Branches and loops.

A branch is taken, and a loop unrolled, when the model runs: what the condition and
the trip count are, the host has to know. Where it knows them already (constants,
shapes), nothing is read from a device, and all steps become one graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import ShapeError
from tetragrad.engine import capture
from tetragrad.onnx.graph import ValueType
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host, Value, is_on_host, to_host, to_tensor
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import stack
from tetragrad.tensor.pending import realize_tensors

#: A loop that is unrolled is computed after so many steps, so that graphs stay small.
STEPS_TOGETHER = 64


@operator("If")
def if_(condition: Host, *, then_branch: Any, else_branch: Any) -> tuple[Value, ...]:
    branch = then_branch if bool(condition.item()) else else_branch
    return tuple(branch())


@operator("Loop")
def loop(
    trip_count: Host | None = None,
    condition: Value = None,
    *state: Value,
    body: Any,
) -> tuple[Value, ...]:
    """Repeat the body while its condition holds, for at most ``trip_count`` steps."""
    limit = None if trip_count is None else int(trip_count.item())
    goes_on = condition is None or bool(to_host(condition).item())
    carried = list(state)
    collected: list[list[Value]] = []
    step = 0
    while goes_on and (limit is None or step < limit):
        results = body(np.asarray(step, np.int64), np.asarray(goes_on), *carried)
        carried = results[1 : 1 + len(state)]
        collected.append(results[1 + len(state) :])
        step += 1
        goes_on = _read_condition(results[0], carried)
        if step % STEPS_TOGETHER == 0:
            _compute(carried)
    kinds = body.program.graph.outputs[1 + len(state) :]
    return (*carried, *_stacked(collected, kinds))


def _read_condition(condition: Value, carried: Sequence[Value]) -> bool:
    """Whether to go on; asking a device computes the step's other results too."""
    if not is_on_host(condition):
        _compute([condition, *carried])
    return bool(to_host(condition).item())


def _compute(values: Sequence[Value]) -> None:
    """Compute tensors together; a capture goes on recording instead."""
    if capture.active() is None:
        realize_tensors([value for value in values if isinstance(value, Tensor)])


def _stacked(
    collected: Sequence[Sequence[Value]], kinds: Sequence[ValueType]
) -> list[Value]:
    """What the steps gave, in a new first dimension."""
    if not collected:
        return [_nothing(kind) for kind in kinds]
    return [_stack(values, 0) for values in zip(*collected, strict=True)]


def _stack(values: Sequence[Value], axis: int) -> Value:
    if all(isinstance(value, np.ndarray) for value in values):
        return np.stack([to_host(value) for value in values], axis)
    return stack([to_tensor(value) for value in values], axis)


def _nothing(kind: ValueType) -> Value:
    """What no step at all gives, as far as the file says what it would have been."""
    sizes = [size if isinstance(size, int) else 0 for size in kind.shape or ()]
    return np.zeros((0, *sizes), kind.dtype or np.float32)


@operator("Scan", since=9)
def scan(
    *values: Tensor,
    body: Any,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None,
    scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
) -> tuple[Value, ...]:
    """Carry a state over slices of some inputs, and collect what each step gives."""
    count = len(values) - num_scan_inputs
    carried: list[Value] = list(values[:count])
    axes = scan_input_axes or (0,) * num_scan_inputs
    backwards = scan_input_directions or (0,) * num_scan_inputs
    slices = [
        _slices(value, axis, bool(turned))
        for value, axis, turned in zip(values[count:], axes, backwards, strict=True)
    ]
    collected = []
    for step, inputs in enumerate(zip(*slices, strict=True), 1):
        results = body(*carried, *inputs)
        carried = results[:count]
        collected.append(results[count:])
        if step % STEPS_TOGETHER == 0:
            _compute(carried)
    kinds = body.program.graph.outputs[count:]
    outputs = _stacked(collected, kinds)
    turned = scan_output_directions or (0,) * len(outputs)
    to = scan_output_axes or (0,) * len(outputs)
    placed = [
        _placed(value, axis, bool(back))
        for value, axis, back in zip(outputs, to, turned, strict=True)
    ]
    return (*carried, *placed)


def _slices(value: Tensor, axis: int, backwards: bool) -> list[Tensor]:
    parts = list(value.unbind(axis))
    return parts[::-1] if backwards else parts


def _placed(value: Value, axis: int, backwards: bool) -> Value:
    """Collected slices in the order and the dimension that the node asks for."""
    if not axis and not backwards:
        return value
    tensor = to_tensor(value)
    tensor = tensor.flip(0) if backwards else tensor
    return tensor.movedim(0, axis)


@operator("Scan", since=8)
def scan_8(
    sequence_lens: Host | None,
    *values: Tensor,
    body: Any,
    num_scan_inputs: int,
    directions: Sequence[int] | None = None,
) -> tuple[Value, ...]:
    """Before operator set 9 a scan has a batch, and each sample a scan of its own."""
    if sequence_lens is not None:
        raise ShapeError("Scan of operator set 8 with sequences of several lengths")
    results = [
        scan(
            *(value[sample] for value in values),
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
        )
        for sample in range(values[0].shape[0])
    ]
    return tuple(_stack(entries, 0) for entries in zip(*results, strict=True))


@operator("SequenceMap")
def sequence_map(
    sequence: Value, *additional: Value, body: Any
) -> tuple[list[Value], ...]:
    """The body applied to each element; other sequences are walked along with it."""
    assert isinstance(sequence, list)
    results = []
    for place, element in enumerate(sequence):
        others = [e[place] if isinstance(e, list) else e for e in additional]
        results.append(body(element, *others))
    count = len(body.program.graph.outputs)
    return tuple([entry[number] for entry in results] for number in range(count))
