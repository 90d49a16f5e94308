"""Arithmetic on nodes of one shape and dtype: what the methods of tensors build.

Ops are defined on numbers; here stands what they mean for bools, and what is composed
of several of them. Nothing here promotes or broadcasts.
"""

from __future__ import annotations

from collections.abc import Callable

from tetragrad.core.errors import DTypeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.formulas.functions import sign_bit
from tetragrad.tensor.gradient_rules import with_gradient, with_zero_gradient


def add_nodes(lhs: Node, rhs: Node) -> Node:
    """The sum; of bools, whether any holds."""
    return ops.Or(lhs, rhs) if lhs.dtype.is_bool else ops.Add(lhs, rhs)


def multiply_nodes(lhs: Node, rhs: Node) -> Node:
    """The product; of bools, whether both hold."""
    return ops.And(lhs, rhs) if lhs.dtype.is_bool else ops.Mul(lhs, rhs)


def subtract_nodes(lhs: Node, rhs: Node) -> Node:
    """The difference, which bools do not have."""
    if lhs.dtype.is_bool:
        raise DTypeError(
            "subtraction of bools", hint="use ^ or logical_xor(), or convert to int"
        )
    return ops.Sub(lhs, rhs)


def differ_nodes(lhs: Node, rhs: Node) -> Node:
    """Where the elements are not equal; NaN differs from everything."""
    return ops.Not(ops.Eq(lhs, rhs))


def minimum_nodes(lhs: Node, rhs: Node) -> Node:
    """The smaller value; NaN if either is NaN."""
    if lhs.dtype.is_bool:
        return ops.And(lhs, rhs)
    # Negation reverses the order of floats, and the bitwise not that of integers.
    reverse = ops.Neg if lhs.dtype.is_floating_point else ops.Not
    return reverse(ops.Maximum(reverse(lhs), reverse(rhs)))


def absolute_node(node: Node) -> Node:
    """The value without its sign, for values whose gradient is not needed."""
    zero = full_like(node, 0)
    return ops.Where(ops.Lt(zero, node), node, ops.Sub(zero, node))


def fmod_nodes(lhs: Node, rhs: Node) -> Node:
    """The remainder of truncated division: its sign is lhs's, also where it is zero."""
    remainder = ops.Mod(absolute_node(lhs), absolute_node(rhs))
    value = ops.Where(sign_bit(lhs), ops.Neg(remainder), remainder)
    if not lhs.dtype.is_floating_point:
        return value

    def rule(upstream: Node) -> tuple[Node, Node]:
        quotient = ops.Trunc(ops.Div(lhs, rhs))
        return upstream, ops.Neg(ops.Mul(upstream, quotient))

    return with_gradient(value, (lhs, rhs), rule)


def floor_divide_nodes(lhs: Node, rhs: Node) -> Node:
    """The floor of the exact quotient."""
    if not lhs.dtype.is_floating_point:
        return ops.IDiv(lhs, rhs)
    # The rounded quotient may have reached the next whole number, so the remainder
    # is taken out first; it divides exactly up to one rounding.
    remainder = fmod_nodes(lhs, rhs)
    zero, one = full_like(lhs, 0), full_like(lhs, 1)
    quotient: Node = ops.Div(ops.Sub(lhs, remainder), rhs)
    has_rest = ops.Not(ops.Eq(remainder, zero))
    signs_differ = ops.Xor(ops.Lt(remainder, zero), ops.Lt(rhs, zero))
    lower = ops.Sub(quotient, one)
    quotient = ops.Where(ops.And(has_rest, signs_differ), lower, quotient)
    floor = ops.Floor(quotient)
    half = full_like(lhs, 0.5)
    is_next = ops.Lt(half, ops.Sub(quotient, floor))
    rounded = ops.Where(is_next, ops.Add(floor, one), floor)
    # A zero has lost its sign with the remainder: -0 // 1 is -0.
    direct = ops.Div(lhs, rhs)
    rounded = ops.Where(ops.Eq(rounded, zero), ops.Mul(direct, zero), rounded)
    return ops.Where(ops.Eq(rhs, zero), direct, rounded)


