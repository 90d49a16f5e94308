"""Fewer, longer axes: merge what memory cannot tell apart.

    y[i*64 + j] = f(x[i*64 + j]), i < 32, j < 64   ->   y[k] = f(x[k]), k < 2048

Two axes become one where every affine form of the kernel moves by the inner axis's
whole extent when the outer one moves by one step. Axes of size 1 disappear.
"""

from __future__ import annotations

import functools

from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import (
    Expression,
    Reduction,
    Scan,
    atoms_of,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.prepare.alternatives import (
    write_out_alternatives,
    write_out_spread,
)
from tetragrad.tile.plans.rewrite import Rewriter


@functools.lru_cache(maxsize=64)
def simplify_axes(kernel: Kernel) -> Kernel:
    """The same kernel with merged axes, and without those of one position.

    First, axes along which outputs only choose become outputs of their own. The stages
    of a chain stay as they are: their rows must be told.
    """
    if kernel.inner:
        return kernel
    kernel = write_out_spread(write_out_alternatives(drop_empty(kernel)))
    sizes = list(kernel.axes)
    dropped = {axis for axis, size in enumerate(sizes) if size == 1}
    for outer, inner in mergeable_pairs(kernel):
        sizes[inner] *= sizes[outer]
        sizes[outer] = 1
        dropped.add(outer)
    used = {axis for domain in domains_of(kernel) for axis in domain}
    used |= {axis for form in forms_in(kernel) for axis in form.axes()}
    kept = [axis for axis in range(len(sizes)) if axis in used - dropped]
    if len(kept) == len(kernel.axes):
        return kernel
    forms: dict[int, Affine] = dict.fromkeys(dropped, Affine(0))
    forms |= {axis: axis_form(position) for position, axis in enumerate(kept)}
    rewriter = AxisDropper(forms, {})
    outputs = tuple(rewritten_output(output, rewriter) for output in kernel.outputs)
    new_sizes = tuple(sizes[axis] for axis in kept)
    return Kernel(new_sizes, kernel.slots, kernel.scalars, outputs)


def expressions_of(kernel: Kernel) -> list[Expression]:
    """Every expression of a kernel, also inside addresses."""
    roots = [output.value for output in kernel.outputs]
    for output in kernel.outputs:
        roots += atoms_of((output.address, *output.guard))
    return list(walk(*roots))


def forms_in(kernel: Kernel) -> set[Affine]:
    """Every affine form of a kernel that has terms."""
    forms = {form for entry in expressions_of(kernel) for form in entry.forms}
    for output in kernel.outputs:
        forms |= {output.address, *output.guard}
    return {form for form in forms if form.terms}


def mergeable_pairs(kernel: Kernel) -> list[tuple[int, int]]:
    """Pairs (outer, inner) of axes that can become one, inner pairs first.

    An axis is the outer one of at most one pair, and the inner one of at most one:
    chains like (i, j), (j, k) merge into their last axis.
    """
    forms = forms_in(kernel)
    domains = domains_of(kernel)
    used = sorted({axis for form in forms for axis in form.axes()})
    used = [axis for axis in used if kernel.axes[axis] > 1]
    steps = {axis: tuple(form.coefficient(axis) for form in forms) for axis in used}
    members = {axis: tuple(axis in domain for domain in domains) for axis in used}
    by_steps = {(steps[axis], members[axis]): axis for axis in used}
    pairs = []
    for inner in used:
        size = kernel.axes[inner]
        wanted = tuple(step * size for step in steps[inner])
        outer = by_steps.get((wanted, members[inner]))
        if outer is not None and outer != inner:
            pairs.append((outer, inner))
    return in_chain_order(pairs)


def in_chain_order(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs so that every axis has taken in its own outer axis before it is merged."""
    inner_of = dict(pairs)
    outers = set(inner_of)
    starts = outers - {inner for _, inner in pairs}
    ordered = []
    for axis in sorted(starts):
        while axis in inner_of:
            ordered.append((axis, inner_of[axis]))
            axis = inner_of[axis]
    return ordered


def domains_of(kernel: Kernel) -> list[tuple[int, ...]]:
    """The axes of every output, reduction and scan."""
    domains = [output.axes for output in kernel.outputs]
    for entry in expressions_of(kernel):
        if isinstance(entry, Reduction):
            domains.append(entry.axes)
        if isinstance(entry, Scan):
            domains.append((entry.axis,))
    return domains


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
        rewritten_output(output, rewriter)
        for output in kernel.outputs
        if not empty & set(output.axes)
    )
    return Kernel(kernel.axes, kernel.slots, kernel.scalars, outputs)


class AxisDropper(Rewriter):
    """A rewriter that takes axes fixed at zero out of reductions and scans."""

    def apply(self, expression: Expression) -> Expression:
        if isinstance(expression, Scan) and not self.forms[expression.axis].terms:
            return self.rewritten[expression.body]
        if isinstance(expression, Reduction):
            axes = tuple(
                self.axis(axis) for axis in expression.axes if self.forms[axis].terms
            )
            body = self.rewritten[expression.body]
            return Reduction(expression.op, axes, body) if axes else body
        return super().apply(expression)


def rewritten_output(output: Output, rewriter: Rewriter) -> Output:
    """An output whose expressions and axes are rewritten."""
    moved = [rewriter.form(axis_form(axis)) for axis in output.axes]
    return Output(
        output.slot,
        rewriter.form(output.address),
        rewriter(output.value),
        tuple(sorted(axis for form in moved for axis in form.axes())),
        rewriter.guards(output.guard),
        output.mode,
    )
