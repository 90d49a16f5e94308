"""Powers: a few products where the exponent is a small number, else Pow."""

from __future__ import annotations

from tetragrad.core.errors import DTypeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node


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
