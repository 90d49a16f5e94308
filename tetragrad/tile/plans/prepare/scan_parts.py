"""Divide running values among parts that are computed at the same time.

    y[i] = Σ_{j <= i} x[j]
      ->  total[p] = Σ_q x[p*c + q]               each part as a whole
          before[p] = Σ_{r < p} total[r]          one short running value
          y[p*c + q] = before[p] + Σ_{r <= q} x[p*c + r]

(G. E. Blelloch, "Prefix sums and their applications", 1990.) The parts depend on sizes
only, so that the result is the same on every machine of a kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.core.frozen import frozen, replace
from tetragrad.graph.elementwise import Add, And, Maximum, Mul, Neg, Not
from tetragrad.graph.reduce import Max, Prod, Reduce, Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Load,
    Reduction,
    Scan,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.plans.prepare.axes import expressions_of, simplify_axes
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import cast

if TYPE_CHECKING:
    from tetragrad.tile.plans.prepare.cuts import Cut


def divide_scans(kernel: Kernel, scan: Expression, cut: Cut) -> tuple[Kernel, Kernel]:
    """The totals of all parts, and the rest, for all running values of one axis."""
    size, length = kernel.axes[cut.axis], cut.length
    part, inner = len(kernel.axes), len(kernel.axes) + 1
    kernel = replace(kernel, axes=(*kernel.axes, cut.parts, length))
    position = axis_form(part).scale(length) + axis_form(inner)
    beyond = cut.parts * length > size
    guard = (position.scale(-1).shift(size - 1),) if beyond else ()
    parts = _Parts(cut.axis, part, inner, position, guard)
    totals: list[Output] = []
    values: dict[Expression, Expression] = {}
    for entry in expressions_of(kernel):
        if isinstance(entry, Scan) and entry.axis == cut.axis:
            total, values[entry], kernel = parts.divided(kernel, entry)
            totals.append(total)
    outputs = tuple(parts.output(output, values) for output in kernel.outputs)
    first = replace(kernel, outputs=tuple(totals))
    return simplify_axes(first), simplify_axes(replace(kernel, outputs=outputs))


@frozen
class _Parts:
    """An axis as a part and a place inside it; the guard holds where there is one."""

    axis: int
    part: int
    inner: int
    position: Affine
    guard: Guard

    def rewriter(self, values: dict[Expression, Expression]) -> Rewriter:
        return Rewriter({self.axis: self.position}, values, self.guard)

    def divided(
        self, kernel: Kernel, scan: Expression
    ) -> tuple[Output, Expression, Kernel]:
        """Where a scan's totals go, what the scan becomes, and all slots."""
        carried = scan.accumulator
        identity = literal(scan.op.identity(scan.dtype), carried)
        body = cast(self.rewriter({})(scan.body), carried)
        if self.guard:
            body = Select(self.guard, body, identity)
        total = Reduction(scan.op, (self.inner,), body)
        axes = (self.part, *sorted(scan.body.free_axes - {self.axis}))
        first, load, kernel = through_scratch(kernel, total, axes, spare=1)
        step = math.prod(kernel.axes[axis] for axis in axes[1:])
        # Each part finds what comes before it in its own place.
        own, others = (0, step) if scan.reverse else (step, 0)
        (output,) = first.outputs
        output = replace(output, address=output.address.shift(own))
        earlier = Load(load.slot, load.address.shift(others), (), carried)
        place = axis_form(self.part)
        last = kernel.axes[self.part] - 1
        exists = (place.scale(-1).shift(last - 1) if scan.reverse else place.shift(-1),)
        so_far = Scan(
            scan.op, self.part, Select(exists, earlier, identity), scan.reverse
        )
        inside = Scan(scan.op, self.inner, body, scan.reverse)
        found = combined(scan.op, so_far, inside)
        return output, cast(found, scan.dtype), kernel

    def output(self, output: Output, values: dict[Expression, Expression]) -> Output:
        """An output over parts and the places inside them."""
        rewriter = self.rewriter(values)
        axes = tuple(axis for axis in output.axes if axis != self.axis)
        return replace(
            output,
            address=rewriter.form(output.address),
            value=rewriter(output.value),
            axes=(*axes, self.part, self.inner),
            guard=(*rewriter.guards(output.guard), *self.guard),
        )


def combined(op: type[Reduce], lhs: Expression, rhs: Expression) -> Expression:
    """One step of a reduction as an expression."""
    dtype = lhs.dtype
    ops = {Sum: Add, Prod: Mul, Max: Maximum}
    if op in ops:
        return Compute(ops[op], dtype, (lhs, rhs))
    if dtype.is_bool:
        return Compute(And, dtype, (lhs, rhs))
    # Negation reverses the order of floats, and the bitwise not that of integers.
    turned = Neg if dtype.is_floating_point else Not
    inputs = tuple(Compute(turned, dtype, (entry,)) for entry in (lhs, rhs))
    return Compute(turned, dtype, (Compute(Maximum, dtype, inputs),))


def through_scratch(
    kernel: Kernel, value: Expression, axes: Sequence[int], spare: int = 0
) -> tuple[Kernel, Expression, Kernel]:
    """A kernel that stores a value over some axes, and the load that replaces it.

    The memory has room for so many ``spare`` positions of the first axis.
    """
    address, stride = ZERO, 1
    for axis in reversed(axes):
        address = address + axis_form(axis).scale(stride)
        stride *= kernel.axes[axis]
    numel = stride + spare * math.prod(kernel.axes[axis] for axis in axes[1:])
    slots = (*kernel.slots, Slot(value.dtype, numel))
    output = Output(len(kernel.slots), address, value, tuple(axes))
    first = replace(kernel, slots=slots, outputs=(output,))
    load = Load(len(kernel.slots), address, (), value.dtype)
    return first, load, replace(kernel, slots=slots)
