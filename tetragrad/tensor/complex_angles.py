"""Circular and hyperbolic functions of complex numbers, and their inverses.

All are found from sinh, cosh, tanh, asin, acos, acosh and atanh: the others are these
turned by a quarter, for example sin(z) = sinh(iz) / i.
"""

from __future__ import annotations

import math

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.complex_functions import (
    add,
    choose,
    number,
    over_i,
    reciprocal,
    scale,
    sqrt,
    square,
    subtract,
    times_i,
    with_derivatives,
)
from tetragrad.tensor.formulas import angles as angle_nodes
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.pairs import FORMS, Pair


def _signed_like(value: Node, source: Node) -> Node:
    """The value, with its sign turned where the source's is negative."""
    return ops.Where(nodes.sign_bit(source), ops.Neg(value), value)


def sinh(pair: Pair) -> Pair:
    """sinh x cos y + i cosh x sin y; a part of 0 stays 0, whatever the other is."""
    x, y = pair.real, pair.imag
    real: Node = ops.Mul(nodes.sinh(x), ops.Cos(y))
    imag: Node = ops.Mul(nodes.cosh(x), ops.Sin(y))
    real = ops.Where(nodes.equals(x, 0), x, real)
    imag = ops.Where(nodes.equals(y, 0), y, imag)
    real = ops.Where(_explodes(pair), nodes.absolute(x), real)
    return with_derivatives(Pair(real, imag), lambda z: (cosh(z),), pair)


def _explodes(pair: Pair) -> Node:
    """Where the size is infinite, and the angle is not known."""
    has_angle = nodes.less(nodes.absolute(pair.imag), math.inf)
    return ops.And(
        nodes.equals(nodes.absolute(pair.real), math.inf), ops.Not(has_angle)
    )


def cosh(pair: Pair) -> Pair:
    """cosh x cos y + i sinh x sin y."""
    x, y = pair.real, pair.imag
    real: Node = ops.Mul(nodes.cosh(x), ops.Cos(y))
    imag: Node = ops.Mul(nodes.sinh(x), ops.Sin(y))
    imag = ops.Where(nodes.equals(y, 0), _signed_like(y, x), imag)
    imag = ops.Where(nodes.equals(x, 0), _signed_like(x, y), imag)
    real = ops.Where(_explodes(pair), nodes.absolute(x), real)
    return with_derivatives(Pair(real, imag), lambda z: (sinh(z),), pair)


def tanh(pair: Pair) -> Pair:
    """Kahan's: with t = tan y, s = sinh x, (1 + t²)(cosh x) s + it over 1 + (1 + t²)s².

    Far from 0 the real part is ±1 and the imaginary part 2 sin(2y) exp(-2|x|).
    """
    x, y = pair.real, pair.imag
    limit = 18.0 if x.dtype is dtypes.float64 else 9.0
    is_far = nodes.greater(nodes.absolute(x), limit)
    near_x = ops.Where(is_far, full_like(x, 0), x)
    tangent = angle_nodes.tan(y)
    steepness = nodes.add(nodes.square(tangent), 1)
    sine, cosine = nodes.sinh(near_x), nodes.cosh(near_x)
    divisor = nodes.add(ops.Mul(steepness, nodes.square(sine)), 1)
    real = ops.Div(ops.Mul(ops.Mul(steepness, cosine), sine), divisor)
    imag = ops.Div(tangent, divisor)
    decay = ops.Exp(nodes.scale(nodes.absolute(x), -2))
    rest: Node = ops.Mul(nodes.scale(ops.Sin(nodes.scale(y, 2)), 2), decay)
    is_infinite = nodes.equals(nodes.absolute(x), math.inf)
    rest = ops.Where(is_infinite, nodes.copy_sign(full_like(y, 0), y), rest)
    # Of a finite size, but without an angle, nothing is known.
    is_known = ops.Or(is_infinite, nodes.less(nodes.absolute(y), math.inf))
    end = nodes.copy_sign(full_like(x, 1), x)
    end = ops.Where(is_known, end, full_like(x, math.nan))
    value = Pair(
        ops.Where(is_far, end, real),
        ops.Where(is_far, rest, imag),
    )
    # A part of 0 stays 0, whatever the other is.
    value = Pair(
        ops.Where(nodes.equals(x, 0), x, value.real),
        ops.Where(nodes.equals(y, 0), y, value.imag),
    )
    return with_derivatives(value, lambda z: (_tanh_slope(z),), pair)


def _tanh_slope(pair: Pair) -> Pair:
    return subtract(number(pair, 1), square(tanh(pair)))


def sin(pair: Pair) -> Pair:
    """sinh(iz) / i."""
    return over_i(sinh(times_i(pair)))


def cos(pair: Pair) -> Pair:
    """cosh(iz)."""
    return cosh(times_i(pair))


def tan(pair: Pair) -> Pair:
    """tanh(iz) / i."""
    return over_i(tanh(times_i(pair)))


def _roots_around_one(pair: Pair) -> tuple[Pair, Pair]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    one = full_like(pair.real, 1)
    below = Pair(ops.Sub(one, pair.real), ops.Neg(pair.imag))
    return sqrt(below), sqrt(Pair(ops.Add(one, pair.real), pair.imag))


def _at_infinity(pair: Pair, near: Pair, far: Pair) -> Pair:
    """``far`` where a part is infinite: the limit in the direction of z."""
    is_wide = nodes.equals(nodes.absolute(pair.real), math.inf)
    is_tall = nodes.equals(nodes.absolute(pair.imag), math.inf)
    return choose(ops.Or(is_wide, is_tall), far, near)


