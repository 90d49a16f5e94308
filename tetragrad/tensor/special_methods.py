"""The special functions that are methods of a tensor.

The modules that compute them are imported when they are first needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.arithmetic import binary, in_place
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.promotion import Operand, float_dtype, to_operand
from tetragrad.tensor.statistics import StatisticsMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def _gamma() -> ModuleType:
    from tetragrad.tensor.formulas import gamma as gamma_nodes

    return gamma_nodes


def _bessel() -> ModuleType:
    from tetragrad.tensor.formulas import bessel as bessel_nodes

    return bessel_nodes


class SpecialMethods(StatisticsMethods):
    """Special functions that are methods."""

    __slots__ = ()

    def lgamma(self) -> Tensor:
        """The logarithm of |Γ(x)|; infinite at 0, -1, -2, …

        >>> Tensor([1.0, 5.0]).lgamma()
        tensor([0.0000, 3.1781])
        """
        return self.apply_float(_gamma().lgamma)

    def digamma(self) -> Tensor:
        """The derivative of ln Γ.

        >>> Tensor([1.0]).digamma()
        tensor([-0.5772])
        """
        return self.apply_float(_gamma().digamma)

    def polygamma(self, n: int) -> Tensor:
        """The n-th derivative of ``digamma``.

        >>> Tensor([1.0]).polygamma(1)
        tensor([1.6449])
        """
        if n < 0:
            raise TetragradError(f"polygamma({n}): the order is 0 or more")
        return self.apply_float(_gamma().polygamma(n))

    def mvlgamma(self, p: int) -> Tensor:
        """The logarithm of the gamma function of p dimensions.

        It is ln π p (p-1)/4 + Σ lgamma(x - j/2) over j = 0 … p-1 (DLMF 35.3.4), for
        x > (p-1)/2.

        >>> Tensor([3.0]).mvlgamma(2)
        tensor([1.5502])
        """
        if p < 1:
            raise TetragradError(f"mvlgamma({p}): the dimension is 1 or more")
        lgamma = _gamma().lgamma
        constant = math.log(math.pi) * p * (p - 1) / 4

        def value(node: Node) -> Node:
            total = full_like(node, constant)
            for j in range(p):
                total = ops.Add(total, lgamma(nodes.add(node, -j / 2)))
            return total

        return self.apply_float(value)

    def igamma(self, other: Operand) -> Tensor:
        """P(self, other), the regularised lower incomplete gamma function.

        Its gradient is that of ``other`` alone.

        >>> Tensor([1.0]).igamma(Tensor([1.0]))
        tensor([0.6321])
        """
        return float_binary(_gamma().igamma, self, other)

    def igammac(self, other: Operand) -> Tensor:
        """Q(self, other) = 1 - P(self, other), exact where it is small.

        >>> Tensor([1.0]).igammac(Tensor([1.0]))
        tensor([0.3679])
        """
        return float_binary(_gamma().igammac, self, other)

    def i0(self) -> Tensor:
        """The modified Bessel function of the first kind of order 0.

        >>> Tensor([1.0]).i0()
        tensor([1.2661])
        """
        return self.apply_float(_bessel().i0)

    lgamma_ = in_place(lgamma)
    digamma_ = in_place(digamma)
    polygamma_ = in_place(polygamma)
    mvlgamma_ = in_place(mvlgamma)
    igamma_ = in_place(igamma)
    igammac_ = in_place(igammac)
    i0_ = in_place(i0)


def float_binary(op: Callable[[Node, Node], Node], lhs: Any, rhs: Any) -> Tensor:
    """A function of two nodes applied to tensors or numbers, in floating point."""
    left, right = to_operand(lhs), to_operand(rhs)
    return binary(op, left, right, float_dtype(left, right))


def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of ``digamma``.

    >>> tetragrad.polygamma(1, Tensor([1.0]))
    tensor([1.6449])
    """
    return input.polygamma(n)
