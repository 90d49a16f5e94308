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
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.expression import Compute, Expression, Reduction, Select
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.nests.choose_slide import windows_of
from tetragrad.tile.plans.prepare.remainders import with_split_axes
from tetragrad.tile.plans.products.choose_contraction import is_worth_packing
from tetragrad.tile.plans.products.contraction import find_contraction
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.roles.factors import factors_of


def with_guarded_factors(kernel: Kernel) -> Kernel:
    """The kernel with guards inside its products, where factors are packed then.

    As panels of a contraction, or as an image that windows slide over.
    """
    if not any(isinstance(entry.body, Select) for entry in kernel.reductions):
        return kernel
    for candidate in (kernel, with_split_axes(kernel)):
        found: dict[Expression, Expression] = {
            entry: product
            for entry in candidate.reductions
            if (product := _divided(candidate, entry)) is not None
        }
        packed = {
            entry: product
            for entry, product in found.items()
            if _is_packed(candidate, entry)
        }
        if packed:
            return _with_sums(candidate, packed)
        divided = _with_sums(candidate, found)
        if found and windows_of(divided, tuple(range(len(divided.outputs)))):
            return divided
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
    if reduction.op is not Sum or not isinstance(reduction.body, Select):
        return None
    factors = factors_of(reduction.body, kernel)
    if factors is None:
        return None
    product = Compute(Mul, reduction.body.dtype, factors)
    return Reduction(reduction.op, reduction.axes, product)


def _is_packed(kernel: Kernel, reduction: Expression) -> bool:
    """Whether the products that a reduction sums are worth packing for."""
    contraction = find_contraction(reduction, kernel)
    return contraction is not None and is_worth_packing(kernel, contraction)
