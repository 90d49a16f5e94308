"""The error function's relatives: its complement, that times exp(x²), its inverse.

``erfc`` and ``erfcx`` are within 4 units in the last place in float32 and float64,
however far the argument is from 0.
"""

from __future__ import annotations

import math

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas.functions import (
    absolute,
    add,
    copy_sign,
    equals,
    less,
    polynomial,
    scale,
    square,
)
from tetragrad.tensor.gradient_rules import with_slope

# exp(x²) erfc(x) = P((x - k) / (x + k)) / (1 + 2x) for x >= 0, the constant term
# first; fitted in 60 digits as the tables of tile/coefficients.py. The comments are
# the largest relative errors without rounding.
_MIDDLE_SINGLE, _MIDDLE_DOUBLE = 2.0, 3.0
_SCALED_SINGLE = (  # 8.7e-9
    1.2769783735275269,
    -0.0927637591958046,
    -0.1660301685333252,
    0.16404938697814941,
    -0.05422193557024002,
    -0.008018598891794682,
    0.00873015820980072,
    0.001216593780554831,
    -0.0014730540569871664,
    -0.0003571135748643428,
    0.0002285620430484414,
    6.307852163445204e-05,
    -2.2352296582539566e-05,
)
_SCALED_DOUBLE = (  # 3.6e-17
    1.2530080582697296,
    -0.13562110612458123,
    -0.04756229435344509,
    0.12964515870276597,
    -0.1192736634155131,
    0.06830802734381317,
    -0.023770514915357227,
    0.002529391818453325,
    0.0018886903304538723,
    -0.0007798322914378375,
    -0.00010515964749068963,
    0.00012509944907977298,
    4.948963221835989e-06,
    -2.0100883846477415e-05,
    -7.303202010676575e-07,
    3.4731074159185883e-06,
    3.5501236933929214e-07,
    -6.17677604300173e-07,
    -1.39739749521536e-07,
    1.0288815126929323e-07,
    4.060003022584122e-08,
    -1.3971024843082234e-08,
    -8.048577500676593e-09,
    1.2245546176434309e-09,
    8.122856048523223e-10,
    -3.7983064928497984e-11,
)

# erf(x) = x P(x²) for 0 <= x <= 1/2, the constant term first.
_NEAR_SINGLE = (  # 5.4e-8
    1.1283791065216064,
    -0.37612298130989075,
    0.11278390139341354,
    -0.026522129774093628,
    0.004301862791180611,
)
_NEAR_DOUBLE = (  # 1.4e-17
    1.1283791670955126,
    -0.3761263890318339,
    0.11283791670929502,
    -0.026866170636928473,
    0.00522397748274921,
    -0.0008548312383789696,
    0.00012054419600921632,
    -1.4891396645405167e-05,
    1.5740595251932577e-06,
    -9.321317964056754e-08,
)


def erfc(node: Node) -> Node:
    """1 - erf(x) without cancellation."""
    # Beyond, exp(-x²) is 0.
    edge = full_like(node, 30.0 if node.dtype is dtypes.float64 else 12.0)
    size = absolute(node)
    size = ops.Where(ops.Lt(edge, size), edge, size)
    product = ops.Mul(_exp_of_square(size, -1), _scaled(size))
    other = ops.Sub(full_like(node, 2.0), product)
    far = ops.Where(less(node, 0.0), other, product)
    value = ops.Where(less(size, 0.5), _erfc_near_zero(node), far)
    return with_slope(value, node, _erfc_slope)


def _erfc_near_zero(node: Node) -> Node:
    """1 - erf(x) where |x| < 1/2 and nothing cancels."""
    table = _NEAR_DOUBLE if node.dtype is dtypes.float64 else _NEAR_SINGLE
    erf = ops.Mul(node, polynomial(table, square(node)))
    return ops.Sub(full_like(node, 1.0), erf)


def _erfc_slope(node: Node) -> Node:
    return scale(ops.Exp(ops.Neg(square(node))), -2 / math.sqrt(math.pi))


