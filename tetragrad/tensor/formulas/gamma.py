"""The gamma function's relatives: logarithm, derivatives, zeta, incomplete forms.

All are computed in float64. Arguments below 1/2 are reflected (DLMF 5.5), so that
the approximations see positive numbers only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas.functions import add, scale, square
from tetragrad.tensor.formulas.quadrature import in_float64
from tetragrad.tensor.gradient_rules import with_gradient, with_slope

#: Arguments are moved up to here before an asymptotic series is used.
_FAR = 10

#: Terms of Euler and Maclaurin's sum; the smallest one at 10 is below 1e-17.
_TERMS = 12


@functools.cache
def _bernoulli_numbers(count: int = _TERMS) -> list[float]:
    """B2, B4, B6, …, by the recurrence Σ C(n+1, k) B_k = 0."""
    # Slow to import, and few programs need it.
    from fractions import Fraction

    found = [Fraction(1)]
    for n in range(1, 2 * count + 1):
        total = sum((math.comb(n + 1, k) * found[k] for k in range(n)), Fraction())
        found.append(-total / (n + 1))
    return [float(number) for number in found[2::2]]


def _reflected(
    node: Node, value: Callable[[Node], Node], mirror: Callable[[Node, Node], Node]
) -> Node:
    """``value`` at x, or below 1/2 ``mirror`` of x and of the value at 1 - x."""
    is_low = nodes.less(node, 0.5)
    other = ops.Sub(full_like(node, 1.0), node)
    found = value(ops.Where(is_low, other, node))
    safe = ops.Where(is_low, node, full_like(node, 0.25))
    return ops.Where(is_low, mirror(safe, found), found)


def _is_pole(node: Node) -> Node:
    """Zero and the negative whole numbers."""
    is_whole = ops.Eq(node, ops.Floor(node))
    return ops.And(is_whole, ops.Not(nodes.greater(node, 0.0)))


def _half_turn(node: Node) -> Node:
    """πx less the whole turns, which sine and tangent do not see."""
    return scale(ops.Sub(node, nodes.round_half_even(node)), math.pi)


# --- the logarithm --------------------------------------------------------------------


def _log_gamma_positive(node: Node) -> Node:
    """Stirling's series (DLMF 5.11.1) at x + 10, less the logarithm of the steps."""
    product = node
    for step in range(1, _FAR):
        product = ops.Mul(product, add(node, float(step)))
    is_low = nodes.less(node, float(_FAR))
    moved = ops.Where(is_low, add(node, float(_FAR)), node)
    inverse = ops.Reciprocal(moved)
    squared = square(inverse)
    series = full_like(node, 0.0)
    for k in range(_TERMS, 0, -1):
        term = _bernoulli_numbers()[k - 1] / (2 * k * (2 * k - 1))
        series = add(ops.Mul(series, squared), term)
    series = ops.Mul(series, inverse)
    main = ops.Mul(add(moved, -0.5), ops.Log(moved))
    half_log = 0.5 * math.log(2 * math.pi)
    stirling = ops.Add(add(ops.Sub(main, moved), half_log), series)
    one = full_like(node, 1.0)
    steps = ops.Log(ops.Where(is_low, product, one))
    value: Node = ops.Sub(stirling, steps)
    # The two zeros are exact, though the terms that cancel there are not.
    is_zero = ops.Or(nodes.equals(node, 1.0), nodes.equals(node, 2.0))
    value = ops.Where(is_zero, full_like(node, 0.0), value)
    return ops.Where(nodes.equals(node, math.inf), node, value)


@in_float64
def _log_gamma(node: Node) -> Node:
    def mirror(low: Node, other: Node) -> Node:
        sine = nodes.absolute(ops.Sin(_half_turn(low)))
        log = ops.Log(ops.Div(full_like(low, math.pi), sine))
        return ops.Sub(log, other)

    value = _reflected(node, _log_gamma_positive, mirror)
    value = ops.Where(_is_pole(node), full_like(node, math.inf), value)
    is_infinite = nodes.equals(node, -math.inf)
    return ops.Where(is_infinite, full_like(node, math.inf), value)


