"""Functions of one number, built from those that the graph has.

Each takes and gives a floating-point node. Where the composition's own gradient
would cancel or overflow, the derivative is written beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.gradient_rules import (
    Backward,
    with_gradient,
    with_slope,
)

_SIGN_DTYPES = {16: dtypes.int16, 32: dtypes.int32, 64: dtypes.int64}


def add(node: Node, value: float) -> Node:
    """x + a number."""
    return ops.Add(node, full_like(node, value))


def scale(node: Node, factor: float) -> Node:
    """x * a number."""
    return ops.Mul(node, full_like(node, factor))


def less(node: Node, value: float) -> Node:
    """Whether x is less than a number."""
    return ops.Lt(node, full_like(node, value))


def greater(node: Node, value: float) -> Node:
    """Whether x is greater than a number."""
    return ops.Lt(full_like(node, value), node)


def equals(node: Node, value: float) -> Node:
    """Whether x is a number."""
    return ops.Eq(node, full_like(node, value))


def is_nan(node: Node) -> Node:
    """Whether x is NaN: the one value that differs from itself."""
    return ops.Not(ops.Eq(node, node))


def sign_bit(node: Node) -> Node:
    """Whether the sign is negative, also for -0 and NaN."""
    if not node.dtype.is_floating_point:
        return less(node, 0)
    return less(ops.Bitcast(node, _SIGN_DTYPES[node.dtype.bits]), 0)


def sign(node: Node) -> Node:
    """1, 0 or -1."""
    negative = full_like(node, -1) if node.dtype.is_signed else full_like(node, 0)
    zero, one = full_like(node, 0), full_like(node, 1)
    below = ops.Where(less(node, 0), negative, zero)
    return ops.Where(greater(node, 0), one, below)


def absolute(node: Node) -> Node:
    """|x|, with gradient 0 at 0; |-0| is 0."""
    zero = full_like(node, 0)
    value = ops.Where(greater(node, 0), node, ops.Sub(zero, node))
    return with_slope(value, node, sign) if node.dtype.is_floating_point else value


def copy_sign(magnitude: Node, source: Node) -> Node:
    """The magnitude of one number with the sign of another."""
    positive = absolute(magnitude)
    return ops.Where(sign_bit(source), ops.Neg(positive), positive)


def square(node: Node) -> Node:
    """x * x."""
    return ops.Mul(node, node)


def rsqrt(node: Node) -> Node:
    """1 / sqrt(x)."""
    return ops.Reciprocal(ops.Sqrt(node))


def hypot(lhs: Node, rhs: Node) -> Node:
    """sqrt(x² + y²) without overflow; infinite if either is, also beside NaN."""
    first, second = absolute(lhs), absolute(rhs)
    is_less = ops.Lt(first, second)
    high, low = ops.Where(is_less, second, first), ops.Where(is_less, first, second)
    is_zero = equals(high, 0)
    ratio = ops.Div(low, ops.Where(is_zero, full_like(high, 1), high))
    length: Node = ops.Mul(high, ops.Sqrt(add(square(ratio), 1)))
    is_infinite = ops.Or(equals(first, math.inf), equals(second, math.inf))
    length = ops.Where(is_infinite, full_like(length, math.inf), length)

    def rule(upstream: Node) -> tuple[Node, Node]:
        # At the origin there is no direction, and the gradient is 0.
        divisor = ops.Where(is_zero, full_like(length, 1), length)
        share = ops.Div(upstream, divisor)
        return ops.Mul(share, lhs), ops.Mul(share, rhs)

    return with_gradient(length, (lhs, rhs), rule)


def rounded_once(function: Callable[..., Node], *operands: Node) -> Node:
    """A function's value, of half-width floats carried in float32 and rounded once.

    An op rounds its result; a composition would round after each of its ops.
    """
    dtype = operands[0].dtype
    is_half = dtype.is_floating_point and dtype.bits < 32
    if not is_half or isinstance(function, type):
        return function(*operands)
    value = function(*(ops.Cast(operand, dtypes.float32) for operand in operands))
    return ops.Cast(value, dtype) if value.dtype is dtypes.float32 else value


# --- rounding -------------------------------------------------------------------------


def ceil(node: Node) -> Node:
    """The smallest whole number that is not below x."""
    return ops.Neg(ops.Floor(ops.Neg(node)))


def round_half_even(node: Node) -> Node:
    """The nearest whole number; of two, the even one."""
    floor = ops.Floor(node)
    rest = ops.Sub(node, floor)
    is_even = ops.Eq(floor, scale(ops.Floor(scale(floor, 0.5)), 2.0))
    go_down = ops.Or(less(rest, 0.5), ops.And(equals(rest, 0.5), is_even))
    rounded = ops.Where(go_down, floor, add(floor, 1.0))
    return copy_sign(rounded, node)


# --- exponentials and logarithms ------------------------------------------------------


def expm1(node: Node) -> Node:
    """exp(x) - 1 without cancellation (Kahan's quotient, see log1p)."""
    power = ops.Exp(node)
    less_one = add(power, -1.0)
    quotient = ops.Div(ops.Mul(less_one, node), ops.Log(power))
    # Where exp(x) rounds to 1, x is the answer; far from 0 nothing cancels.
    value = ops.Where(equals(power, 1.0), node, quotient)
    is_far = greater(ops.Where(less(node, 0), ops.Neg(node), node), 1.0)
    return with_slope(ops.Where(is_far, less_one, value), node, ops.Exp)


def log10(node: Node) -> Node:
    """The logarithm to base 10."""
    return scale(ops.Log(node), 1 / math.log(10))


def log1p(node: Node) -> Node:
    """log(1 + x) without cancellation.

    W. Kahan's formula: with u = 1 + x rounded, log(u) * x / (u - 1). The error of u
    appears in both the logarithm and the divisor, and cancels.
    """
    shifted = add(node, 1.0)
    quotient = ops.Div(ops.Mul(ops.Log(shifted), node), add(shifted, -1.0))
    is_large = greater(node, 1.0)
    far = ops.Where(is_large, ops.Log(shifted), quotient)
    value = ops.Where(equals(shifted, 1.0), node, far)
    return with_slope(value, node, _log1p_slope)


def _log1p_slope(node: Node) -> Node:
    """1 / (1 + x)."""
    return ops.Reciprocal(add(node, 1.0))


def sigmoid(node: Node) -> Node:
    """1 / (1 + exp(-x))."""
    return with_slope(_sigmoid(node), node, _sigmoid_slope)


def _sigmoid(node: Node) -> Node:
    return ops.Reciprocal(add(ops.Exp(ops.Neg(node)), 1.0))


def _sigmoid_slope(node: Node) -> Node:
    value = sigmoid(node)
    return ops.Mul(value, ops.Sub(full_like(value, 1.0), value))


def softplus(node: Node) -> Node:
    """log(1 + exp(x)) without overflow."""
    decay = ops.Exp(ops.Neg(absolute(node)))
    value = ops.Add(ops.Maximum(node, full_like(node, 0.0)), log1p(decay))
    return with_slope(value, node, sigmoid)


# --- hyperbolic -----------------------------------------------------------------------


def sinh(node: Node) -> Node:
    """(exp(x) - exp(-x)) / 2."""
    size = absolute(node)
    grown = expm1(size)
    # e - 1 + (e - 1) / e, half of it; halves are exponentiated so as not to overflow.
    near = scale(ops.Add(grown, ops.Div(grown, add(grown, 1.0))), 0.5)
    half_power = ops.Exp(scale(size, 0.5))
    far = ops.Mul(scale(half_power, 0.5), half_power)
    value = copy_sign(ops.Where(greater(size, 20.0), far, near), node)
    return with_slope(value, node, cosh)


def cosh(node: Node) -> Node:
    """(exp(x) + exp(-x)) / 2."""
    half_power = ops.Exp(scale(absolute(node), 0.5))
    grown = ops.Mul(scale(half_power, 0.5), half_power)
    value = ops.Add(grown, ops.Div(full_like(node, 0.25), grown))
    return with_slope(value, node, sinh)


def asinh(node: Node) -> Node:
    """The inverse of sinh: log(x + sqrt(x² + 1))."""
    size = absolute(node)
    squared = square(size)
    root = add(ops.Sqrt(add(squared, 1.0)), 1.0)
    near = log1p(ops.Add(size, ops.Div(squared, root)))
    far = add(ops.Log(size), math.log(2))
    value = copy_sign(ops.Where(_is_huge(size), far, near), node)
    return with_slope(value, node, _asinh_slope)


def _is_huge(node: Node) -> Node:
    """Where x² + 1 is x², with more bits than the format has."""
    return greater(node, 1e9 if node.dtype is dtypes.float64 else 1e4)


def _asinh_slope(node: Node) -> Node:
    return ops.Reciprocal(ops.Sqrt(add(square(node), 1.0)))


def acosh(node: Node) -> Node:
    """The inverse of cosh on x >= 1; NaN below."""
    above = add(node, -1.0)
    near = log1p(ops.Add(above, ops.Sqrt(ops.Mul(above, add(above, 2.0)))))
    far = add(ops.Log(node), math.log(2))
    value = ops.Where(_is_huge(node), far, near)
    value = ops.Where(less(node, 1.0), full_like(node, math.nan), value)
    return with_slope(value, node, _acosh_slope)


def _acosh_slope(node: Node) -> Node:
    return ops.Reciprocal(ops.Sqrt(add(square(node), -1.0)))


def atanh(node: Node) -> Node:
    """The inverse of tanh: log((1 + x) / (1 - x)) / 2."""
    size = absolute(node)
    rest = ops.Sub(full_like(node, 1.0), size)
    value = scale(log1p(scale(ops.Div(size, rest), 2.0)), 0.5)
    return with_slope(copy_sign(value, node), node, _atanh_slope)


def _atanh_slope(node: Node) -> Node:
    return ops.Reciprocal(ops.Sub(full_like(node, 1.0), square(node)))


# --- polynomials ----------------------------------------------------------------------


def polynomial(coefficients: Sequence[float], node: Node) -> Node:
    """The value at x by Horner's scheme, from coefficients in ascending order."""
    value = full_like(node, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = add(ops.Mul(value, node), coefficient)
    return value


# --- rectifiers -----------------------------------------------------------------------


def relu(node: Node) -> Node:
    """max(x, 0), with gradient 0 at 0."""
    value = ops.Maximum(node, full_like(node, 0))
    if not node.dtype.is_floating_point:
        return value
    # The result says as much as the operand, which then need not be kept.
    return with_gradient(value, (node,), Backward(_relu_backward, value))


def _relu_backward(value: Node, upstream: Node) -> Node:
    return ops.Where(greater(value, 0), upstream, full_like(upstream, 0))
