"""Functions of complex numbers, by formulas of real ones.

Each takes and gives a pair of nodes. Branch cuts follow the sign of zero, as W. Kahan
asks in "Branch Cuts for Complex Elementary Functions" (1987), from which the inverse
functions are. Results at infinities and NaN are those of Annex G of the C standard
where the formulas say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas import angles as angle_nodes
from tetragrad.tensor.formulas import arithmetic as arithmetic_nodes
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.gradient_rules import with_gradient, with_zero_gradient
from tetragrad.tensor.pairs import FORMS, Pair

Derivatives = Callable[..., tuple[Pair, ...]]


# --- derivatives ----------------------------------------------------------------------


@frozen(slots=True)
class Slopes:
    """The gradient of one part of an analytic function, for both parts of its operands.

    With f'(z) = a + ib, moving the real part of z changes f by f', moving the imaginary
    part by i f' (Cauchy and Riemann).
    """

    derivatives: Derivatives
    sources: tuple[Pair, ...]
    of_imag: bool

    def __call__(self, upstream: Node) -> tuple[Node, ...]:
        gradients: list[Node] = []
        for slope in self.derivatives(*self.sources):
            turned = ops.Neg(slope.imag)
            parts = (slope.imag, slope.real) if self.of_imag else (slope.real, turned)
            gradients += [ops.Mul(upstream, part) for part in parts]
        return tuple(gradients)


def with_derivatives(value: Pair, derivatives: Derivatives, *sources: Pair) -> Pair:
    """``value`` as an analytic function with these derivatives, one a source."""
    inputs = tuple(part for pair in sources for part in (pair.real, pair.imag))
    parts = [
        with_gradient(part, inputs, Slopes(derivatives, sources, of_imag))
        for part, of_imag in ((value.real, False), (value.imag, True))
    ]
    return Pair(*parts)


# --- arithmetic -----------------------------------------------------------------------


def number(like: Pair, value: complex) -> Pair:
    """One number in the shape of a pair."""
    return Pair(full_like(like.real, value.real), full_like(like.imag, value.imag))


def add(lhs: Pair, rhs: Pair) -> Pair:
    """The sum."""
    return Pair(ops.Add(lhs.real, rhs.real), ops.Add(lhs.imag, rhs.imag))


def subtract(lhs: Pair, rhs: Pair) -> Pair:
    """The difference."""
    return Pair(ops.Sub(lhs.real, rhs.real), ops.Sub(lhs.imag, rhs.imag))


def multiply(lhs: Pair, rhs: Pair) -> Pair:
    """(a + ib)(c + id) = ac - bd + i(ad + bc)."""
    real = ops.Sub(ops.Mul(lhs.real, rhs.real), ops.Mul(lhs.imag, rhs.imag))
    imag = ops.Add(ops.Mul(lhs.real, rhs.imag), ops.Mul(lhs.imag, rhs.real))
    return Pair(real, imag)


def divide(lhs: Pair, rhs: Pair) -> Pair:
    """The quotient without overflow: R. L. Smith, Algorithm 116, CACM 5 (1962)."""
    is_steep = ops.Lt(nodes.absolute(rhs.real), nodes.absolute(rhs.imag))
    large: Node = ops.Where(is_steep, rhs.imag, rhs.real)
    # Halved on both sides of the fraction, sums of large numbers do not overflow.
    is_large = nodes.greater(nodes.absolute(large), 1)
    unit = ops.Where(is_large, full_like(large, 0.5), full_like(large, 1))
    small = ops.Mul(unit, ops.Where(is_steep, rhs.real, rhs.imag))
    first = ops.Mul(unit, ops.Where(is_steep, lhs.imag, lhs.real))
    second = ops.Mul(unit, ops.Where(is_steep, lhs.real, lhs.imag))
    large = ops.Mul(unit, large)
    ratio = ops.Div(small, large)
    divisor = ops.Add(large, ops.Mul(small, ratio))
    real = ops.Div(ops.Add(first, ops.Mul(second, ratio)), divisor)
    turned = ops.Div(ops.Sub(second, ops.Mul(first, ratio)), divisor)
    imag = ops.Where(is_steep, ops.Neg(turned), turned)
    is_zero = nodes.equals(large, 0)
    zero = nodes.absolute(large)
    value = Pair(
        ops.Where(is_zero, ops.Div(lhs.real, zero), real),
        ops.Where(is_zero, ops.Div(lhs.imag, zero), imag),
    )
    return with_derivatives(value, _divide_slopes, lhs, rhs)


def _divide_slopes(lhs: Pair, rhs: Pair) -> tuple[Pair, Pair]:
    inverse = divide(number(rhs, 1), rhs)
    return inverse, scale(multiply(divide(lhs, rhs), inverse), -1)


def scale(pair: Pair, factor: float) -> Pair:
    """The product with a real number."""
    return Pair(nodes.scale(pair.real, factor), nodes.scale(pair.imag, factor))


def times_i(pair: Pair) -> Pair:
    """A quarter turn: i(a + ib) = -b + ia."""
    return Pair(ops.Neg(pair.imag), pair.real)


def over_i(pair: Pair) -> Pair:
    """A quarter turn back: (a + ib) / i = b - ia."""
    return Pair(pair.imag, ops.Neg(pair.real))


def conjugate(pair: Pair) -> Pair:
    """a - ib."""
    return Pair(pair.real, ops.Neg(pair.imag))


def reciprocal(pair: Pair) -> Pair:
    """1 / z."""
    return divide(number(pair, 1), pair)


def square(pair: Pair) -> Pair:
    """z * z."""
    return multiply(pair, pair)


def choose(condition: Node, if_true: Pair, if_false: Pair) -> Pair:
    """One pair where the condition holds, else the other."""
    return Pair(
        ops.Where(condition, if_true.real, if_false.real),
        ops.Where(condition, if_true.imag, if_false.imag),
    )


def equal(lhs: Pair, rhs: Pair) -> Node:
    """Where both parts are equal."""
    return ops.And(ops.Eq(lhs.real, rhs.real), ops.Eq(lhs.imag, rhs.imag))


def differ(lhs: Pair, rhs: Pair) -> Node:
    """Where a part differs; NaN differs from everything."""
    return ops.Not(equal(lhs, rhs))


# --- size and angle -------------------------------------------------------------------


def absolute(pair: Pair) -> Node:
    """The distance from 0."""
    return nodes.hypot(pair.real, pair.imag)


def sign(pair: Pair) -> Pair:
    """z / |z|, and 0 of 0."""
    high = ops.Maximum(nodes.absolute(pair.real), nodes.absolute(pair.imag))
    divisor = ops.Where(nodes.equals(high, 0), full_like(high, 1), high)
    # Divided by its larger part first, the size neither overflows nor vanishes.
    near = Pair(ops.Div(pair.real, divisor), ops.Div(pair.imag, divisor))
    length = absolute(near)
    is_zero = nodes.equals(length, 0)
    length = ops.Where(is_zero, full_like(length, 1), length)
    found = Pair(ops.Div(near.real, length), ops.Div(near.imag, length))
    return choose(is_zero, number(pair, 0), found)


def round_half_even(pair: Pair) -> Pair:
    """Both parts rounded."""
    parts = [
        with_zero_gradient(nodes.round_half_even(part), part)
        for part in (pair.real, pair.imag)
    ]
    return Pair(*parts)


# --- exponentials, logarithms and roots -----------------------------------------------


def exp(pair: Pair) -> Pair:
    """exp(x + iy) = exp(x)(cos y + i sin y)."""
    x, y = pair.real, pair.imag
    cosine, sine = ops.Cos(y), ops.Sin(y)
    limit = 700.0 if x.dtype is dtypes.float64 else 80.0
    is_large = nodes.greater(x, limit)
    # exp(x) may overflow although exp(x) cos(y) does not.
    root = ops.Exp(ops.Where(is_large, nodes.scale(x, 0.5), x))
    again = ops.Where(is_large, root, full_like(root, 1))
    real = ops.Mul(ops.Mul(root, cosine), again)
    imag: Node = ops.Mul(ops.Mul(root, sine), again)
    imag = ops.Where(nodes.equals(y, 0), y, imag)
    turns_endlessly = ops.Not(_is_finite(y))
    vanishes = ops.And(turns_endlessly, nodes.equals(x, -math.inf))
    explodes = ops.And(turns_endlessly, nodes.equals(x, math.inf))
    value = Pair(ops.Where(explodes, x, real), imag)
    value = choose(vanishes, number(pair, 0), value)
    return with_derivatives(value, lambda z: (exp(z),), pair)


def _is_finite(node: Node) -> Node:
    return nodes.less(nodes.absolute(node), math.inf)


def expm1(pair: Pair) -> Pair:
    """exp(z) - 1: expm1(x) cos y - 2 sin²(y/2) + i exp(x) sin y."""
    x, y = pair.real, pair.imag
    half = ops.Sin(nodes.scale(y, 0.5))
    grown = ops.Mul(nodes.expm1(x), ops.Cos(y))
    # The last sum makes 0 of -0.
    real = nodes.add(ops.Sub(grown, nodes.scale(nodes.square(half), 2)), 0.0)
    near = Pair(real, exp(pair).imag)
    far = subtract(exp(pair), number(pair, 1))
    is_near = nodes.less(nodes.absolute(x), 1.0)
    return with_derivatives(choose(is_near, near, far), lambda z: (exp(z),), pair)


def log(pair: Pair) -> Pair:
    """log |z| + i angle(z)."""
    wide, tall = nodes.absolute(pair.real), nodes.absolute(pair.imag)
    is_steep = ops.Lt(wide, tall)
    high, low = ops.Where(is_steep, tall, wide), ops.Where(is_steep, wide, tall)
    ratio = ops.Div(low, ops.Where(nodes.equals(high, 0), full_like(high, 1), high))
    far = ops.Add(ops.Log(high), nodes.scale(nodes.log1p(nodes.square(ratio)), 0.5))
    # Near the unit circle |z|² - 1 is small, and is found without rounding |z|.
    above = ops.Mul(nodes.add(high, -1), nodes.add(high, 1))
    near = nodes.scale(nodes.log1p(ops.Add(above, nodes.square(low))), 0.5)
    is_near = ops.And(nodes.greater(high, 0.7), nodes.less(high, 1.4))
    size = ops.Where(is_near, near, far)
    is_infinite = ops.Or(nodes.equals(wide, math.inf), nodes.equals(tall, math.inf))
    size = ops.Where(is_infinite, full_like(size, math.inf), size)
    value = Pair(size, angle_nodes.atan2(pair.imag, pair.real))
    return with_derivatives(value, lambda z: (reciprocal(z),), pair)


def log1p(pair: Pair) -> Pair:
    """log(1 + z), accurate near 0: |1 + z|² - 1 = x(x + 2) + y²."""
    x, y = pair.real, pair.imag
    shifted = Pair(nodes.add(x, 1), y)
    far = log(shifted)
    above = ops.Add(ops.Mul(x, nodes.add(x, 2)), nodes.square(y))
    is_near = nodes.less(ops.Maximum(nodes.absolute(x), nodes.absolute(y)), 0.5)
    near = nodes.scale(nodes.log1p(above), 0.5)
    value = Pair(ops.Where(is_near, near, far.real), far.imag)
    return with_derivatives(value, lambda z: (reciprocal(add(z, number(z, 1))),), pair)


def log2(pair: Pair) -> Pair:
    """The logarithm to base 2."""
    return scale(log(pair), 1 / math.log(2))


def log10(pair: Pair) -> Pair:
    """The logarithm to base 10."""
    return scale(log(pair), 1 / math.log(10))


def exp2(pair: Pair) -> Pair:
    """2 to the power of z."""
    return exp(scale(pair, math.log(2)))


def sqrt(pair: Pair) -> Pair:
    """The root with the real part that is not negative."""
    x, y = pair.real, pair.imag
    wide, tall = nodes.absolute(x), nodes.absolute(y)
    is_large = nodes.greater(ops.Maximum(wide, tall), 1.0)
    # A factor of 4 out of the number is one of 2 out of its root.
    factor = ops.Where(is_large, full_like(x, 0.25), full_like(x, 4.0))
    unit = ops.Where(is_large, full_like(x, 2.0), full_like(x, 0.5))
    wide, tall = ops.Mul(wide, factor), ops.Mul(tall, factor)
    length = nodes.hypot(wide, tall)
    root: Node = ops.Sqrt(nodes.scale(ops.Add(wide, length), 0.5))
    other = ops.Mul(ops.Div(nodes.scale(tall, 0.5), root), unit)
    root = ops.Mul(root, unit)
    is_left = nodes.sign_bit(x)
    real = ops.Where(is_left, other, root)
    imag = nodes.copy_sign(ops.Where(is_left, root, other), y)
    is_zero = nodes.equals(length, 0)
    real, imag = ops.Where(is_zero, full_like(x, 0), real), ops.Where(is_zero, y, imag)
    is_vertical = nodes.equals(tall, math.inf)
    real = ops.Where(is_vertical, full_like(x, math.inf), real)
    imag = ops.Where(is_vertical, y, imag)
    return with_derivatives(Pair(real, imag), lambda z: (_sqrt_slope(z),), pair)


def _sqrt_slope(pair: Pair) -> Pair:
    return scale(reciprocal(sqrt(pair)), 0.5)


def rsqrt(pair: Pair) -> Pair:
    """1 / sqrt(z)."""
    return reciprocal(sqrt(pair))


def power(base: Pair, exponent: Pair) -> Pair:
    """exp(w log z); z to the power 0 is 1, and 0 to one on the right of 0 is 0."""
    found = exp(multiply(exponent, log(base)))
    is_zero = equal(base, number(base, 0))
    vanishes = ops.And(is_zero, nodes.greater(exponent.real, 0))
    found = choose(vanishes, number(base, 0), found)
    is_flat = equal(exponent, number(exponent, 0))
    value = choose(is_flat, number(base, 1), found)
    return with_derivatives(value, _power_slopes, base, exponent)


def _power_slopes(base: Pair, exponent: Pair) -> tuple[Pair, Pair]:
    """w z^(w - 1) and z^w log z, which is 0 where z^w is."""
    lower = power(base, subtract(exponent, number(exponent, 1)))
    by_base = multiply(exponent, lower)
    is_flat = equal(exponent, number(exponent, 0))
    by_base = choose(is_flat, number(base, 0), by_base)
    by_exponent = multiply(power(base, exponent), log(base))
    is_zero = equal(base, number(base, 0))
    return by_base, choose(is_zero, number(base, 0), by_exponent)


def sigmoid(pair: Pair) -> Pair:
    """1 / (1 + exp(-z))."""
    return reciprocal(add(exp(scale(pair, -1)), number(pair, 1)))


FORMS.update({
    arithmetic_nodes.add_nodes: add,
    arithmetic_nodes.subtract_nodes: subtract,
    arithmetic_nodes.multiply_nodes: multiply,
    arithmetic_nodes.differ_nodes: differ,
    ops.Div: divide,
    ops.Eq: equal,
    ops.Pow: power,
    ops.Reciprocal: reciprocal,
    ops.Exp: exp,
    ops.Exp2: exp2,
    ops.Log: log,
    ops.Log2: log2,
    ops.Sqrt: sqrt,
    nodes.absolute: absolute,
    nodes.expm1: expm1,
    nodes.log10: log10,
    nodes.log1p: log1p,
    nodes.round_half_even: round_half_even,
    nodes.rsqrt: rsqrt,
    nodes.sigmoid: sigmoid,
    nodes.sign: sign,
})  # fmt: skip
