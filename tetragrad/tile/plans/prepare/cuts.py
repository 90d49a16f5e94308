"""Cut a kernel in two where one grid cannot do it well.

A reduction with few results is first computed in parts, in parallel; a reduction that
many points need is first computed once:

    y[i] = x[i] / Σ_j x[j]
      ->  part[p] = Σ_q x[p*c + q]          the first kernel, into scratch memory
          y[i] = x[i] / Σ_p part[p]         the rest

The parts depend on sizes only, never on the number of threads, so that a sum is the
same on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import (
    Expression,
    Load,
    Reduction,
    Scan,
    Select,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.prepare.axes import expressions_of, simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.prepare.scan_parts import divide_scans, through_scratch
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import cast


@frozen
class Cut(Division):
    """Compute one reduction or scan of a kernel first, into scratch memory.

    ``value`` counts the kernel's reductions and scans, operands first. With ``parts``
    its ``axis`` is divided among so many partial results; with ``length`` into parts of
    so many positions, the last of which may be shorter. Those ``beside`` it run over
    the same axes, and are divided with it: what they share is read once.
    """

    value: int
    axis: int = 0
    parts: int = 1
    length: int = 0
    beside: tuple[int, ...] = ()

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        """The kernel that computes the value (or its parts), and the rest."""
        value = cuttable(kernel)[self.value]
        if isinstance(value, Scan) and self.parts > 1:
            return divide_scans(kernel, value, self)
        first = cut_off(kernel, self)
        _, replacements, kernel = _cut(kernel, self)
        rewriter = Rewriter({}, replacements)
        outputs = tuple(
            replace(
                output,
                address=rewriter.form(output.address),
                value=rewriter(output.value),
                guard=rewriter.guards(output.guard),
            )
            for output in kernel.outputs
        )
        rest = replace(kernel, outputs=outputs)
        return first, simplify_axes(rest)


def cuttable(kernel: Kernel) -> list[Expression]:
    """The reductions and scans of a kernel, operands first."""
    return [
        entry
        for entry in expressions_of(kernel)
        if isinstance(entry, (Reduction, Scan))
    ]


@functools.lru_cache(maxsize=64)
def cut_off(kernel: Kernel, cut: Cut) -> Kernel:
    """The kernel that computes a reduction, or its parts, without the rest."""
    first, _, _ = _cut(kernel, cut)
    return simplify_axes(first)


@functools.lru_cache(maxsize=64)
def _cut(
    kernel: Kernel, cut: Cut
) -> tuple[Kernel, dict[Expression, Expression], Kernel]:
    """What is computed first, what takes its place, and the kernel with all slots."""
    values = cuttable(kernel)
    value = values[cut.value]
    if cut.parts > 1:
        divided = [value, *(values[number] for number in cut.beside)]
        return _in_parts(kernel, divided, cut)
    first, replacement, kernel = _whole(kernel, value)
    return first, {value: replacement}, kernel


def _whole(kernel: Kernel, value: Expression) -> tuple[Kernel, Expression, Kernel]:
    """scratch[free axes] = value."""
    axes = tuple(sorted(value.free_axes))
    return through_scratch(kernel, value, axes)


def _as_read(value: Reduction) -> list[int]:
    """The free axes in their order, but last those that lie nearest in memory.

    What is computed side by side is then stored so. Only axes of the operand that
    moves along the last one count: others are far apart in its blocks anyway.
    """
    axes = sorted(value.free_axes)
    for entry in walk(value.body):
        if isinstance(entry, Load) and axes and entry.address.coefficient(axes[-1]):
            nearest = [axis for axis in axes if entry.address.coefficient(axis) == 1]
            return [axis for axis in axes if axis not in nearest] + nearest
    return axes


def as_parts_are(kernel: Kernel, value: Reduction) -> Kernel:
    """The kernel that stores a reduction as its parts would be, undivided."""
    carried = Reduction(value.op, value.axes, cast(value.body, value.accumulator))
    first, _, _ = through_scratch(kernel, carried, _as_read(value))
    (output,) = first.outputs
    return replace(first, outputs=(replace(output, axes=tuple(sorted(output.axes))),))


def _in_parts(
    kernel: Kernel, values: Sequence[Expression], cut: Cut
) -> tuple[Kernel, dict[Expression, Expression], Kernel]:
    """scratch[p, free axes] = each reduction over part p of the axis."""
    size = kernel.axes[cut.axis]
    length = cut.length or -(-size // cut.parts)
    part, inner = len(kernel.axes), len(kernel.axes) + 1
    kernel = replace(kernel, axes=(*kernel.axes, cut.parts, length))
    position = axis_form(part).scale(length) + axis_form(inner)
    guard = (position.scale(-1).shift(size - 1),) if cut.parts * length > size else ()
    outputs: list[Output] = []
    replacements: dict[Expression, Expression] = {}
    for value in values:
        assert isinstance(value, Reduction), "a sum in parts"
        body = Rewriter({cut.axis: position}, {}, guard)(value.body)
        if guard:
            identity = literal(value.op.identity(value.dtype), body.dtype)
            body = Select(guard, body, identity)
        others = tuple(axis for axis in value.axes if axis != cut.axis)
        carried = cast(body, value.accumulator)
        partial = Reduction(value.op, (*others, inner), carried)
        axes = (part, *_as_read(value))
        first, loaded, kernel = through_scratch(kernel, partial, axes)
        outputs += first.outputs
        total = Reduction(value.op, (part,), loaded)
        replacements[value] = cast(total, value.dtype)
    return replace(kernel, outputs=tuple(outputs)), replacements, kernel
