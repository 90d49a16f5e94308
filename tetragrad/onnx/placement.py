"""Which constants of a program are read on a device, and which on the host."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tetragrad.onnx.program import Program, Step
from tetragrad.onnx.registry import HOST

#: Inputs that training does not change by a gradient: running statistics.
_STATISTICS = frozenset((("BatchNormalization", 3), ("BatchNormalization", 4)))

#: Operators whose output is the constant they hold.
_CONSTANT = "Constant"


@dataclass
class Uses:
    """Constants by the identity of their arrays, and how they are used."""

    arrays: list[np.ndarray] = field(default_factory=list)
    on_device: set[int] = field(default_factory=set)
    on_host: set[int] = field(default_factory=set)
    statistics: set[int] = field(default_factory=set)


def uses_of(program: Program) -> Uses:
    """How a program, with the graphs inside of it, uses its constants."""
    uses = Uses()
    _walk(program, {}, uses)
    return uses


def _walk(program: Program, outer: dict[str, np.ndarray], uses: Uses) -> None:
    known = {**outer, **program.graph.constants}
    uses.arrays.extend(program.graph.constants.values())
    for step in program.steps:
        if step.node.operator == _CONSTANT and not step.node.domain:
            value = step.attributes.get("value")
            if isinstance(value, np.ndarray):
                known[step.node.outputs[0]] = value
                uses.arrays.append(value)
        _note_inputs(step, known, uses)
        for entry in step.attributes.values():
            if isinstance(entry, Program):
                _walk(entry, known, uses)
    for name in program.output_names:
        if name in known:
            uses.on_device.add(id(known[name]))


def _note_inputs(step: Step, known: dict[str, np.ndarray], uses: Uses) -> None:
    names = [name for name in step.node.inputs if name]
    may_stay = step.node.operator in HOST and all(name in known for name in names)
    for index, name in enumerate(step.node.inputs):
        array = known.get(name)
        if array is None:
            continue
        takes = _takes(step, index)
        if takes == "Host":
            uses.on_host.add(id(array))
        if takes != "Host" or not may_stay:
            uses.on_device.add(id(array))
        if (step.node.operator, index) in _STATISTICS:
            uses.statistics.add(id(array))


def _takes(step: Step, index: int) -> str:
    """What the operator takes at this place; a definition may do anything with it."""
    if step.operator is None:
        return "Value"
    parameter = step.operator.parameter(index)
    return "Value" if parameter is None else parameter.takes
