"""Outputs of one kernel that reduce the same values do so over the same axes.

Lowering gives each reduction of each output axes of its own, but where a value is
repeated along a row its reduction finds that row's axis:

    s0[a1, a2] = Σ_a3 exp(x[a1, a3] - max_a3 x[a1, a3]) · v[a3, a2]
    s1[a1]     = max_a5 x[a1, a5]                        a5 -> a3: the same maximum
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Expression, Reduction, walk
from tetragrad.kernel.ir import Output
from tetragrad.kernel.substitution import substitute


def share_axes(outputs: Sequence[Output], sizes: Sequence[int]) -> tuple[Output, ...]:
    """The outputs, whose equal reductions are one expression."""
    stored = {axis for output in outputs for axis in output.axes}
    finished: list[Output] = []
    known: dict[Reduction, list[int]] = {}
    for output in outputs:
        value = output.value
        renamed = _names(value, known, sizes, stored)
        if renamed:
            forms = {old: axis_form(new) for old, new in renamed.items()}
            value = substitute(value, forms)
        finished.append(replace(output, value=value))
        known |= {entry: _bound(entry) for entry in _reductions(value)}
    return tuple(finished)


def _names(
    value: Expression,
    known: dict[Reduction, list[int]],
    sizes: Sequence[int],
    stored: set[int],
) -> dict[int, int]:
    """Axes that make a reduction of the value, the largest one, a known one."""
    for entry in reversed(_reductions(value)):
        old = _bound(entry)
        if entry in known or stored & {*old}:
            continue
        for other, new in known.items():
            pairs = dict(zip(old, new, strict=False))
            alike = [sizes[axis] for axis in old] == [sizes[axis] for axis in new]
            if not alike or stored & {*new} or entry.op is not other.op:
                continue
            forms = {axis: axis_form(name) for axis, name in pairs.items()}
            if substitute(entry, forms) is other:
                return pairs
    return {}


def _reductions(value: Expression) -> list[Reduction]:
    return [entry for entry in walk(value) if isinstance(entry, Reduction)]


def _bound(expression: Expression) -> list[int]:
    """The axes that an expression's reductions bind, innermost first."""
    return list(
        dict.fromkeys(axis for entry in _reductions(expression) for axis in entry.axes)
    )