def lgamma(node: Node) -> Node:
    """ln |Γ(x)|; infinite at zero and the negative whole numbers."""
    return with_slope(_log_gamma(node), node, digamma)


# --- derivatives ----------------------------------------------------------------------


def digamma(node: Node) -> Node:
    """The derivative of ln Γ."""
    return polygamma(0)(node)


def polygamma(order: int) -> Callable[[Node], Node]:
    """The derivative of ``digamma`` of this order."""

    @in_float64
    def compute(node: Node) -> Node:
        return _polygamma(order, node)

    def value(node: Node) -> Node:
        return with_slope(compute(node), node, polygamma(order + 1))

    return value


def _polygamma(order: int, node: Node) -> Node:
    sign = (-1.0) ** order

    def mirror(low: Node, other: Node) -> Node:
        slope = scale(_cotangent_slope(order, low), math.pi ** (order + 1))
        return ops.Sub(scale(other, sign), slope)

    value = _reflected(node, lambda x: _polygamma_positive(order, x), mirror)
    return ops.Where(_is_pole(node), _at_pole(order, node), value)


def _at_pole(order: int, node: Node) -> Node:
    """What digamma tends to from the side of the sign at 0; NaN at its other poles."""
    if order:
        return full_like(node, math.inf * (-1.0) ** (order + 1))
    infinite = nodes.copy_sign(full_like(node, math.inf), ops.Neg(node))
    return ops.Where(nodes.equals(node, 0), infinite, full_like(node, math.nan))


def _cotangent_slope(order: int, node: Node) -> Node:
    """The derivative of cot y of this order at y = πx.

    With c = cot y the derivative of a polynomial in c is -(1 + c²) times its own.
    """
    coefficients = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(order):
        coefficients = -coefficients.deriv() * np.polynomial.Polynomial([1.0, 0.0, 1.0])
    angle = _half_turn(node)
    cotangent = ops.Div(ops.Cos(angle), ops.Sin(angle))
    value = full_like(node, 0.0)
    for coefficient in reversed(coefficients.coef):
        value = add(ops.Mul(value, cotangent), float(coefficient))
    return value


def _polygamma_positive(order: int, node: Node) -> Node:
    if order:
        factor = math.factorial(order) * (-1.0) ** (order + 1)
        return scale(_zeta_positive(full_like(node, order + 1.0), node), factor)
    # ψ(x) = ψ(x + 10) - Σ 1 / (x + k); then DLMF 5.11.2.
    moved = add(node, float(_FAR))
    steps: Node = ops.Reciprocal(node)
    for step in range(1, _FAR):
        steps = ops.Add(steps, ops.Reciprocal(add(node, float(step))))
    inverse = square(ops.Reciprocal(moved))
    series = full_like(node, 0.0)
    for k in range(_TERMS, 0, -1):
        series = add(ops.Mul(series, inverse), _bernoulli_numbers()[k - 1] / (2 * k))
    series = ops.Mul(series, inverse)
    main = ops.Sub(ops.Log(moved), ops.Reciprocal(scale(moved, 2.0)))
    return ops.Sub(ops.Sub(main, series), steps)


# --- zeta -----------------------------------------------------------------------------


def _zeta_positive(exponent: Node, start: Node) -> Node:
    """Σ (q + k)^-s over k >= 0, for s > 1 and q > 0 (Euler and Maclaurin)."""
    total = full_like(start, 0.0)
    negative = ops.Neg(exponent)
    for step in range(_FAR):
        total = ops.Add(total, ops.Pow(add(start, float(step)), negative))
    moved = add(start, float(_FAR))
    power = ops.Pow(moved, negative)
    rest = ops.Div(ops.Mul(moved, power), add(exponent, -1.0))
    total = ops.Add(ops.Add(total, rest), scale(power, 0.5))
    factor = ops.Div(ops.Mul(exponent, power), moved)
    for k in range(1, _TERMS):
        share = _bernoulli_numbers()[k - 1] / math.factorial(2 * k)
        total = ops.Add(total, scale(factor, share))
        rising = ops.Mul(add(exponent, 2.0 * k - 1.0), add(exponent, 2.0 * k))
        factor = ops.Div(ops.Mul(factor, rising), square(moved))
    return total


