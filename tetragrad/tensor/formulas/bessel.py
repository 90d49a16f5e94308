"""Bessel functions of orders 0 and 1, and Airy's function.

Near zero they are integrals over a circle or a line (DLMF 10.9, 10.32), beyond that
asymptotic series (DLMF 10.17, 10.40). All are computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas.functions import add, scale, square
from tetragrad.tensor.formulas.quadrature import (
    in_float64,
    mean_over_half_circle,
    sum_over,
)
from tetragrad.tensor.gradient_rules import with_slope

#: From here on the asymptotic series are exact to float64's precision.
FAR = 25.0

#: Points on the half circle, enough for arguments up to FAR: what is left out is of
#: the size of the Bessel function of twice this order.
POINTS = 48

#: Terms of an asymptotic series; the smallest one at FAR is number 50.
TERMS = 20


def _near_and_far(
    node: Node, near: Callable[[Node], Node], far: Callable[[Node], Node]
) -> Node:
    """Each formula where it holds; neither sees an argument that it cannot take."""
    is_far = nodes.greater(node, FAR)
    edge = full_like(node, FAR)
    close = near(ops.Where(is_far, edge, node))
    return ops.Where(is_far, far(ops.Where(is_far, node, edge)), close)


def _hankel_coefficients(order: int) -> list[float]:
    """a_k(ν) of DLMF 10.17.1: Π ((2ν)² - (2j-1)²) / (j 8)."""
    found = [1.0]
    for k in range(1, TERMS):
        found.append(found[-1] * (4 * order**2 - (2 * k - 1) ** 2) / (8 * k))
    return found


def _series(coefficients: list[float], inverse: Node) -> Node:
    """c0 + c1 y + c2 y² + …"""
    value = full_like(inverse, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = add(ops.Mul(value, inverse), coefficient)
    return value


# --- J and Y --------------------------------------------------------------------------


def _oscillating_far(order: int, is_second: bool) -> Callable[[Node], Node]:
    """sqrt(2/(πx)) (P cos ω - Q sin ω), with sine and cosine exchanged for Y."""
    signed = [
        coefficient * (-1) ** (k // 2)
        for k, coefficient in enumerate(_hankel_coefficients(order))
    ]

    def value(node: Node) -> Node:
        inverse = ops.Reciprocal(node)
        squared = square(inverse)
        even = _series(signed[0::2], squared)
        odd = ops.Mul(_series(signed[1::2], squared), inverse)
        # ω = x - (2ν + 1)π/4, without losing digits of x.
        sine, cosine = _turned(node, order)
        size = ops.Sqrt(scale(inverse, 2 / math.pi))
        if is_second:
            wave: Node = ops.Add(ops.Mul(even, sine), ops.Mul(odd, cosine))
        else:
            wave = ops.Sub(ops.Mul(even, cosine), ops.Mul(odd, sine))
        return ops.Mul(size, wave)

    return value


def _turned(node: Node, order: int) -> tuple[Node, Node]:
    """The sine and cosine of x - (2ν + 1)π/4, for orders 0 and 1."""
    sine, cosine = ops.Sin(node), ops.Cos(node)
    root = math.sqrt(0.5)
    difference = scale(ops.Sub(sine, cosine), root)
    total = scale(ops.Add(sine, cosine), root)
    return (difference, total) if order == 0 else (ops.Neg(total), difference)


def _j0_near(node: Node) -> Node:
    """(1/π) ∫ cos(x sin θ) dθ."""
    return mean_over_half_circle(
        node, POINTS, lambda x, angle: ops.Cos(ops.Mul(x, ops.Sin(angle)))
    )


def _j1_near(node: Node) -> Node:
    """(x/π) ∫ cos(x cos θ) sin²θ dθ, which is exact near zero too."""

    def integrand(x: Node, angle: Node) -> Node:
        wave = ops.Cos(ops.Mul(x, ops.Cos(angle)))
        return ops.Mul(wave, square(ops.Sin(angle)))

    return ops.Mul(node, mean_over_half_circle(node, POINTS, integrand))


@in_float64
def bessel_j0(node: Node) -> Node:
    """J0."""
    return _j0(nodes.absolute(node))


def _j0(node: Node) -> Node:
    return _near_and_far(node, _j0_near, _oscillating_far(0, False))


@in_float64
def bessel_j1(node: Node) -> Node:
    """J1, which is odd."""
    value = _near_and_far(nodes.absolute(node), _j1_near, _oscillating_far(1, False))
    return ops.Where(nodes.less(node, 0), ops.Neg(value), value)


def _neumann_weight(angle: Node) -> Node:
    """Σ (-1)^k cos(2kθ) / k over the orders that matter for arguments up to FAR.

    Neumann's series Y0 = (2/π)(ln(x/2) + γ) J0 - (4/π) Σ (-1)^k J_2k / k
    (DLMF 10.8.3) has in each J_2k the same integrand but for cos(2kθ), which needs
    twice as many points.
    """
    double = scale(ops.Cos(scale(angle, 2.0)), 2.0)
    # Chebyshev's recurrence cos((k+1)φ) = 2 cos(φ) cos(kφ) - cos((k-1)φ).
    before, wave = full_like(angle, 1.0), scale(double, 0.5)
    total: Node = ops.Neg(wave)
    for k in range(2, POINTS // 2 + 6):
        before, wave = wave, ops.Sub(ops.Mul(double, wave), before)
        total = ops.Add(total, scale(wave, (-1.0) ** k / k))
    return total


def _logarithm(node: Node) -> Node:
    """(2/π) (ln(x/2) + γ)."""
    return scale(add(ops.Log(scale(node, 0.5)), float(np.euler_gamma)), 2 / math.pi)


def _y0_near(node: Node) -> Node:
    def integrand(x: Node, angle: Node) -> Node:
        return ops.Mul(_neumann_weight(angle), ops.Cos(ops.Mul(x, ops.Sin(angle))))

    rest = scale(mean_over_half_circle(node, 2 * POINTS, integrand), -4 / math.pi)
    return ops.Add(ops.Mul(_logarithm(node), _j0_near(node)), rest)


def _y1_near(node: Node) -> Node:
    """The derivative of Y0, with the opposite sign."""

    def integrand(x: Node, angle: Node) -> Node:
        sine = ops.Sin(angle)
        wave = ops.Mul(sine, ops.Sin(ops.Mul(x, sine)))
        return ops.Mul(_neumann_weight(angle), wave)

    rest = scale(mean_over_half_circle(node, 2 * POINTS, integrand), -4 / math.pi)
    pole = scale(ops.Div(_j0_near(node), node), -2 / math.pi)
    return ops.Add(pole, ops.Add(ops.Mul(_logarithm(node), _j1_near(node)), rest))


def _of_positive(node: Node, value: Node) -> Node:
    """-inf at zero and NaN below, where Y is not defined."""
    value = ops.Where(nodes.equals(node, 0), full_like(node, -math.inf), value)
    return ops.Where(nodes.less(node, 0), full_like(node, math.nan), value)


@in_float64
def bessel_y0(node: Node) -> Node:
    """Y0; -inf at zero, NaN below."""
    value = _near_and_far(node, _y0_near, _oscillating_far(0, True))
    return _of_positive(node, value)


@in_float64
def bessel_y1(node: Node) -> Node:
    """Y1; -inf at zero, NaN below."""
    value = _near_and_far(node, _y1_near, _oscillating_far(1, True))
    return _of_positive(node, value)


# --- I --------------------------------------------------------------------------------


def _growing_far(order: int) -> Callable[[Node], Node]:
    """exp(-x) I(x) = (1 - a1/x + a2/x² - …) / sqrt(2πx)."""
    signed = [a * (-1) ** k for k, a in enumerate(_hankel_coefficients(order))]

    def value(node: Node) -> Node:
        inverse = ops.Reciprocal(node)
        root = ops.Sqrt(scale(inverse, 0.5 / math.pi))
        return ops.Mul(_series(signed, inverse), root)

    return value


def _i0e_near(node: Node) -> Node:
    """(1/π) ∫ exp(x (cos θ - 1)) dθ."""

    def integrand(x: Node, angle: Node) -> Node:
        return ops.Exp(ops.Mul(x, add(ops.Cos(angle), -1.0)))

    return mean_over_half_circle(node, POINTS, integrand)


def _i1e_near(node: Node) -> Node:
    """(x/π) ∫ exp(x (cos θ - 1)) sin²θ dθ."""

    def integrand(x: Node, angle: Node) -> Node:
        power = ops.Exp(ops.Mul(x, add(ops.Cos(angle), -1.0)))
        return ops.Mul(power, square(ops.Sin(angle)))

    return ops.Mul(node, mean_over_half_circle(node, POINTS, integrand))


@in_float64
def _i0e(node: Node) -> Node:
    return _near_and_far(nodes.absolute(node), _i0e_near, _growing_far(0))


@in_float64
def _i1e(node: Node) -> Node:
    value = _near_and_far(nodes.absolute(node), _i1e_near, _growing_far(1))
    return ops.Where(nodes.less(node, 0), ops.Neg(value), value)


@in_float64
def _i0(node: Node) -> Node:
    return _unscaled(_i0e(node), node)


@in_float64
def _i1(node: Node) -> Node:
    return _unscaled(_i1e(node), node)


def _unscaled(value: Node, node: Node) -> Node:
    """Times exp(|x|), in two steps, as the power alone overflows earlier."""
    half = ops.Exp(scale(nodes.absolute(node), 0.5))
    return ops.Mul(ops.Mul(value, half), half)


def i0(node: Node) -> Node:
    """I0, whose derivative is I1."""
    return with_slope(_i0(node), node, i1)


def i1(node: Node) -> Node:
    """I1, whose derivative is I0 - I1/x."""
    return with_slope(_i1(node), node, _i1_slope)


def _i1_slope(node: Node) -> Node:
    return ops.Sub(_i0(node), _quotient_at_zero(_i1(node), node))


def _quotient_at_zero(value: Node, node: Node) -> Node:
    """I1(x) / x, which is 1/2 at zero."""
    is_zero = nodes.equals(node, 0)
    one = full_like(node, 1.0)
    quotient = ops.Div(value, ops.Where(is_zero, one, node))
    return ops.Where(is_zero, full_like(node, 0.5), quotient)


def i0e(node: Node) -> Node:
    """exp(-|x|) I0."""
    return with_slope(_i0e(node), node, _i0e_slope)


def _i0e_slope(node: Node) -> Node:
    return ops.Sub(_i1e(node), ops.Mul(nodes.sign(node), _i0e(node)))


def i1e(node: Node) -> Node:
    """exp(-|x|) I1."""
    return with_slope(_i1e(node), node, _i1e_slope)


def _i1e_slope(node: Node) -> Node:
    value = _i1e(node)
    falling = ops.Mul(nodes.sign(node), value)
    quotient = _quotient_at_zero(value, node)
    return ops.Sub(ops.Sub(_i0e(node), quotient), falling)


# --- K --------------------------------------------------------------------------------

#: Below, the power series; above, the integral.
_K_LIMIT = 2.0

#: The distance of the integral's points times sqrt(x).
_K_GAP = 0.35


def _k_series(order: int) -> Callable[[Node], Node]:
    """DLMF 10.31.1 and 10.31.2: a logarithm times I, and a power series."""

    def value(node: Node) -> Node:
        quarter = scale(square(node), 0.25)
        total, term, harmonic = full_like(node, 0.0), full_like(node, 1.0), 0.0
        for k in range(1, 18):
            # For order 1 the numbers of two harmonic sums are averaged.
            low, harmonic = harmonic, harmonic + 1 / k
            share = harmonic if order == 0 else 0.5 * (low + harmonic)
            if order == 0:
                term = ops.Mul(term, scale(quarter, 1 / k**2))
            total = ops.Add(total, scale(term, share))
            if order == 1:
                term = ops.Mul(term, scale(quarter, 1 / (k * (k + 1))))
        log = add(ops.Log(scale(node, 0.5)), float(np.euler_gamma))
        if order == 0:
            return ops.Sub(total, ops.Mul(log, _i0(node)))
        middle = ops.Mul(log, _i1(node))
        return ops.Add(
            ops.Reciprocal(node), ops.Sub(middle, ops.Mul(scale(node, 0.5), total))
        )

    return value


def _k_scaled(order: float, node: Node) -> Node:
    """exp(x) K(x) = ∫ exp(-x (cosh t - 1)) cosh(νt) dt (DLMF 10.32.9).

    Points are closer for a larger x, so that the bell has as many for every x.
    """
    step = scale(ops.Reciprocal(ops.Sqrt(node)), _K_GAP)

    def term(both: Node, number: Node) -> Node:
        gap = scale(ops.Reciprocal(ops.Sqrt(both)), _K_GAP)
        point = ops.Mul(number, gap)
        # cosh t - 1 = 2 sinh²(t/2), without cancellation.
        sine = nodes.sinh(scale(point, 0.5))
        falling = ops.Exp(ops.Neg(scale(ops.Mul(both, square(sine)), 2.0)))
        value = ops.Mul(falling, nodes.cosh(scale(point, order)))
        is_first = nodes.equals(number, 0)
        return ops.Where(is_first, scale(value, 0.5), value)

    return ops.Mul(step, sum_over(node, 27, term))


def _k(order: int, scaled: bool) -> Callable[[Node], Node]:
    @in_float64
    def value(node: Node) -> Node:
        is_far = nodes.greater(node, _K_LIMIT)
        edge = full_like(node, _K_LIMIT)
        far = _k_scaled(order, ops.Where(is_far, node, edge))
        near = _k_series(order)(ops.Where(is_far, edge, node))
        power = ops.Exp(ops.Neg(node) if not scaled else node)
        if scaled:
            near = ops.Mul(near, power)
        else:
            far = ops.Mul(far, power)
        result = ops.Where(is_far, far, near)
        result = ops.Where(nodes.equals(node, 0), full_like(node, math.inf), result)
        return ops.Where(nodes.less(node, 0), full_like(node, math.nan), result)

    return value


def modified_bessel_k0(node: Node) -> Node:
    """K0; infinite at zero, NaN below."""
    return _k(0, False)(node)


def modified_bessel_k1(node: Node) -> Node:
    """K1; infinite at zero, NaN below."""
    return _k(1, False)(node)


def scaled_modified_bessel_k0(node: Node) -> Node:
    """exp(x) K0, which falls off slowly."""
    return _k(0, True)(node)


def scaled_modified_bessel_k1(node: Node) -> Node:
    """exp(x) K1, which falls off slowly."""
    return _k(1, True)(node)


# --- others ---------------------------------------------------------------------------


@in_float64
def spherical_bessel_j0(node: Node) -> Node:
    """sin(x) / x, and 1 at zero."""
    is_zero = nodes.equals(node, 0)
    one = full_like(node, 1.0)
    quotient = ops.Div(ops.Sin(node), ops.Where(is_zero, one, node))
    value = ops.Where(is_zero, one, quotient)
    is_infinite = nodes.equals(nodes.absolute(node), math.inf)
    return ops.Where(is_infinite, full_like(node, 0.0), value)


#: Ai(0) and -Ai'(0) (DLMF 9.2.3 and 9.2.4).
_AIRY_0 = 0.355028053887817239260
_AIRY_SLOPE_0 = 0.258819403792806798405

#: Where the power series ends: beyond it the waves, and the falling side.
_AIRY_WAVES, _AIRY_FALL = -7.0, 1.5


def _airy_series(node: Node) -> Node:
    """DLMF 9.4.1: two power series in x³."""
    cube = ops.Mul(square(node), node)
    first, second = full_like(node, 1.0), node
    total_first, total_second = first, second
    for k in range(1, 40):
        first = ops.Mul(first, scale(cube, 1 / ((3 * k - 1) * (3 * k))))
        second = ops.Mul(second, scale(cube, 1 / ((3 * k) * (3 * k + 1))))
        total_first = ops.Add(total_first, first)
        total_second = ops.Add(total_second, second)
    return ops.Sub(scale(total_first, _AIRY_0), scale(total_second, _AIRY_SLOPE_0))


def _airy_fall(node: Node) -> Node:
    """sqrt(x/3)/π K_{1/3}(ζ), with ζ = (2/3) x^(3/2) (DLMF 9.6.2)."""
    depth = scale(ops.Mul(node, ops.Sqrt(node)), 2 / 3)
    size = scale(ops.Sqrt(scale(node, 1 / 3)), 1 / math.pi)
    return ops.Mul(ops.Mul(size, _k_scaled(1 / 3, depth)), ops.Exp(ops.Neg(depth)))


def _airy_waves(node: Node) -> Node:
    """DLMF 9.7.9, for the size of a negative argument."""
    depth = scale(ops.Mul(node, ops.Sqrt(node)), 2 / 3)
    coefficients = [1.0]
    for k in range(1, 16):
        factor = (6 * k - 5) * (6 * k - 3) * (6 * k - 1) / (216 * k * (2 * k - 1))
        coefficients.append(coefficients[-1] * factor)
    signed = [c * (-1) ** (k // 2) for k, c in enumerate(coefficients)]
    inverse = ops.Reciprocal(depth)
    squared = square(inverse)
    even = _series(signed[0::2], squared)
    odd = ops.Mul(_series(signed[1::2], squared), inverse)
    angle = add(depth, -math.pi / 4)
    wave = ops.Add(ops.Mul(even, ops.Cos(angle)), ops.Mul(odd, ops.Sin(angle)))
    size = scale(ops.Sqrt(ops.Sqrt(node)), math.sqrt(math.pi))
    return ops.Div(wave, size)


@in_float64
def airy_ai(node: Node) -> Node:
    """Airy's function Ai."""
    is_wave = nodes.less(node, _AIRY_WAVES)
    is_fall = nodes.greater(node, _AIRY_FALL)
    low, high = full_like(node, -_AIRY_WAVES), full_like(node, _AIRY_FALL)
    waves = _airy_waves(ops.Where(is_wave, ops.Neg(node), low))
    fall = _airy_fall(ops.Where(is_fall, node, high))
    zero = full_like(node, 0.0)
    is_outside = ops.Or(is_wave, is_fall)
    middle = _airy_series(ops.Where(is_outside, zero, node))
    return ops.Where(is_wave, waves, ops.Where(is_fall, fall, middle))
