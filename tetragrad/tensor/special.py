"""Special functions of mathematics: gamma, Bessel, normal distribution, polynomials.

What PyTorch has as a method is one here; all of them are in ``tetragrad.special``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor import bessel_nodes as bessel
from tetragrad.tensor import function_nodes as nodes
from tetragrad.tensor import gamma_nodes as gamma
from tetragrad.tensor import normal_nodes as normal
from tetragrad.tensor.arithmetic import binary, in_place
from tetragrad.tensor.promotion import Operand, float_dtype, to_operand
from tetragrad.tensor.statistics import StatisticsMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class SpecialMethods(StatisticsMethods):
    """Special functions that are methods."""

    __slots__ = ()

    def lgamma(self) -> Tensor:
        """The logarithm of |Γ(x)|; infinite at 0, -1, -2, …

        >>> Tensor([1.0, 5.0]).lgamma()
        tensor([0.0000, 3.1781])
        """
        return self.apply_float(gamma.lgamma)

    def digamma(self) -> Tensor:
        """The derivative of ln Γ.

        >>> Tensor([1.0]).digamma()
        tensor([-0.5772])
        """
        return self.apply_float(gamma.digamma)

    def polygamma(self, n: int) -> Tensor:
        """The n-th derivative of ``digamma``.

        >>> Tensor([1.0]).polygamma(1)
        tensor([1.6449])
        """
        if n < 0:
            raise TetragradError(f"polygamma({n}): the order is 0 or more")
        return self.apply_float(gamma.polygamma(n))

    def mvlgamma(self, p: int) -> Tensor:
        """The logarithm of the gamma function of p dimensions.

        It is ln π p (p-1)/4 + Σ lgamma(x - j/2) over j = 0 … p-1 (DLMF 35.3.4), for
        x > (p-1)/2.
        """
        if p < 1:
            raise TetragradError(f"mvlgamma({p}): the dimension is 1 or more")
        constant = math.log(math.pi) * p * (p - 1) / 4

        def value(node: Node) -> Node:
            total = full_like(node, constant)
            for j in range(p):
                total = ops.Add(total, gamma.lgamma(nodes.add(node, -j / 2)))
            return total

        return self.apply_float(value)

    def igamma(self, other: Operand) -> Tensor:
        """P(self, other), the regularised lower incomplete gamma function.

        Its gradient is that of ``other`` alone.

        >>> Tensor([1.0]).igamma(Tensor([1.0]))
        tensor([0.6321])
        """
        return _float_binary(gamma.igamma, self, other)

    def igammac(self, other: Operand) -> Tensor:
        """Q(self, other) = 1 - P(self, other), exact where it is small."""
        return _float_binary(gamma.igammac, self, other)

    def i0(self) -> Tensor:
        """The modified Bessel function of the first kind of order 0.

        >>> Tensor([1.0]).i0()
        tensor([1.2661])
        """
        return self.apply_float(bessel.i0)

    lgamma_ = in_place(lgamma)
    digamma_ = in_place(digamma)
    polygamma_ = in_place(polygamma)
    mvlgamma_ = in_place(mvlgamma)
    igamma_ = in_place(igamma)
    igammac_ = in_place(igammac)
    i0_ = in_place(i0)


def _float_binary(op: Callable[[Node, Node], Node], lhs: Any, rhs: Any) -> Tensor:
    left, right = to_operand(lhs), to_operand(rhs)
    return binary(op, left, right, float_dtype(left, right))


def _of_one(function: Callable[[Node], Node]) -> Callable[[Any], Tensor]:
    """A function of tensors, from one of nodes with the same name."""

    def applied(input: Any) -> Tensor:
        return input.apply_float(function)

    applied.__name__ = applied.__qualname__ = function.__name__
    applied.__doc__ = function.__doc__
    return applied


airy_ai = _of_one(bessel.airy_ai)
bessel_j0 = _of_one(bessel.bessel_j0)
bessel_j1 = _of_one(bessel.bessel_j1)
bessel_y0 = _of_one(bessel.bessel_y0)
bessel_y1 = _of_one(bessel.bessel_y1)
erfcx = _of_one(normal.erfcx)
i0e = _of_one(bessel.i0e)
i1 = _of_one(bessel.i1)
i1e = _of_one(bessel.i1e)
log_ndtr = _of_one(normal.log_ndtr)
modified_bessel_k0 = _of_one(bessel.modified_bessel_k0)
modified_bessel_k1 = _of_one(bessel.modified_bessel_k1)
ndtr = _of_one(normal.ndtr)
ndtri = _of_one(normal.ndtri)
scaled_modified_bessel_k0 = _of_one(bessel.scaled_modified_bessel_k0)
scaled_modified_bessel_k1 = _of_one(bessel.scaled_modified_bessel_k1)
spherical_bessel_j0 = _of_one(bessel.spherical_bessel_j0)


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
    return _float_binary(_x_log1p_y, input, other)


def _x_log1p_y(lhs: Node, rhs: Node) -> Node:
    product = ops.Mul(lhs, nodes.log1p(rhs))
    is_zero = ops.And(nodes.equals(lhs, 0.0), ops.Not(nodes.is_nan(rhs)))
    return ops.Where(is_zero, full_like(lhs, 0.0), product)


def zeta(input: Any, other: Any) -> Tensor:
    """Hurwitz' zeta function ζ(x, q) = Σ (q + k)^-x over k >= 0.

    >>> tetragrad.special.zeta(Tensor([2.0]), Tensor([1.0]))
    tensor([1.6449])
    """
    return _float_binary(gamma.zeta, input, other)


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of ``digamma``.

    >>> tetragrad.polygamma(1, Tensor([1.0]))
    tensor([1.6449])
    """
    return input.polygamma(n)
