"""Basic arithmetic on abstract values, and what is commonly built from it.

``Arithmetic`` is all that the elementary functions ask of a backend. The helpers
below it work on any implementation; a ``Pair`` is a value kept as an unevaluated sum
of two, which gives twice the precision (Dekker 1971).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError
from tetragrad.tile.coefficients import FORMATS, Format, Split

Value = TypeVar("Value")


class Arithmetic(Protocol[Value]):
    """What an implementation must be able to do with two values of one dtype.

    Integers wrap; a shift by the width or more gives 0, or the sign when ``shr`` is
    applied to a signed value; a cast from float to integer saturates.
    """

    def dtype(self, value: Value) -> DType: ...
    def constant(self, value: float, dtype: DType) -> Value: ...

    def add(self, lhs: Value, rhs: Value) -> Value: ...
    def sub(self, lhs: Value, rhs: Value) -> Value: ...
    def mul(self, lhs: Value, rhs: Value) -> Value: ...
    def div(self, lhs: Value, rhs: Value) -> Value: ...
    def fma(self, lhs: Value, rhs: Value, addend: Value) -> Value: ...
    def neg(self, value: Value) -> Value: ...
    def floor(self, value: Value) -> Value: ...
    def trunc(self, value: Value) -> Value: ...
    def sqrt(self, value: Value) -> Value: ...
    def max(self, lhs: Value, rhs: Value) -> Value: ...

    def lt(self, lhs: Value, rhs: Value) -> Value: ...
    def eq(self, lhs: Value, rhs: Value) -> Value: ...
    def where(self, condition: Value, chosen: Value, otherwise: Value) -> Value: ...

    def and_(self, lhs: Value, rhs: Value) -> Value: ...
    def or_(self, lhs: Value, rhs: Value) -> Value: ...
    def xor(self, lhs: Value, rhs: Value) -> Value: ...
    def shl(self, lhs: Value, rhs: Value) -> Value: ...
    def shr(self, lhs: Value, rhs: Value) -> Value: ...

    def cast(self, value: Value, dtype: DType) -> Value: ...
    def bitcast(self, value: Value, dtype: DType) -> Value: ...


Pair = tuple[Value, Value]


def format_of(ops: Arithmetic[Value], value: Value) -> Format:
    """The floating-point format of a value, float32 or float64."""
    dtype = ops.dtype(value)
    if dtype not in FORMATS:
        raise DTypeError(
            f"elementary functions are not defined on {dtype.name}",
            hint="cast the argument to float32 or float64 first",
        )
    return FORMATS[dtype]


def like(ops: Arithmetic[Value], value: Value, constant: float) -> Value:
    """A constant of the same dtype as ``value``."""
    return ops.constant(constant, ops.dtype(value))


def fma_constant(
    ops: Arithmetic[Value], lhs: Value, rhs: float, addend: Value
) -> Value:
    """lhs * rhs + addend, with one rounding."""
    return ops.fma(lhs, like(ops, lhs, rhs), addend)


def and_constant(ops: Arithmetic[Value], value: Value, mask: int) -> Value:
    """The bits of ``value`` that are set in ``mask``."""
    return ops.and_(value, like(ops, value, mask))


def polynomial(
    ops: Arithmetic[Value], x: Value, coefficients: Sequence[float]
) -> Value:
    """Horner's rule; the constant term comes first."""
    result = like(ops, x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = ops.fma(result, x, like(ops, x, coefficient))
    return result


def clamp(ops: Arithmetic[Value], x: Value, lowest: float, highest: float) -> Value:
    """x within limits; NaN stays NaN."""
    lower, upper = like(ops, x, lowest), like(ops, x, highest)
    x = ops.where(ops.lt(x, lower), lower, x)
    return ops.where(ops.lt(upper, x), upper, x)


def absolute(ops: Arithmetic[Value], x: Value) -> Value:
    """x without its sign bit."""
    form = format_of(ops, x)
    bits = ops.bitcast(x, form.unsigned)
    return ops.bitcast(and_constant(ops, bits, form.sign_bit - 1), form.dtype)


def add_sign_of(ops: Arithmetic[Value], size: Value, x: Value) -> Value:
    """``size`` with its sign changed where x has its sign bit set."""
    form = format_of(ops, x)
    sign = and_constant(ops, ops.bitcast(x, form.unsigned), form.sign_bit)
    bits = ops.xor(ops.bitcast(size, form.unsigned), sign)
    return ops.bitcast(bits, form.dtype)


def fast_two_sum(ops: Arithmetic[Value], lhs: Value, rhs: Value) -> Pair[Value]:
    """lhs + rhs exactly, if |lhs| >= |rhs| or lhs is 0."""
    total = ops.add(lhs, rhs)
    return total, ops.add(ops.sub(lhs, total), rhs)


def add_to_split(
    ops: Arithmetic[Value], constant: Split, pair: Pair[Value]
) -> Pair[Value]:
    """A constant in two words plus a smaller pair."""
    high, lost = fast_two_sum(ops, like(ops, pair[0], constant.high), pair[0])
    low = ops.add(pair[1], like(ops, pair[1], constant.low))
    return high, ops.add(lost, low)


def multiply_pairs(
    ops: Arithmetic[Value], lhs: Pair[Value], rhs: Pair[Value]
) -> Pair[Value]:
    """The product of two pairs, but for the product of their low words."""
    product = ops.mul(lhs[0], rhs[0])
    low = ops.fma(lhs[0], rhs[0], ops.neg(product))
    low = ops.fma(lhs[0], rhs[1], low)
    return product, ops.fma(lhs[1], rhs[0], low)


def split_constant(ops: Arithmetic[Value], value: Value, split: Split) -> Pair[Value]:
    """A constant in two words, as a pair of the same dtype as ``value``."""
    return like(ops, value, split.high), like(ops, value, split.low)


def nearest_integer(
    ops: Arithmetic[Value], x: Value, factor: float
) -> tuple[Value, Value]:
    """The whole number nearest x*factor, and the same plus two exponent biases.

    Adding 1.5 * 2**fraction_bits leaves no bit for a fraction, and the low bits of
    the sum then hold the whole number in two's complement. It is the second result,
    still in the position of a float's bits, that _times_power_of_two expects.
    """
    form = format_of(ops, x)
    magic = 1.5 * 2.0**form.fraction_bits + 2.0 * form.exponent_bias
    if factor == 1.0:
        shifted = ops.add(x, like(ops, x, magic))
    else:
        shifted = fma_constant(ops, x, factor, like(ops, x, magic))
    number = ops.sub(shifted, like(ops, x, magic))
    return number, ops.bitcast(shifted, form.signed)
