"""Elementary functions, each written once as basic arithmetic for every backend.

A backend needs only the operations of ``Arithmetic``; one that has an instruction of
its own for a function uses that instead. There are no branches, loops over data or
table look-ups, so each function is a straight line over whole vectors. Values may be
anything: arrays, nodes of an expression, names of registers.

    function                float32           float64
    exp exp2 log log2       1 ULP             2 ULP
    sin cos                 1 ULP             1 ULP, for arguments of any size
    tanh erf pow            4 ULP             4 ULP

Special cases are those of C99, Annex F. Float16 and bfloat16 are for the caller to
compute in float32. Signed zeros, gradual underflow and infinities come out right
only on an implementation that keeps subnormal numbers and rounds to nearest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tetragrad.graph import elementwise as op
from tetragrad.tile.angles import reduce_angle
from tetragrad.tile.arithmetic import (
    Arithmetic,
    Pair,
    Value,
    absolute,
    add_sign_of,
    add_to_split,
    clamp,
    fast_two_sum,
    fma_constant,
    format_of,
    like,
    multiply_pairs,
    nearest_integer,
    polynomial,
)
from tetragrad.tile.coefficients import Format

# Exponentials ---------------------------------------------------------------------


def exp(ops: Arithmetic[Value], x: Value) -> Value:
    """e to the x, as 2**n * exp(x - n*log(2)) (Cody and Waite 1980)."""
    form = format_of(ops, x)
    x = clamp(ops, x, *form.exp_limits)
    number, biased = nearest_integer(ops, x, form.one_over_log_of_2.high)
    rest = fma_constant(ops, number, -form.log_of_2.high, x)
    rest = fma_constant(ops, number, -form.log_of_2.low, rest)
    one = like(ops, rest, 1.0)
    tail = ops.fma(polynomial(ops, rest, form.exp_tail), rest, one)
    return _times_power_of_two(ops, ops.fma(tail, rest, one), biased)


def exp2(ops: Arithmetic[Value], x: Value) -> Value:
    """2 to the x; exact where x is a whole number."""
    form = format_of(ops, x)
    x = clamp(ops, x, *form.exp2_limits)
    number, biased = nearest_integer(ops, x, 1.0)
    return _times_power_of_two(ops, _exp2_near_zero(ops, ops.sub(x, number)), biased)


def _exp2_near_zero(ops: Arithmetic[Value], x: Value) -> Value:
    """2 to the x for |x| <= 1/2."""
    tail = polynomial(ops, x, format_of(ops, x).exp2_tail)
    return ops.fma(tail, x, like(ops, x, 1.0))


def _times_power_of_two(ops: Arithmetic[Value], x: Value, biased: Value) -> Value:
    """x * 2**n with one rounding, also where the result is subnormal or infinite.

    2**n may be out of range where the product is not, so it is applied as two powers
    of half the exponent. ``biased`` holds n and two biases, hence half of it is an
    exponent field; what stands above the field is shifted out.
    """
    form = format_of(ops, x)
    fraction_bits = like(ops, biased, form.fraction_bits)
    half = ops.shr(biased, like(ops, biased, 1))
    for exponent in (half, ops.sub(biased, half)):
        power = ops.bitcast(ops.shl(exponent, fraction_bits), form.dtype)
        x = ops.mul(x, power)
    return x


# Logarithms -----------------------------------------------------------------------


def log(ops: Arithmetic[Value], x: Value) -> Value:
    """The natural logarithm, as k*log(2) + log(1+f) where x = 2**k * (1+f)."""
    form = format_of(ops, x)
    exponent, f = _split_exponent(ops, x)
    tail = ops.fma(polynomial(ops, f, form.log_tail), f, like(ops, f, -0.5))
    log_of_rest = ops.fma(tail, ops.mul(f, f), f)
    result = fma_constant(ops, exponent, form.log_of_2.high, log_of_rest)
    return _with_logarithm_limits(ops, x, result)


def log2(ops: Arithmetic[Value], x: Value) -> Value:
    """The logarithm to base 2; exact where x is a power of two."""
    form = format_of(ops, x)
    exponent, f = _split_exponent(ops, x)
    tail = ops.mul(polynomial(ops, f, form.log2_tail), ops.mul(f, f))
    tail = fma_constant(ops, f, form.one_over_log_of_2.low, tail)
    log_of_rest = fma_constant(ops, f, form.one_over_log_of_2.high, tail)
    return _with_logarithm_limits(ops, x, ops.add(exponent, log_of_rest))


def _split_exponent(ops: Arithmetic[Value], x: Value) -> tuple[Value, Value]:
    """k and f such that x = 2**k * (1+f) and sqrt(1/2) <= 1+f < sqrt(2), for x > 0."""
    form = format_of(ops, x)
    step = form.fraction_bits + 1
    is_subnormal = ops.lt(x, like(ops, x, form.smallest_normal))
    scaled = ops.mul(x, like(ops, x, 2.0**step))
    bits = ops.bitcast(ops.where(is_subnormal, scaled, x), form.signed)
    fraction_bits = like(ops, bits, form.fraction_bits)
    above = ops.sub(bits, like(ops, bits, _bits_of_square_root_of_half(form)))
    exponent = ops.shr(above, fraction_bits)
    rest = ops.bitcast(ops.sub(bits, ops.shl(exponent, fraction_bits)), form.dtype)
    correction = ops.where(is_subnormal, like(ops, x, step), like(ops, x, 0))
    number = ops.sub(ops.cast(exponent, form.dtype), correction)
    return number, ops.sub(rest, like(ops, x, 1.0))


def _bits_of_square_root_of_half(form: Format) -> int:
    fraction = math.floor((math.sqrt(2.0) - 1.0) * 2.0**form.fraction_bits)
    return ((form.exponent_bias - 1) << form.fraction_bits) | fraction


def _with_logarithm_limits(ops: Arithmetic[Value], x: Value, result: Value) -> Value:
    """log(0) = -inf, log(inf) = inf, and NaN for NaN and everything negative."""
    zero, infinity = like(ops, x, 0.0), like(ops, x, math.inf)
    result = ops.where(ops.lt(x, infinity), result, x)
    result = ops.where(ops.eq(x, zero), ops.neg(infinity), result)
    return ops.where(ops.lt(x, zero), like(ops, x, math.nan), result)


# Sine and cosine ------------------------------------------------------------------


def sin(ops: Arithmetic[Value], x: Value, *, moderate: bool = False) -> Value:
    """The sine of an angle of any size.

    ``moderate=True`` gives the same values in a third of the operations, for callers
    that know that every |x| is below the format's ``moderate_angle``.
    """
    quadrant, angle = reduce_angle(ops, x, moderate)
    result = _sine_in_quadrant(ops, quadrant, angle)
    # The sums inside turn -0 into +0.
    return ops.where(ops.eq(x, like(ops, x, 0.0)), x, result)


def cos(ops: Arithmetic[Value], x: Value, *, moderate: bool = False) -> Value:
    """The cosine of an angle of any size; ``moderate`` as in ``sin``."""
    quadrant, angle = reduce_angle(ops, x, moderate)
    quadrant = ops.add(quadrant, like(ops, quadrant, 1))
    return _sine_in_quadrant(ops, quadrant, angle)


def _sine_in_quadrant(
    ops: Arithmetic[Value], quadrant: Value, angle: Pair[Value]
) -> Value:
    """sin(quadrant * pi/2 + angle)."""
    form = format_of(ops, angle[0])
    is_even = ops.eq(ops.and_(quadrant, like(ops, quadrant, 1)), like(ops, quadrant, 0))
    size = ops.where(
        is_even, _sine_near_zero(ops, angle), _cosine_near_zero(ops, angle)
    )
    second_bit = ops.and_(quadrant, like(ops, quadrant, 2))
    sign = ops.shl(second_bit, like(ops, quadrant, form.bits - 2))
    return ops.bitcast(ops.xor(ops.bitcast(size, form.signed), sign), form.dtype)


def _sine_near_zero(ops: Arithmetic[Value], angle: Pair[Value]) -> Value:
    """sin(high + low) = high + (low * cos(high) + high**3 * tail)."""
    high, low = angle
    square = ops.mul(high, high)
    cube = ops.mul(square, high)
    tail = polynomial(ops, square, format_of(ops, high).sin_tail)
    cosine = ops.fma(square, like(ops, high, -0.5), like(ops, high, 1.0))
    return ops.add(high, ops.fma(low, cosine, ops.mul(cube, tail)))


def _cosine_near_zero(ops: Arithmetic[Value], angle: Pair[Value]) -> Value:
    """cos(high + low) = 1 - high**2/2 + (high**4 * tail - low * high).

    ``lost`` is what rounding 1 - high**2/2 lost.
    """
    high, low = angle
    one = like(ops, high, 1.0)
    minus_half = ops.mul(high, like(ops, high, -0.5))
    leading = ops.fma(minus_half, high, one)
    lost = ops.fma(minus_half, high, ops.sub(one, leading))
    square = ops.mul(high, high)
    tail = polynomial(ops, square, format_of(ops, high).cos_tail)
    small = ops.sub(lost, ops.mul(low, high))
    return ops.add(leading, ops.fma(ops.mul(square, square), tail, small))


# Functions of statistics ----------------------------------------------------------


def tanh(ops: Arithmetic[Value], x: Value) -> Value:
    """The hyperbolic tangent, as e / (e + 2) where e = exp(2|x|) - 1."""
    form = format_of(ops, x)
    size = _at_most(ops, absolute(ops, x), form.tanh_limit)
    grown = _exp_minus_one(ops, ops.add(size, size))
    result = ops.div(grown, ops.add(grown, like(ops, x, 2.0)))
    return add_sign_of(ops, result, x)


def erf(ops: Arithmetic[Value], x: Value) -> Value:
    """The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.

    Its distance from 1 decays like an exponential whose exponent is smooth, so that
    one polynomial serves all x, and computing exp(..) - 1 as a whole keeps the
    precision near zero.
    """
    form = format_of(ops, x)
    size = _at_most(ops, absolute(ops, x), form.erf_limit)
    rate = ops.neg(polynomial(ops, size, form.erf_exponent))
    shrunk = _exp_minus_one(ops, ops.mul(size, rate))
    return add_sign_of(ops, absolute(ops, shrunk), x)


def _exp_minus_one(ops: Arithmetic[Value], x: Value) -> Value:
    """exp(x) - 1 = (2**n - 1) + 2**n * (exp(rest) - 1), if 2**n is a normal number.

    Where n = 0 the first term vanishes and all of the precision is in the second.
    One word of log(2) is enough for the few n that tanh and erf need.
    """
    form = format_of(ops, x)
    one = like(ops, x, 1.0)
    number, biased = nearest_integer(ops, x, form.one_over_log_of_2.high)
    rest = fma_constant(ops, number, -form.log_of_2.high, x)
    tail = polynomial(ops, rest, form.exp_tail)
    near_zero = ops.fma(ops.mul(rest, rest), tail, rest)
    bias = like(ops, biased, form.exponent_bias)
    fraction_bits = like(ops, biased, form.fraction_bits)
    # ``biased`` holds two biases, an exponent field one.
    field = ops.shl(ops.sub(biased, bias), fraction_bits)
    power = ops.bitcast(field, form.dtype)
    return ops.fma(power, near_zero, ops.sub(power, one))


def _at_most(ops: Arithmetic[Value], x: Value, limit: float) -> Value:
    highest = like(ops, x, limit)
    return ops.where(ops.lt(highest, x), highest, x)


# Powers ---------------------------------------------------------------------------


def pow(ops: Arithmetic[Value], x: Value, y: Value) -> Value:
    """x to the y, as exp2(y * log2(|x|)) with the logarithm in two words."""
    form = format_of(ops, x)
    size = absolute(ops, x)
    high, low = _log2_in_two_words(ops, size)
    product = ops.mul(y, high)
    lost = ops.fma(y, high, ops.neg(product))
    lost = ops.fma(y, low, lost)
    power = _exp2_of_two_words(ops, product, lost, form)
    return _with_power_limits(ops, x, y, power)


def _log2_in_two_words(ops: Arithmetic[Value], x: Value) -> Pair[Value]:
    """log2(x) for x >= 0, by the series of atanh in s = f/(2+f) kept in two words."""
    form = format_of(ops, x)
    exponent, f = _split_exponent(ops, x)
    s = _divide_by_two_plus(ops, f)
    square = multiply_pairs(ops, s, s)
    tail = ops.mul(square[0], polynomial(ops, square[0], form.pow_tail))
    series = add_to_split(ops, form.two_thirds_over_log_of_2, (tail, like(ops, f, 0.0)))
    series = multiply_pairs(ops, square, series)
    series = add_to_split(ops, form.two_over_log_of_2, series)
    high, low = multiply_pairs(ops, s, series)
    total, lost = fast_two_sum(ops, exponent, high)
    low = ops.add(lost, low)
    # At 0 and infinity the exact logarithm is infinite and has no low word.
    is_zero = ops.eq(x, like(ops, x, 0.0))
    is_finite = ops.lt(x, like(ops, x, math.inf))
    total = ops.where(is_zero, like(ops, x, -math.inf), total)
    total = ops.where(is_finite, total, x)
    is_regular = ops.lt(absolute(ops, total), like(ops, x, math.inf))
    return total, ops.where(is_regular, low, like(ops, x, 0.0))


def _divide_by_two_plus(ops: Arithmetic[Value], f: Value) -> Pair[Value]:
    """f / (2 + f) in two words."""
    two = like(ops, f, 2.0)
    divisor, lost = fast_two_sum(ops, two, f)
    quotient = ops.div(f, divisor)
    minus = ops.neg(quotient)
    remainder = ops.fma(minus, lost, ops.fma(minus, divisor, f))
    return quotient, ops.div(remainder, divisor)


def _exp2_of_two_words(
    ops: Arithmetic[Value], high: Value, low: Value, form: Format
) -> Value:
    """2 to the (high + low)."""
    lowest, highest = form.exp2_limits
    clamped = clamp(ops, high, lowest, highest)
    is_inside = ops.eq(clamped, high)
    low = ops.where(is_inside, low, like(ops, high, 0.0))
    number, biased = nearest_integer(ops, clamped, 1.0)
    rest = ops.add(ops.sub(clamped, number), low)
    return _times_power_of_two(ops, _exp2_near_zero(ops, rest), biased)


def _with_power_limits(
    ops: Arithmetic[Value], x: Value, y: Value, power: Value
) -> Value:
    """The sign of a negative base, and the cases that C99, F.9.4.4 lists."""
    zero, one = like(ops, x, 0.0), like(ops, x, 1.0)
    infinity = like(ops, x, math.inf)
    half = ops.mul(y, like(ops, y, 0.5))
    is_whole = ops.eq(ops.floor(y), y)
    is_even = ops.eq(ops.floor(half), half)
    odd_power = ops.where(is_even, power, add_sign_of(ops, power, x))
    # A fraction of a negative number is not real; those of -inf and -0 have limits.
    is_negative = ops.and_(ops.lt(x, zero), ops.lt(ops.neg(infinity), x))
    fractional = ops.where(is_negative, like(ops, x, math.nan), power)
    result = ops.where(is_whole, odd_power, fractional)
    # 1 to any power, even NaN; anything, even NaN, to the power 0; -1 to infinity.
    is_unit = ops.eq(absolute(ops, x), one)
    is_endless = ops.eq(absolute(ops, y), infinity)
    is_one = ops.or_(ops.eq(x, one), ops.eq(y, zero))
    return ops.where(ops.or_(is_one, ops.and_(is_unit, is_endless)), one, result)


#: The functions of the graph, by their ops.
BY_OP: dict[type[op.Elementwise], Callable[..., Any]] = {
    op.Exp: exp,
    op.Exp2: exp2,
    op.Log: log,
    op.Log2: log2,
    op.Sin: sin,
    op.Cos: cos,
    op.Tanh: tanh,
    op.Erf: erf,
    op.Pow: pow,
}
