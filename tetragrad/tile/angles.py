"""Reduce an angle of any size to a quadrant and a rest of at most pi/4.

Both ways leave the rest in two words, because near a multiple of pi/2 its first bits
cancel. Small angles take floating-point arithmetic, huge ones integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tetragrad.core.dtypes import int64, uint64
from tetragrad.tile import coefficients as tables
from tetragrad.tile.arithmetic import (
    Arithmetic,
    Pair,
    Value,
    absolute,
    and_constant,
    fast_two_sum,
    fma_constant,
    format_of,
    like,
    multiply_pairs,
    nearest_integer,
    split_constant,
)
from tetragrad.tile.coefficients import Format


def reduce_angle(
    ops: Arithmetic[Value], x: Value, moderate: bool
) -> tuple[Value, Pair[Value]]:
    """A whole number n and a remainder, |remainder| <= pi/4, of x / (pi/2)."""
    form = format_of(ops, x)
    quadrant, angle = _reduce_moderate_angle(ops, x)
    if moderate:
        return quadrant, angle
    is_moderate = ops.lt(absolute(ops, x), like(ops, x, form.moderate_angle))
    huge_quadrant, huge_angle = _reduce_huge_angle(ops, x)
    return (
        ops.where(is_moderate, quadrant, huge_quadrant),
        (
            ops.where(is_moderate, angle[0], huge_angle[0]),
            ops.where(is_moderate, angle[1], huge_angle[1]),
        ),
    )


def _reduce_moderate_angle(
    ops: Arithmetic[Value], x: Value
) -> tuple[Value, Pair[Value]]:
    """Subtract a multiple of pi/2 kept in three parts (Cody and Waite 1980).

    The first product is subtracted exactly because x and it nearly cancel. The
    second product is exact because its constant is short; what its subtraction
    rounds away is found again and joins the third in the low word.
    """
    form = format_of(ops, x)
    first, second, third = form.half_pi
    number, shifted = nearest_integer(ops, x, 2.0 / math.pi)
    rest = fma_constant(ops, number, -first, x)
    high = fma_constant(ops, number, -second, rest)
    low = fma_constant(ops, number, -second, ops.sub(rest, high))
    low = fma_constant(ops, number, -third, low)
    # Two biases are a multiple of 4 less 2: the quadrant needs 2 more.
    return ops.add(shifted, like(ops, shifted, 2)), (high, low)


# Angles beyond moderate_angle: integer arithmetic on limbs of 32 bits, each the low
# half of a uint64, so that a product of two fits.
_LIMB_BITS = 32


def _reduce_huge_angle(ops: Arithmetic[Value], x: Value) -> tuple[Value, Pair[Value]]:
    """Multiply by the part of 2/pi that matters (Payne and Hanek 1983).

    x = m * 2**e with a whole m. Bits of 2/pi so high that they contribute multiples
    of four quadrants are skipped, and as many of the next are used as m has bits,
    plus 64 (float32) or 128 (float64) for the result.
    """
    form = format_of(ops, x)
    bits = ops.cast(ops.bitcast(x, form.unsigned), uint64)
    fraction = and_constant(ops, bits, (1 << form.fraction_bits) - 1)
    significand = ops.or_(fraction, like(ops, bits, 1 << form.fraction_bits))
    field = ops.shr(bits, like(ops, bits, form.fraction_bits))
    field = and_constant(ops, field, 2 * form.exponent_bias + 1)
    num_limbs = form.bits // _LIMB_BITS
    factor = [significand]
    if num_limbs == 2:
        factor = [_low_half(ops, significand), _high_half(ops, significand)]
    window = _window_of_two_over_pi(ops, form, field, 3 * num_limbs)
    turns = _multiply_limbs(ops, factor, window)
    quadrant, angle = _angle_of_turns(ops, form, turns)
    return _apply_sign(ops, x, quadrant, angle)


def _window_of_two_over_pi(
    ops: Arithmetic[Value], form: Format, field: Value, count: int
) -> list[Value]:
    """``count`` limbs of 2/pi, lowest first, from a bit that the exponent selects.

    The bit is e - fraction_bits - 1 places after the point. Zeros before the point
    make it positive for the smallest angle of interest.
    """
    num_zeros = form.bits // _LIMB_BITS
    lead = form.exponent_bias + form.fraction_bits + 2 - num_zeros * _LIMB_BITS
    start = ops.sub(field, like(ops, field, lead))
    largest_start = 2 * form.exponent_bias + 1 - lead
    size = largest_start // _LIMB_BITS + count + 1
    limbs = [like(ops, field, limb) for limb in _limbs_of_two_over_pi(num_zeros, size)]
    limbs = _drop_leading(ops, limbs, ops.shr(start, like(ops, start, 5)), count + 1)
    shift = ops.sub(
        like(ops, start, _LIMB_BITS), and_constant(ops, start, _LIMB_BITS - 1)
    )
    aligned = []
    for upper, lower in itertools.pairwise(limbs):
        both = ops.or_(ops.shl(upper, like(ops, upper, _LIMB_BITS)), lower)
        aligned.append(_low_half(ops, ops.shr(both, shift)))
    return aligned[::-1]


def _limbs_of_two_over_pi(num_zeros: int, size: int) -> list[int]:
    """The digits of 2/pi in base 2**32, highest first, after some zeros."""
    shifts = range(tables.TWO_OVER_PI_BITS - _LIMB_BITS, -1, -_LIMB_BITS)
    mask = (1 << _LIMB_BITS) - 1
    limbs = [(tables.TWO_OVER_PI >> shift) & mask for shift in shifts]
    return ([0] * num_zeros + limbs)[:size]


def _drop_leading(
    ops: Arithmetic[Value], limbs: Sequence[Value], num_dropped: Value, keep: int
) -> list[Value]:
    """``limbs[num_dropped : num_dropped + keep]``, by one select per binary digit."""
    kept = list(limbs)
    digits = range((len(kept) - keep).bit_length())
    for digit in reversed(digits):
        step = 1 << digit
        bit = and_constant(ops, num_dropped, step)
        stay = ops.eq(bit, like(ops, bit, 0))
        needed = min(len(kept), keep + step - 1)
        kept = [
            ops.where(stay, kept[i], kept[min(i + step, len(kept) - 1)])
            for i in range(needed)
        ]
    return kept


def _multiply_limbs(
    ops: Arithmetic[Value], factor: Sequence[Value], window: Sequence[Value]
) -> list[Value]:
    """The product, lowest limb first, without what exceeds the window's length."""
    columns: list[list[Value]] = [[] for _ in window]
    for i, lhs in enumerate(factor):
        for j, rhs in enumerate(window[: len(window) - i]):
            product = ops.mul(lhs, rhs)
            columns[i + j].append(_low_half(ops, product))
            if i + j + 1 < len(columns):
                columns[i + j + 1].append(_high_half(ops, product))
    limbs: list[Value] = []
    carry = like(ops, factor[0], 0)
    for column in columns:
        for term in column:
            carry = ops.add(carry, term)
        limbs.append(_low_half(ops, carry))
        carry = _high_half(ops, carry)
    return limbs