@in_float64
def zeta(exponent: Node, start: Node) -> Node:
    """Hurwitz' zeta function ζ(s, q) = Σ (q + k)^-s.

    Infinite at s = 1 and at the poles q = 0, -1, -2, …; NaN for s < 1, and for
    negative q unless s is whole.
    """
    is_negative = nodes.less(start, 0.0)
    safe = ops.Where(nodes.greater(exponent, 1.0), exponent, full_like(exponent, 2.0))
    rest = ops.Sub(start, ops.Floor(start))
    first = ops.Where(is_negative, rest, start)
    half = full_like(start, 0.5)
    pole = _is_pole(start)
    value = _zeta_positive(safe, ops.Where(pole, half, first))
    # The negative q + k are, but for the sign, 1 - r, 2 - r, …, -q with r = q - ⌊q⌋.
    other = ops.Sub(full_like(rest, 1.0), rest)
    beyond = ops.Sub(full_like(start, 1.0), ops.Where(is_negative, start, half))
    below: Node = ops.Sub(_zeta_positive(safe, other), _zeta_positive(safe, beyond))
    is_odd = ops.Not(nodes.equals(ops.Mod(safe, full_like(safe, 2.0)), 0.0))
    below = ops.Where(is_odd, ops.Neg(below), below)
    value = ops.Where(is_negative, ops.Add(value, below), value)
    nan, infinite = full_like(start, math.nan), full_like(start, math.inf)
    is_whole = ops.Eq(exponent, ops.Floor(exponent))
    value = ops.Where(ops.And(is_negative, ops.Not(is_whole)), nan, value)
    value = ops.Where(pole, infinite, value)
    value = ops.Where(nodes.equals(exponent, 1.0), infinite, value)
    is_defined = ops.Not(nodes.less(exponent, 1.0))
    return ops.Where(is_defined, value, nan)


# --- incomplete -----------------------------------------------------------------------

#: Rounds of the series and of the continued fraction; above the limit, the integral.
_ROUNDS, _LARGE = 220, 200.0


def _incomplete_series(shape: Node, node: Node) -> Node:
    """P(a, x) = x^a e^-x / Γ(a + 1) (1 + x/(a+1) + x²/((a+1)(a+2)) + …)."""
    term = total = full_like(node, 1.0)
    for k in range(1, _ROUNDS):
        term = ops.Mul(term, ops.Div(node, add(shape, float(k))))
        total = ops.Add(total, term)
    return ops.Div(ops.Mul(_density(shape, node), total), shape)


