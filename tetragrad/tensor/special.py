"""Special functions of mathematics: gamma, Bessel, normal distribution, polynomials.

What PyTorch has as a method is one here; all of them are in ``tetragrad.special``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas import bessel, gamma, normal
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.special_methods import float_binary

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def _of_one(function: Callable[[Node], Node], half: str) -> Callable[[Any], Tensor]:
    """A function of tensors, from one of nodes with the same name.

    ``half`` is what it gives for ½: the example of its docstring.
    """

    def applied(input: Any) -> Tensor:
        return input.apply_float(function)

    applied.__name__ = applied.__qualname__ = function.__name__
    applied.__doc__ = f"""{function.__doc__}

    >>> tetragrad.special.{function.__name__}(Tensor([0.5]))
    tensor([{half}])
    """
    return applied


airy_ai = _of_one(bessel.airy_ai, "0.2317")
bessel_j0 = _of_one(bessel.bessel_j0, "0.9385")
bessel_j1 = _of_one(bessel.bessel_j1, "0.2423")
bessel_y0 = _of_one(bessel.bessel_y0, "-0.4445")
bessel_y1 = _of_one(bessel.bessel_y1, "-1.4715")
erfcx = _of_one(normal.erfcx, "0.6157")
i0e = _of_one(bessel.i0e, "0.6450")
i1 = _of_one(bessel.i1, "0.2579")
i1e = _of_one(bessel.i1e, "0.1564")
log_ndtr = _of_one(normal.log_ndtr, "-0.3689")
modified_bessel_k0 = _of_one(bessel.modified_bessel_k0, "0.9244")
modified_bessel_k1 = _of_one(bessel.modified_bessel_k1, "1.6564")
ndtr = _of_one(normal.ndtr, "0.6915")
ndtri = _of_one(normal.ndtri, "6.7368e-17")
scaled_modified_bessel_k0 = _of_one(bessel.scaled_modified_bessel_k0, "1.5241")
scaled_modified_bessel_k1 = _of_one(bessel.scaled_modified_bessel_k1, "2.7310")
spherical_bessel_j0 = _of_one(bessel.spherical_bessel_j0, "0.9589")


def entr(input: Tensor) -> Tensor:
    """-x ln x; 0 at 0 and -inf below.

    >>> tetragrad.special.entr(Tensor([0.0, 2.0]))
    tensor([ 0.0000, -1.3863])
    """
    return input.apply_float(_entropy)


def _entropy(node: Node) -> Node:
    is_positive = nodes.greater(node, 0.0)
    safe = ops.Where(is_positive, node, full_like(node, 1.0))
    value: Node = ops.Neg(ops.Mul(node, ops.Log(safe)))
    is_negative = nodes.less(node, 0.0)
    value = ops.Where(is_positive, value, full_like(node, 0.0))
    value = ops.Where(is_negative, full_like(node, -math.inf), value)
    return ops.Where(nodes.is_nan(node), node, value)


def xlog1py(input: Any, other: Any) -> Tensor:
    """x ln(1 + y), and 0 where x is 0.

    >>> tetragrad.special.xlog1py(Tensor([0.0]), Tensor([-1.0]))
    tensor([0.])
    """
    return float_binary(_x_log1p_y, input, other)


def _x_log1p_y(lhs: Node, rhs: Node) -> Node:
    product = ops.Mul(lhs, nodes.log1p(rhs))
    is_zero = ops.And(nodes.equals(lhs, 0.0), ops.Not(nodes.is_nan(rhs)))
    return ops.Where(is_zero, full_like(lhs, 0.0), product)


def zeta(input: Any, other: Any) -> Tensor:
    """Hurwitz' zeta function ζ(x, q) = Σ (q + k)^-x over k >= 0.

    >>> tetragrad.special.zeta(Tensor([2.0]), Tensor([1.0]))
    tensor([1.6449])
    """
    return float_binary(gamma.zeta, input, other)