def truncated_divide_nodes(lhs: Node, rhs: Node) -> Node:
    """The quotient without its fraction."""
    if lhs.dtype.is_floating_point:
        return ops.Trunc(ops.Div(lhs, rhs))
    quotient = ops.IDiv(lhs, rhs)
    zero, one = full_like(lhs, 0), full_like(lhs, 1)
    is_exact = ops.Eq(ops.Mul(quotient, rhs), lhs)
    is_positive = ops.Not(ops.Lt(quotient, zero))
    keep = ops.Or(ops.Or(is_exact, is_positive), ops.Eq(rhs, zero))
    return ops.Where(keep, quotient, ops.Add(quotient, one))


def not_above_nodes(lhs: Node, rhs: Node) -> Node:
    """lhs <= rhs; false if either is NaN."""
    if lhs.dtype.is_floating_point:
        return ops.Or(ops.Lt(lhs, rhs), ops.Eq(lhs, rhs))
    return ops.Not(ops.Lt(rhs, lhs))


def ignoring_nan(op: Callable[[Node, Node], Node]) -> Callable[[Node, Node], Node]:
    """An op that gives the other operand where one is NaN."""

    def apply(lhs: Node, rhs: Node) -> Node:
        either = ops.Where(ops.Eq(rhs, rhs), op(lhs, rhs), lhs)
        return ops.Where(ops.Eq(lhs, lhs), either, rhs)

    return apply


def whole_step(op: Callable[[Node, Node], Node]) -> Callable[[Node, Node], Node]:
    """A quotient rounded to a whole number, which does not change gradually."""

    def apply(lhs: Node, rhs: Node) -> Node:
        return with_zero_gradient(op(lhs, rhs), lhs, rhs)

    return apply


# --- powers ---------------------------------------------------------------------------


def power_nodes(base: Node, exponent: Node, number: float | None) -> Node:
    """``base ** exponent``; ``number`` is the exponent where it is a Python number."""
    if base.dtype.is_bool:
        raise DTypeError("powers of bools", hint="convert the base first, x.int()")
    if not base.dtype.is_floating_point:
        return _integer_power(base, exponent, number)
    simple = None if number is None else _simple_power(base, number)
    return ops.Pow(base, exponent) if simple is None else simple


def _simple_power(base: Node, number: float) -> Node | None:
    """Exponents for which a product or a root is faster and at least as accurate."""
    if number == 0.5:
        return ops.Sqrt(base)
    if number == -0.5:
        return ops.Reciprocal(ops.Sqrt(base))
    if number == -1:
        return ops.Reciprocal(base)
    if number == 1:
        return base
    if number == 2:
        return ops.Mul(base, base)
    if number == 3:
        return ops.Mul(ops.Mul(base, base), base)
    return None


def _integer_power(base: Node, exponent: Node, number: float | None) -> Node:
    """Squares multiplied where the exponent has a bit set; integers wrap."""
    if number is not None and number < 0:
        raise DTypeError(
            f"an integer to the power {number} is not a whole number",
            hint="convert the base first: x.float() ** ...",
        )
    one, zero = full_like(base, 1), full_like(base, 0)
    given, is_negative = base, ops.Lt(exponent, full_like(exponent, 0))
    bits = base.dtype.bits if number is None else int(number).bit_length()
    result = one
    for bit in range(bits):
        place = full_like(exponent, 1 << bit)
        has_bit = ops.Not(ops.Eq(ops.And(exponent, place), zero))
        result = ops.Where(has_bit, ops.Mul(result, base), result)
        base = ops.Mul(base, base)
    if number is not None or not exponent.dtype.is_signed:
        return result
    return ops.Where(is_negative, _negative_power(given, exponent), result)


def _negative_power(base: Node, exponent: Node) -> Node:
    """1 / base**n without its fraction: only 1 and -1 have more than 0."""
    one, zero = full_like(base, 1), full_like(base, 0)
    minus_one = full_like(base, -1)
    is_odd = ops.Eq(ops.And(exponent, one), one)
    of_minus_one = ops.Where(is_odd, minus_one, one)
    value = ops.Where(ops.Eq(base, minus_one), of_minus_one, zero)
    return ops.Where(ops.Eq(base, one), one, value)
