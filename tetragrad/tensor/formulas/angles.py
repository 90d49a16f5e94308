"""Tangents, and the angles that have a given sine, cosine or tangent.

The angles are within 2 units in the last place in float32 and float64. Their
polynomials were fitted in 50 digits as those of ``tile/coefficients.py``; the comment
after each is the largest relative error without rounding.
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
    greater,
    polynomial,
    scale,
    sign_bit,
    square,
)
from tetragrad.tensor.gradient_rules import with_slope

# atan(x) = x + x³ P(x²) for 0 <= x <= 1, the constant term first.
_ATAN_SINGLE = (  # 2.6e-9
    -0.33333298563957214,
    0.1999853402376175,
    -0.14264100790023804,
    0.10951489955186844,
    -0.08401511609554291,
    0.05792570859193802,
    -0.031147150322794914,
    0.010898611508309841,
    -0.0017901385435834527,
)
_ATAN_DOUBLE = (  # 4.7e-18
    -0.33333333333333065,
    0.19999999999951068,
    -0.1428571428255596,
    0.11111111006524525,
    -0.09090906994841617,
    0.07692279750221567,
    -0.06666403367312307,
    0.05880523882424975,
    -0.05253501667518721,
    0.04722266608193612,
    -0.04219036936534126,
    0.03663908187940944,
    -0.029899459667741574,
    0.021979539370899845,
    -0.013895627826299186,
    0.007193055460272329,
    -0.0028831635862347094,
    0.000830708267773289,
    -0.00015202914195704985,
    1.3211989126433889e-05,
)

# asin(x) = x + x³ P(x²) for 0 <= x <= 1/2.
_ASIN_SINGLE = (  # 4.9e-9
    0.16666752099990845,
    0.0749531239271164,
    0.045468609780073166,
    0.02418786659836769,
    0.04215266555547714,
)
_ASIN_DOUBLE = (  # 9.6e-19
    0.1666666666666676,
    0.0749999999997087,
    0.04464285717455159,
    0.03038194271047284,
    0.022372214916325614,
    0.017351613228149425,
    0.013980806673695152,
    0.011399020832288309,
    0.010779668427459555,
    0.0037085338998643007,
    0.02170245515158748,
    -0.020992225493737547,
    0.03262447648333871,
)

# π/2 less its float32 and its float64.
_HALF_PI_REST_SINGLE = -4.371139000186241e-08
_HALF_PI_REST_DOUBLE = 6.123233995736766e-17


def tan(node: Node) -> Node:
    """sin(x) / cos(x)."""
    value = ops.Div(ops.Sin(node), ops.Cos(node))
    return with_slope(value, node, _tan_slope)


def _tan_slope(node: Node) -> Node:
    return add(square(tan(node)), 1.0)


def atan(node: Node) -> Node:
    """The angle between -π/2 and π/2 whose tangent is x."""
    size = absolute(node)
    is_steep = greater(size, 1.0)
    slope = ops.Where(is_steep, ops.Reciprocal(size), size)
    squared = square(slope)
    table = _ATAN_DOUBLE if node.dtype is dtypes.float64 else _ATAN_SINGLE
    rest = ops.Mul(ops.Mul(slope, squared), polynomial(table, squared))
    turned = _half_turns_less(1, slope, rest)
    value = ops.Where(is_steep, turned, ops.Add(slope, rest))
    return with_slope(copy_sign(value, node), node, _atan_slope)


def _atan_slope(node: Node) -> Node:
    return ops.Reciprocal(add(square(node), 1.0))


def _half_turns_less(count: int, angle: Node, rest: Node) -> Node:
    """count * π/2 - (angle + rest), with what rounding takes from π/2."""
    is_double = angle.dtype is dtypes.float64
    low = _HALF_PI_REST_DOUBLE if is_double else _HALF_PI_REST_SINGLE
    small = ops.Sub(full_like(rest, count * low), rest)
    high = full_like(angle, count * math.pi / 2)
    # The difference loses up to half a unit, unless what it lost is added again.
    total = ops.Sub(high, angle)
    lost = ops.Sub(ops.Sub(high, total), angle)
    return ops.Add(total, ops.Add(lost, small))


def asin(node: Node) -> Node:
    """The angle between -π/2 and π/2 whose sine is x; NaN outside of [-1, 1]."""
    size = absolute(node)
    is_large, angle, rest = _small_arc(size)
    turned = _half_turns_less(1, scale(angle, 2.0), scale(rest, 2.0))
    value = ops.Where(is_large, turned, ops.Add(angle, rest))
    return with_slope(copy_sign(value, node), node, _asin_slope)


def _small_arc(size: Node) -> tuple[Node, Node, Node]:
    """Whether |x| > 1/2, and asin(|x|), or then asin(√((1 - |x|) / 2)), as a sum.

    The latter is half of acos(|x|), and its argument at most 1/2 again.
    """
    is_large = greater(size, 0.5)
    half = scale(add(ops.Neg(size), 1.0), 0.5)
    squared = ops.Where(is_large, half, square(size))
    sine = ops.Where(is_large, ops.Sqrt(squared), size)
    table = _ASIN_DOUBLE if size.dtype is dtypes.float64 else _ASIN_SINGLE
    rest = ops.Mul(ops.Mul(sine, squared), polynomial(table, squared))
    return is_large, sine, rest


def _asin_slope(node: Node) -> Node:
    return ops.Reciprocal(ops.Sqrt(ops.Sub(full_like(node, 1.0), square(node))))


def acos(node: Node) -> Node:
    """The angle between 0 and π whose cosine is x; NaN outside of [-1, 1]."""
    is_negative = sign_bit(node)
    is_large, angle, rest = _small_arc(absolute(node))
    twice, twice_rest = scale(angle, 2.0), scale(rest, 2.0)
    behind = _half_turns_less(2, twice, twice_rest)
    far = ops.Where(is_negative, behind, ops.Add(twice, twice_rest))
    signed = ops.Where(is_negative, ops.Neg(angle), angle)
    signed_rest = ops.Where(is_negative, ops.Neg(rest), rest)
    near = _half_turns_less(1, signed, signed_rest)
    return with_slope(ops.Where(is_large, far, near), node, _acos_slope)


def _acos_slope(node: Node) -> Node:
    return ops.Neg(_asin_slope(node))


def atan2(sine: Node, cosine: Node) -> Node:
    """The angle of a point, with the signs of both coordinates."""
    tall, wide = absolute(sine), absolute(cosine)
    is_steep = ops.Lt(wide, tall)
    low, high = ops.Where(is_steep, wide, tall), ops.Where(is_steep, tall, wide)
    one = full_like(high, 1.0)
    # Two zeros, or two infinities: the angle is that of (0, 1), or of (1, 1).
    both_zero = equals(high, 0.0)
    both_infinite = ops.And(equals(low, math.inf), equals(high, math.inf))
    ratio = ops.Div(low, ops.Where(both_zero, one, high))
    angle = atan(ops.Where(both_infinite, one, ratio))
    angle = ops.Where(is_steep, ops.Sub(full_like(angle, math.pi / 2), angle), angle)
    turned = ops.Sub(full_like(angle, math.pi), angle)
    angle = ops.Where(sign_bit(cosine), turned, angle)
    return copy_sign(angle, sine)