def _incomplete_fraction(shape: Node, node: Node) -> Node:
    """Q(a, x) as Legendre's continued fraction (DLMF 8.9.2), from its end."""
    value = full_like(node, 0.0)
    for k in range(_ROUNDS // 2, 0, -1):
        partial = scale(add(shape, -float(k)), float(k))
        divisor = add(ops.Sub(node, shape), 2.0 * k + 1.0)
        value = ops.Div(partial, ops.Add(divisor, value))
    divisor = ops.Add(add(ops.Sub(node, shape), 1.0), value)
    return ops.Div(_density(shape, node), divisor)


def _density(shape: Node, node: Node) -> Node:
    """x^a e^-x / Γ(a)."""
    log = ops.Sub(ops.Mul(shape, ops.Log(node)), node)
    return ops.Exp(ops.Sub(log, _log_gamma(shape)))


def _incomplete_integral(shape: Node, node: Node) -> Node:
    """Q(a, x) of a large a, by summing its density from x on in short steps.

    With the substitution t = x + u the integrand falls off like a normal density of
    width sqrt(a), which Gauss and Legendre's rule with 60 points resolves.
    """
    points, weights = np.polynomial.legendre.leggauss(60)
    width = scale(ops.Sqrt(shape), 12.0)
    peak = add(shape, -1.0)
    low = ops.Where(ops.Lt(node, ops.Sub(peak, width)), ops.Sub(peak, width), node)
    high = ops.Add(ops.Where(ops.Lt(node, peak), peak, node), width)
    half = scale(ops.Sub(high, low), 0.5)
    middle = scale(ops.Add(high, low), 0.5)
    norm = _log_gamma(shape)
    total = full_like(node, 0.0)
    for point, weight in zip(points, weights, strict=True):
        place = ops.Add(middle, scale(half, float(point)))
        log = ops.Sub(ops.Sub(ops.Mul(peak, ops.Log(place)), place), norm)
        total = ops.Add(total, scale(ops.Exp(log), float(weight)))
    return ops.Mul(total, half)


def _incomplete(shape: Node, node: Node, upper: bool) -> Node:
    """P or Q, each computed where it is small and else as 1 less the other."""
    one = full_like(node, 1.0)
    is_plain = ops.And(nodes.greater(node, 0.0), nodes.greater(shape, 0.0))
    is_plain = ops.And(is_plain, nodes.less(node, math.inf))
    is_plain = ops.And(is_plain, nodes.less(shape, math.inf))
    x, a = ops.Where(is_plain, node, one), ops.Where(is_plain, shape, one)
    is_large = nodes.greater(a, _LARGE)
    is_low = ops.Lt(x, add(a, 1.0))
    in_series = ops.And(is_low, ops.Not(is_large))
    small = ops.Where(in_series, a, one), ops.Where(in_series, x, one)
    lower_part = _incomplete_series(*small)
    in_fraction = ops.Not(ops.Or(is_low, is_large))
    two = full_like(node, 3.0)
    far = ops.Where(in_fraction, a, one), ops.Where(in_fraction, x, two)
    upper_part = _incomplete_fraction(*far)
    limit = full_like(node, _LARGE)
    wide = ops.Where(is_large, a, limit), ops.Where(is_large, x, limit)
    upper_part = ops.Where(is_large, _incomplete_integral(*wide), upper_part)
    other = lower_part if upper else upper_part
    own = upper_part if upper else lower_part
    is_own = ops.Not(in_series) if upper else in_series
    value = ops.Where(is_own, own, ops.Sub(one, other))
    return ops.Where(is_plain, value, _incomplete_edge(shape, node, upper))


def _incomplete_edge(shape: Node, node: Node, upper: bool) -> Node:
    """The limits at zero and infinity; NaN where nothing is defined."""
    low, high = full_like(node, float(upper)), full_like(node, float(not upper))
    nan = full_like(node, math.nan)
    value = ops.Where(nodes.equals(node, 0.0), low, nan)
    is_infinite = nodes.equals(node, math.inf)
    value = ops.Where(is_infinite, high, value)
    wide = nodes.equals(shape, math.inf)
    value = ops.Where(wide, ops.Where(is_infinite, nan, low), value)
    is_zero_shape = nodes.equals(shape, 0.0)
    at_zero = ops.Where(nodes.greater(node, 0.0), high, nan)
    value = ops.Where(is_zero_shape, at_zero, value)
    negative = ops.Or(nodes.less(node, 0.0), nodes.less(shape, 0.0))
    return ops.Where(negative, nan, value)


def igamma(shape: Node, node: Node) -> Node:
    """P(a, x), the regularised lower incomplete gamma function."""
    return _with_density(shape, node, upper=False)


def igammac(shape: Node, node: Node) -> Node:
    """Q(a, x) = 1 - P(a, x)."""
    return _with_density(shape, node, upper=True)


def _with_density(shape: Node, node: Node, upper: bool) -> Node:
    @in_float64
    def compute(a: Node, x: Node) -> Node:
        return _incomplete(a, x, upper)

    @in_float64
    def density(a: Node, x: Node) -> Node:
        return ops.Div(_density(a, x), x)

    def rule(upstream: Node) -> tuple[Node | None, Node]:
        slope = density(shape, node)
        slope = ops.Neg(slope) if upper else slope
        # The derivative by the shape has no closed form, and is not given.
        return None, ops.Mul(upstream, slope)

    return with_gradient(compute(shape, node), (shape, node), rule)