def _infinite(sign: Node) -> Node:
    """Infinity with the sign of a number."""
    return nodes.copy_sign(full_like(sign, math.inf), sign)


def asin(pair: Pair) -> Pair:
    """Kahan's formula, with a = sqrt(1 - z) and b = sqrt(1 + z)."""
    x, y = pair.real, pair.imag
    a, b = _roots_around_one(pair)
    across = ops.Sub(ops.Mul(a.real, b.real), ops.Mul(a.imag, b.imag))
    along = ops.Sub(ops.Mul(a.real, b.imag), ops.Mul(a.imag, b.real))
    turn = ops.Where(nodes.equals(x, 0), x, angle_nodes.atan2(x, across))
    far = Pair(angle_nodes.atan2(x, nodes.absolute(y)), _infinite(y))
    value = _at_infinity(pair, Pair(turn, nodes.asinh(along)), far)
    return with_derivatives(value, lambda z: (_asin_slope(z),), pair)


def _asin_slope(pair: Pair) -> Pair:
    return reciprocal(sqrt(subtract(number(pair, 1), square(pair))))


def acos(pair: Pair) -> Pair:
    """Kahan's formula, with a = sqrt(1 - z) and b = sqrt(1 + z)."""
    a, b = _roots_around_one(pair)
    x, y = pair.real, pair.imag
    along = ops.Sub(ops.Mul(b.real, a.imag), ops.Mul(b.imag, a.real))
    turn = nodes.scale(angle_nodes.atan2(a.real, b.real), 2)
    turn = _upright(pair, turn, math.pi / 2)
    far = Pair(nodes.absolute(angle_nodes.atan2(y, x)), _infinite(ops.Neg(y)))
    value = _at_infinity(pair, Pair(turn, nodes.asinh(along)), far)
    return with_derivatives(value, lambda z: (scale(_asin_slope(z), -1),), pair)


def _upright(pair: Pair, turn: Node, angle: float) -> Node:
    """An angle that is known on the imaginary axis, wherever on it z may be."""
    is_unknown = nodes.is_nan(pair.imag)
    is_upright = ops.And(nodes.equals(pair.real, 0), is_unknown)
    return ops.Where(is_upright, full_like(turn, angle), turn)


def acosh(pair: Pair) -> Pair:
    """Kahan's formula, with a = sqrt(z - 1) and b = sqrt(z + 1)."""
    a = sqrt(Pair(nodes.add(pair.real, -1), pair.imag))
    b = sqrt(Pair(nodes.add(pair.real, 1), pair.imag))
    along = ops.Add(ops.Mul(a.real, b.real), ops.Mul(a.imag, b.imag))
    turn = nodes.scale(angle_nodes.atan2(a.imag, b.real), 2)
    turn = _upright(pair, turn, math.pi / 2)
    angle = angle_nodes.atan2(pair.imag, pair.real)
    far = Pair(full_like(angle, math.inf), angle)
    value = _at_infinity(pair, Pair(nodes.asinh(along), turn), far)
    return with_derivatives(value, lambda z: (_acosh_slope(z),), pair)


def _acosh_slope(pair: Pair) -> Pair:
    below, above = subtract(pair, number(pair, 1)), add(pair, number(pair, 1))
    first, second = reciprocal(sqrt(below)), reciprocal(sqrt(above))
    real = ops.Sub(ops.Mul(first.real, second.real), ops.Mul(first.imag, second.imag))
    imag = ops.Add(ops.Mul(first.real, second.imag), ops.Mul(first.imag, second.real))
    return Pair(real, imag)


def atanh(pair: Pair) -> Pair:
    """log1p(4|x| / ((1 - |x|)² + y²)) / 4 + i atan2(2y, (1 - x)(1 + x) - y²) / 2."""
    x, y = pair.real, pair.imag
    size = nodes.absolute(x)
    below = ops.Sub(full_like(x, 1), size)
    distance = ops.Add(nodes.square(below), nodes.square(y))
    growth = nodes.log1p(ops.Div(nodes.scale(size, 4), distance))
    is_infinite = nodes.equals(distance, math.inf)
    growth = ops.Where(is_infinite, full_like(growth, 0), growth)
    real = nodes.copy_sign(nodes.scale(growth, 0.25), x)
    width = ops.Sub(ops.Mul(below, nodes.add(size, 1)), nodes.square(y))
    turn = nodes.scale(angle_nodes.atan2(nodes.scale(y, 2), width), 0.5)
    real = ops.Where(nodes.equals(x, 0), x, real)
    upright = nodes.copy_sign(full_like(y, math.pi / 2), y)
    upright = ops.Where(nodes.is_nan(y), y, upright)
    far = Pair(nodes.copy_sign(full_like(x, 0), x), upright)
    value = _at_infinity(pair, Pair(real, turn), far)
    return with_derivatives(value, lambda z: (_atanh_slope(z),), pair)


def _atanh_slope(pair: Pair) -> Pair:
    return reciprocal(subtract(number(pair, 1), square(pair)))


def asinh(pair: Pair) -> Pair:
    """asin(iz) / i."""
    return over_i(asin(times_i(pair)))


def atan(pair: Pair) -> Pair:
    """atanh(iz) / i."""
    return over_i(atanh(times_i(pair)))


FORMS.update({
    ops.Sin: sin,
    ops.Cos: cos,
    ops.Tanh: tanh,
    angle_nodes.tan: tan,
    nodes.sinh: sinh,
    nodes.cosh: cosh,
    angle_nodes.asin: asin,
    angle_nodes.acos: acos,
    angle_nodes.atan: atan,
    nodes.asinh: asinh,
    nodes.acosh: acosh,
    nodes.atanh: atanh,
})  # fmt: skip
