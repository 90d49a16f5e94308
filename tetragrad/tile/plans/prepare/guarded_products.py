"""Give each factor of a guarded product the conditions that concern it.

    Σ_k  if a and b: x[i, k] * w[k, j] else 0
      ->  Σ_k (if a: x[i, k] else 0) * (if b: w[k, j] else 0)

Such are gradients of strided convolutions: the windows that an element was in depend on
the remainder of its place, and so do the taps. What remains is a sum of products, whose
operands are packed with the zeros in them (``tile/plans/roles/factors.py`` says when
that can be, and what of infinities).
"""

from __future__ import annotations

from dataclasses import replace

from tetragrad.graph.elementwise import Mul
from tetragrad.kernel.expression import Compute, Expression, Reduction, Select
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.prepare.remainders import with_split_axes
from tetragrad.tile.plans.products.choose_contraction import is_worth_packing
from tetragrad.tile.plans.products.contraction import find_contraction
from tetragrad.tile.plans.rewrite import Rewriter


def with_guarded_factors(kernel: Kernel) -> Kernel:
    """The kernel with guards inside its products, where those are worth packing for."""
    if not any(isinstance(entry.body, Select) for entry in kernel.reductions):
        return kernel
    for candidate in (kernel, with_split_axes(kernel)):
        found: dict[Expression, Expression] = {
            entry: divided
            for entry in candidate.reductions
            if (divided := _divided(candidate, entry)) is not None
        }
        if found:
            return _with_sums(candidate, found)
    return kernel


def _with_sums(kernel: Kernel, found: dict[Expression, Expression]) -> Kernel:
    """The kernel with other sums."""
    rewriter = Rewriter({}, found)
    outputs = tuple(
        replace(output, value=rewriter(output.value)) for output in kernel.outputs
    )
    return replace(kernel, outputs=outputs)


def _divided(kernel: Kernel, reduction: Expression) -> Expression | None:
    """A sum of guarded products as one of products; None if it is none."""
    if not isinstance(reduction.body, Select):
        return None
    contraction = find_contraction(reduction, kernel)
    if contraction is None or not is_worth_packing(kernel, contraction):
        return None
    factors = (contraction.lhs, contraction.rhs)
    product = Compute(Mul, reduction.body.dtype, factors)
    return Reduction(reduction.op, reduction.axes, product)
