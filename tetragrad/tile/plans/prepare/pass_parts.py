"""Divide a pass over keys into parts, where there are fewer rows than units for them.

One query beside many keys, say: each part carries its own maximum m, sum l and total o,
and what corrects a running value before a block (``kernel/online.py``) corrects each
part's value before all of them are combined:

    m[p], l[p], o[p] = the pass over part p of the keys      into scratch memory
    m = max[p] m[p];  o = Σ[p] o[p]·exp(m[p] - m) / Σ[p] l[p]·exp(m[p] - m)

How many parts there are depends on sizes and the target only, so results do not differ
from run to run.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Reduction,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.kernel.online import Carried, Carry
from tetragrad.kernel.online import replace as replaced
from tetragrad.kernel.online_contraction import OnlineContraction, online_contraction
from tetragrad.kernel.single_row import with_row
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.prepare.scan_parts import through_scratch
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import cast


@frozen
class PassParts(Division):
    """Carry every ``length`` keys of a pass by themselves, the last part maybe less.

    For passes whose first statistic is a maximum of all that the others are made of.
    """

    length: int

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        """The kernel that carries each part, and the one that combines them."""
        form = online_contraction(kernel)
        assert form is not None, "a pass is divided"
        parts = -(-kernel.axes[form.passed] // self.length)
        part, position = len(kernel.axes), len(kernel.axes) + 1
        kernel = replace(kernel, axes=(*kernel.axes, parts, self.length))
        outputs: list[Output] = []
        loads: list[Expression] = []
        values = _values_of_parts(kernel, form, part, position)
        for value in values:
            axes = (part, *sorted(value.free_axes - {part}))
            first, load, kernel = through_scratch(kernel, value, axes)
            outputs += first.outputs
            loads.append(load)
        first = replace(kernel, outputs=tuple(outputs))
        rest = _combined(kernel, form, loads, part)
        return with_row(simplify_axes(first)), simplify_axes(rest)


@functools.lru_cache(maxsize=64)
def _values_of_parts(
    kernel: Kernel, form: OnlineContraction, part: int, position: int
) -> list[Expression]:
    """What each carried reduction is over a part of the keys alone."""
    size, length = kernel.axes[form.passed], kernel.axes[position]
    key = axis_form(part).scale(length) + axis_form(position)
    exists = (key.scale(-1).shift(size - 1),) if size % length else ()
    known: dict[Expression, Expression] = {}
    values: list[Expression] = []
    for number, carry in enumerate(form.online.carries):
        body = Rewriter({form.passed: key}, known, exists)(carry.body)
        if exists and not number:
            lowest = literal(carry.op.identity(carry.dtype), body.dtype)
            known[carry.body] = body = Select(exists, body, lowest)
        value = Reduction(carry.op, (position,), cast(body, carry.dtype))
        known[Carried(number, True, carry.dtype)] = value
        values.append(value)
    return values


def _combined(
    kernel: Kernel, form: OnlineContraction, loads: list[Expression], part: int
) -> Kernel:
    """What the results are, made of all parts."""
    known: dict[Expression, Expression] = {}
    for number, carry in enumerate(form.online.carries):
        known[Carried(number, False, carry.dtype)] = loads[number]
        value = _corrected(carry, loads[number], known)
        total = Reduction(carry.op, (part,), value)
        known[Carried(number, True, carry.dtype)] = total
    outputs = tuple(
        replace(output, value=replaced(result, known))
        for output, result in zip(kernel.outputs, form.online.results, strict=True)
    )
    return replace(kernel, outputs=outputs)


def _corrected(
    carry: Carry, value: Expression, known: Mapping[Expression, Expression]
) -> Expression:
    """A part's value as if it had been compared with what all parts share."""
    if carry.correction is None:
        return value
    op = ops.Mul if carry.op is Sum else ops.Add
    amount = cast(replaced(carry.correction, known), carry.dtype)
    return Compute(op, carry.dtype, (value, amount))