def _angle_of_turns(
    ops: Arithmetic[Value], form: Format, limbs: Sequence[Value]
) -> tuple[Value, Pair[Value]]:
    """Split quarter turns, 2 bits before the point, into nearest whole and rest."""

    def joined(upper: Value, lower: Value) -> Value:
        return ops.or_(ops.shl(upper, like(ops, upper, _LIMB_BITS)), lower)

    upper = joined(limbs[-1], limbs[-2])
    two = like(ops, upper, 2)
    whole = ops.shr(upper, like(ops, upper, 62))
    half = and_constant(ops, ops.shr(upper, like(ops, upper, 61)), 1)
    quadrant = ops.cast(ops.add(whole, half), form.signed)
    # Without the two leading bits, the next is the sign of the distance to whole+half.
    rest = ops.shl(upper, two)
    lower = None
    if len(limbs) >= 4:
        lower = joined(limbs[-3], limbs[-4])
        rest = ops.or_(rest, ops.shr(lower, like(ops, lower, 62)))
        lower = ops.shl(lower, two)
    return quadrant, _angle_of_fraction(ops, form, rest, lower)


def _low_half(ops: Arithmetic[Value], value: Value) -> Value:
    return and_constant(ops, value, (1 << _LIMB_BITS) - 1)


def _high_half(ops: Arithmetic[Value], value: Value) -> Value:
    return ops.shr(value, like(ops, value, _LIMB_BITS))


def _angle_of_fraction(
    ops: Arithmetic[Value], form: Format, upper: Value, lower: Value | None
) -> Pair[Value]:
    """pi/2 times the signed fraction upper * 2**-64 + lower * 2**-128."""
    signed = ops.bitcast(upper, int64)
    high = ops.cast(signed, form.dtype)
    low = ops.cast(ops.sub(signed, ops.cast(high, int64)), form.dtype)
    if lower is not None:
        unit = like(ops, low, 2.0**-64)
        low = ops.fma(ops.cast(lower, form.dtype), unit, low)
    fraction = fast_two_sum(ops, high, low)
    factor = split_constant(ops, high, form.half_pi_over_two_to_64)
    return multiply_pairs(ops, fraction, factor)


def _apply_sign(
    ops: Arithmetic[Value], x: Value, quadrant: Value, angle: Pair[Value]
) -> tuple[Value, Pair[Value]]:
    """Turn the reduction of |x| into that of x, and of infinity into NaN."""
    is_negative = ops.lt(x, like(ops, x, 0.0))
    nan_unless_finite = ops.sub(x, x)
    high, low = angle
    low = ops.add(low, nan_unless_finite)
    return (
        ops.where(is_negative, ops.neg(quadrant), quadrant),
        (
            ops.where(is_negative, ops.neg(high), high),
            ops.where(is_negative, ops.neg(low), low),
        ),
    )
