"""Orthogonal polynomials by their three-term recurrences (DLMF 18.9).

The degree may be a tensor; its largest element is read by the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas.functions import add, scale
from tetragrad.tensor.promotion import align, combine, float_dtype, to_operand

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


@frozen
class Family:
    """P(k+1) = (a x + b) P(k) - c P(k-1), where a, b and c may depend on k."""

    name: str
    first: Callable[[Node], Node]
    step: Callable[[int], tuple[float, float, float]]


def _chebyshev(_: int) -> tuple[float, float, float]:
    return 2.0, 0.0, 1.0


CHEBYSHEV_T = Family("Chebyshev's polynomial T", lambda x: x, _chebyshev)
CHEBYSHEV_U = Family("Chebyshev's polynomial U", lambda x: scale(x, 2.0), _chebyshev)
CHEBYSHEV_V = Family(
    "Chebyshev's polynomial V", lambda x: add(scale(x, 2.0), -1.0), _chebyshev
)
CHEBYSHEV_W = Family(
    "Chebyshev's polynomial W", lambda x: add(scale(x, 2.0), 1.0), _chebyshev
)
HERMITE_H = Family(
    "the physicists' Hermite polynomial H",
    lambda x: scale(x, 2.0),
    lambda k: (2.0, 0.0, 2.0 * k),
)
HERMITE_HE = Family(
    "the probabilists' Hermite polynomial He",
    lambda x: x,
    lambda k: (1.0, 0.0, float(k)),
)
LAGUERRE_L = Family(
    "Laguerre's polynomial L",
    lambda x: add(ops.Neg(x), 1.0),
    lambda k: (-1.0 / (k + 1), (2.0 * k + 1) / (k + 1), k / (k + 1)),
)
LEGENDRE_P = Family(
    "Legendre's polynomial P",
    lambda x: x,
    lambda k: ((2.0 * k + 1) / (k + 1), 0.0, k / (k + 1)),
)


def _function(name: str, family: Family, half: str, *, shifted: bool = False) -> Any:
    """The function f(x, n) of a family; shifted, of 2x - 1 in place of x.

    ``half`` is f(½, 2), the example of its docstring.
    """

    def polynomial(input: Any, n: Any) -> Tensor:
        return _evaluated(family, input, n, shifted)

    interval = ", shifted to [0, 1]" if shifted else ""
    polynomial.__doc__ = f"""{family.name} of degree n{interval}; 0 for n below 0.

    >>> tetragrad.special.{name}(Tensor([0.5]), 2)
    tensor([{half}])
    """
    polynomial.__name__ = polynomial.__qualname__ = name
    return polynomial


def _evaluated(family: Family, input: Any, degree: Any, shifted: bool) -> Tensor:
    argument, wanted = to_operand(input), to_operand(degree)
    dtype = float_dtype(argument, wanted)
    point, count = align(argument, wanted, dtype=dtype)
    if shifted:
        point = add(scale(point, 2.0), -1.0)
    count = ops.Trunc(count)
    before, value = full_like(point, 1.0), family.first(point)
    result = ops.Where(nodes.equals(count, 0.0), before, full_like(point, 0.0))
    result = ops.Where(nodes.equals(count, 1.0), value, result)
    for k in range(1, _largest(wanted)):
        factor, offset, share = family.step(k)
        grown = ops.Mul(add(scale(point, factor), offset), value)
        before, value = value, ops.Sub(grown, scale(before, share))
        result = ops.Where(nodes.equals(count, float(k + 1)), value, result)
    return combine(result, argument, wanted)


def _largest(degree: Any) -> int:
    if not isinstance(degree, TensorBase):
        return int(degree)
    elements = degree.detach().read()
    return int(np.max(elements, initial=0))


chebyshev_polynomial_t = _function("chebyshev_polynomial_t", CHEBYSHEV_T, "-0.5000")
chebyshev_polynomial_u = _function("chebyshev_polynomial_u", CHEBYSHEV_U, "0.")
chebyshev_polynomial_v = _function("chebyshev_polynomial_v", CHEBYSHEV_V, "-1.")
chebyshev_polynomial_w = _function("chebyshev_polynomial_w", CHEBYSHEV_W, "1.")
hermite_polynomial_h = _function("hermite_polynomial_h", HERMITE_H, "-1.")
hermite_polynomial_he = _function("hermite_polynomial_he", HERMITE_HE, "-0.7500")
laguerre_polynomial_l = _function("laguerre_polynomial_l", LAGUERRE_L, "0.1250")
legendre_polynomial_p = _function("legendre_polynomial_p", LEGENDRE_P, "-0.1250")
shifted_chebyshev_polynomial_t = _function(
    "shifted_chebyshev_polynomial_t", CHEBYSHEV_T, "-1.", shifted=True
)
shifted_chebyshev_polynomial_u = _function(
    "shifted_chebyshev_polynomial_u", CHEBYSHEV_U, "-1.", shifted=True
)
shifted_chebyshev_polynomial_v = _function(
    "shifted_chebyshev_polynomial_v", CHEBYSHEV_V, "-1.", shifted=True
)
shifted_chebyshev_polynomial_w = _function(
    "shifted_chebyshev_polynomial_w", CHEBYSHEV_W, "-1.", shifted=True
)
