"""Fewer, longer axes: merge what memory cannot tell apart.

    y[i*64 + j] = f(x[i*64 + j]), i < 32, j < 64   ->   y[k] = f(x[k]), k < 2048

Two axes become one where every affine form of the kernel moves by the inner axis's
whole extent when the outer one moves by one step. Axes of size 1 disappear.
"""

from __future__ import annotations

from collections.abc import Iterator

from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import (
    Expression,
    Guard,
    Reduction,
    Scan,
    forms_of,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.rewrite import Forms, Rewriter, atoms_of, walk_until


def simplify_axes(kernel: Kernel) -> Kernel:
    """The same kernel with merged axes, and without those of one position."""
    kernel = drop_unit_axes(drop_empty(kernel))
    while True:
        pair = next(mergeable_pairs(kernel), None)
        if pair is None:
            return compact(kernel)
        kernel = merge(kernel, *pair)


def expressions_of(kernel: Kernel) -> list[Expression]:
    """Every expression of a kernel, also inside addresses."""
    roots = [output.value for output in kernel.outputs]
    for output in kernel.outputs:
        roots += atoms_of((output.address, *output.guard))
    return list(walk_until({}, *roots))


def forms_in(kernel: Kernel) -> set[Affine]:
    """Every affine form of a kernel that has terms."""
    forms = {form for entry in expressions_of(kernel) for form in forms_of(entry)}
    for output in kernel.outputs:
        forms |= {output.address, *output.guard}
    return {form for form in forms if form.terms}


def mergeable_pairs(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Pairs (outer, inner) of axes that can become one."""
    forms = forms_in(kernel)
    used = sorted({axis for form in forms for axis in form.axes()})
    domains = domains_of(kernel)
    for outer in used:
        for inner in used:
            if outer == inner:
                continue
            size = kernel.axes[inner]
            together = all((outer in one) == (inner in one) for one in domains)
            if together and all(
                form.coefficient(outer) == form.coefficient(inner) * size
                for form in forms
            ):
                yield outer, inner


def domains_of(kernel: Kernel) -> list[tuple[int, ...]]:
    """The axes of every output, reduction and scan."""
    domains = [output.axes for output in kernel.outputs]
    for entry in expressions_of(kernel):
        if isinstance(entry, Reduction):
            domains.append(entry.axes)
        if isinstance(entry, Scan):
            domains.append((entry.axis,))
    return domains


def merge(kernel: Kernel, outer: int, inner: int) -> Kernel:
    """Let the inner axis run over both."""
    sizes = list(kernel.axes)
    sizes[inner] *= sizes[outer]
    sizes[outer] = 1
    return without_axes(kernel, tuple(sizes), {outer})


def drop_unit_axes(kernel: Kernel) -> Kernel:
    """Axes of size 1 stay at position 0."""
    units = {axis for axis, size in enumerate(kernel.axes) if size == 1}
    return without_axes(kernel, kernel.axes, units) if units else kernel


def drop_empty(kernel: Kernel) -> Kernel:
    """Outputs over no points disappear; reductions over none are the identity."""
    empty = {axis for axis, size in enumerate(kernel.axes) if size == 0}
    if not empty:
        return kernel
    identities: dict[Expression, Expression] = {}
    for entry in expressions_of(kernel):
        if isinstance(entry, Reduction) and empty & set(entry.axes):
            identities[entry] = literal(entry.op.identity(entry.dtype), entry.dtype)
    rewriter = Rewriter({}, identities)
    outputs = tuple(
        rewritten_output(output, rewriter, set())
        for output in kernel.outputs
        if not empty & set(output.axes)
    )
    return Kernel(kernel.axes, kernel.slots, kernel.scalars, outputs)


def without_axes(kernel: Kernel, sizes: tuple[int, ...], dropped: set[int]) -> Kernel:
    """The kernel with some axes fixed at 0 and no longer reduced over."""
    zeros: Forms = {axis: Affine(0) for axis in dropped}
    rewriter = AxisDropper(zeros, {})
    outputs = tuple(
        rewritten_output(output, rewriter, dropped) for output in kernel.outputs
    )
    return Kernel(sizes, kernel.slots, kernel.scalars, outputs)


class AxisDropper(Rewriter):
    """A rewriter that takes the replaced axes out of reductions and scans."""

    def _one(self, expression: Expression) -> Expression:
        if isinstance(expression, Scan) and expression.axis in self.forms:
            return self.done[expression.body]
        if isinstance(expression, Reduction):
            axes = tuple(axis for axis in expression.axes if axis not in self.forms)
            body = self.done[expression.body]
            return Reduction(expression.op, axes, body) if axes else body
        return super()._one(expression)


def rewritten_output(output: Output, rewriter: Rewriter, dropped: set[int]) -> Output:
    """An output whose expressions are rewritten."""
    guard: Guard = rewriter.guards(output.guard)
    axes = tuple(axis for axis in output.axes if axis not in dropped)
    value = rewriter(output.value)
    address = rewriter.form(output.address)
    return Output(output.slot, address, value, axes, guard, output.mode)


def compact(kernel: Kernel) -> Kernel:
    """Number the axes that are left without gaps, in order."""
    used = {axis for domain in domains_of(kernel) for axis in domain}
    used |= {axis for form in forms_in(kernel) for axis in form.axes()}
    kept = [axis for axis in range(len(kernel.axes)) if axis in used]
    names = {axis: position for position, axis in enumerate(kept)}
    rewriter = Rewriter({axis: axis_form(name) for axis, name in names.items()}, {})
    outputs = []
    for output in kernel.outputs:
        renamed = rewritten_output(output, rewriter, set())
        axes = tuple(sorted(names[axis] for axis in output.axes))
        outputs.append(
            Output(
                renamed.slot,
                renamed.address,
                renamed.value,
                axes,
                renamed.guard,
                renamed.mode,
            )
        )
    sizes = tuple(kernel.axes[axis] for axis in kept)
    return Kernel(sizes, kernel.slots, kernel.scalars, tuple(outputs))