def erfcx(node: Node) -> Node:
    """exp(x²) erfc(x), which falls off slowly."""
    size = absolute(node)
    scaled = _scaled(size)
    # exp(x²) (2 - erfc(|x|)); where the power is infinite, the rest does not matter.
    power = scale(_exp_of_square(size, 1), 2.0)
    is_finite = less(power, math.inf)
    negative = ops.Where(is_finite, ops.Sub(power, scaled), full_like(node, math.inf))
    value = ops.Where(less(node, 0.0), negative, scaled)
    return with_slope(value, node, erfcx_slope)


def erfcx_slope(node: Node) -> Node:
    """The derivative of ``erfcx``."""
    return add(scale(ops.Mul(node, erfcx(node)), 2.0), -2 / math.sqrt(math.pi))


def _scaled(size: Node) -> Node:
    """exp(x²) erfc(x) for x >= 0."""
    is_double = size.dtype is dtypes.float64
    middle = _MIDDLE_DOUBLE if is_double else _MIDDLE_SINGLE
    table = _SCALED_DOUBLE if is_double else _SCALED_SINGLE
    # From here on the quotient is 1, and it must not become infinity over infinity.
    near = ops.Where(less(size, 1e30), size, full_like(size, 1e30))
    place = ops.Div(add(near, -middle), add(near, middle))
    whole = polynomial(table, place)
    return ops.Div(whole, add(scale(size, 2.0), 1.0))


def _exp_of_square(size: Node, sign: int) -> Node:
    """exp(±x²): the rounding error of the square is found, and put into the result."""
    squared = square(size)
    # Half of the bits: the products of two such numbers are exact (Dekker 1971).
    is_double = size.dtype is dtypes.float64
    whole = dtypes.int64 if is_double else dtypes.int32
    bits = ops.Bitcast(size, whole)
    mask = full_like(bits, -(1 << 27) if is_double else -(1 << 12))
    high = ops.Bitcast(ops.And(bits, mask), size.dtype)
    low = ops.Sub(size, high)
    lost: Node = ops.Sub(square(high), squared)
    lost = ops.Add(lost, scale(ops.Mul(high, low), 2.0))
    lost = ops.Add(lost, square(low))
    power = ops.Exp(scale(squared, float(sign)))
    correction = ops.Mul(power, scale(lost, float(sign)))
    # Of infinite numbers, nothing is lost.
    is_plain = less(squared, math.inf)
    return ops.Where(is_plain, ops.Add(power, correction), power)


# M. Giles, "Approximating the erfinv function", GPU Computing Gems (2011).
_ERFINV_CENTRAL = (
    1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087,
    -4.39150654e-06, -3.5233877e-06, 3.43273939e-07, 2.81022636e-08,
)  # fmt: skip
_ERFINV_TAIL = (
    2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773,
    -0.00367342844, 0.00134934322, 0.000100950558, -0.000200214257,
)  # fmt: skip


def erfinv(node: Node) -> Node:
    """The inverse of erf on [-1, 1], by Giles' polynomials and two Newton steps."""
    one = full_like(node, 1.0)
    depth = ops.Neg(ops.Log(ops.Mul(ops.Sub(one, node), ops.Add(one, node))))
    is_central = less(depth, 5.0)
    central = polynomial(_ERFINV_CENTRAL, add(depth, -2.5))
    tail = polynomial(_ERFINV_TAIL, add(ops.Sqrt(depth), -3.0))
    value: Node = ops.Mul(ops.Where(is_central, central, tail), node)
    for _ in range(2):
        error = ops.Sub(ops.Erf(value), node)
        value = ops.Add(value, ops.Div(error, _erfc_slope(value)))
    is_edge = equals(absolute(node), 1.0)
    value = ops.Where(is_edge, copy_sign(full_like(node, math.inf), node), value)
    return with_slope(value, node, _erfinv_slope)


def _erfinv_slope(node: Node) -> Node:
    return scale(ops.Exp(square(erfinv(node))), math.sqrt(math.pi) / 2)
