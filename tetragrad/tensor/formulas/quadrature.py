"""Functions given by an integral, summed over a few points for every element.

The trapezoidal rule converges exponentially for integrals over a period and for
integrands that fall off fast (L. N. Trefethen and J. A. C. Weideman, "The
exponentially convergent trapezoidal rule", SIAM Review 56, 2014). So one short sum is
as exact as float64 is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce
from tetragrad.graph.movement import Reshape, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas.functions import add, scale
from tetragrad.tensor.reductions import drop_dims, positions

#: An integrand: of the element, and of the point.
Integrand = Callable[[Node, Node], Node]


def in_float64(function: Callable[..., Node]) -> Callable[..., Node]:
    """A function that computes in float64 and is rounded to its operand's dtype."""

    def rounded(*operands: Node) -> Node:
        wide = [ops.Cast(operand, dtypes.float64) for operand in operands]
        return ops.Cast(function(*wide), operands[0].dtype)

    rounded.__name__ = function.__name__
    rounded.__doc__ = function.__doc__
    return rounded


def sum_over(node: Node, count: int, term: Integrand) -> Node:
    """Σ term(x, j) over j = 0, 1, …, count - 1, for every element x."""
    shape = (*node.shape, count)
    spread = broadcast_to(Reshape(node, (*node.shape, 1)), shape)
    number = ops.Cast(positions(count, node.ndim, node.ndim + 1), node.dtype)
    total = reduce.Sum(term(spread, broadcast_to(number, shape)), (node.ndim,))
    return drop_dims(total, (node.ndim,))


def mean_over_half_circle(node: Node, count: int, integrand: Integrand) -> Node:
    """(1/π) ∫ f(x, θ) dθ from 0 to π, for an f that is even about both ends."""

    def term(value: Node, number: Node) -> Node:
        return integrand(value, scale(add(number, 0.5), math.pi / count))

    return scale(sum_over(node, count, term), 1 / count)
