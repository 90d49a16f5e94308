"""Quotients and remainders on vectors, exact for every operand.

No processor divides vectors of integers, and a floating-point remainder is a call for
each lane. Both follow from one division of floats where the quotient has fewer bits
than a float; where some lane's has not, the slow way is taken for all lanes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tetragrad.backends.cpu.emit.vector import (
    Value,
    constant,
    mangled,
    register_dtype,
    type_of,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.tile.arithmetic import absolute, add_sign_of, format_of

if TYPE_CHECKING:
    from tetragrad.backends.cpu.emit.operations import Operations

#: Bits of the whole numbers that float32 and float64 hold exactly.
_EXACT_BITS = {dtypes.float32: 24, dtypes.float64: 53}

#: Features with which vectors of 64-bit integers become float64 and back.
_CONVERTS_LONG = frozenset({"avx512dq", "neon"})


def floor_divide(ops: Operations, lhs: Value, rhs: Value) -> Value:
    """The floor of the quotient of integers, as graph/elementwise's IDiv."""
    quotient, remainder, is_zero = _divided(ops, lhs, rhs)
    if lhs.dtype.is_signed:
        below = _signs_differ(ops, remainder, rhs)
        lowered = ops.sub(quotient, constant(1, lhs.dtype))
        quotient = ops.where(below, lowered, quotient)
    return ops.where(is_zero, constant(0, lhs.dtype), quotient)


def modulo(ops: Operations, lhs: Value, rhs: Value) -> Value:
    """The remainder with the divisor's sign, as graph/elementwise's Mod."""
    if lhs.dtype.is_floating_point:
        return _float_modulo(ops, lhs, rhs)
    if lhs.dtype.is_bool:
        raise UnsupportedError("mod of bools", hint="convert to an integer first")
    _, remainder, is_zero = _divided(ops, lhs, rhs)
    if lhs.dtype.is_signed:
        below = _signs_differ(ops, remainder, rhs)
        remainder = ops.where(below, ops.add(remainder, rhs), remainder)
    return ops.where(is_zero, lhs, remainder)


def _signs_differ(ops: Operations, remainder: Value, divisor: Value) -> Value:
    """Whether a remainder is not zero and its sign is not the divisor's."""
    zero = constant(0, remainder.dtype)
    opposite = ops.lt(ops.xor(remainder, divisor), zero)
    nonzero = ops.builder.compare("icmp ne", remainder, zero)
    return ops.builder.binary("and", opposite, nonzero)


# --- integers ------------------------------------------------------------------------


def _divided(ops: Operations, lhs: Value, rhs: Value) -> tuple[Value, Value, Value]:
    """Quotient toward zero, remainder, and where the divisor was zero."""
    lhs, rhs = ops.builder.alike(lhs, rhs)
    is_zero = ops.eq(rhs, constant(0, rhs.dtype))
    divisor = _without(ops, rhs, 0)
    if not lhs.dtype.is_signed:
        quotient = _unsigned_quotient(ops, lhs, divisor, is_zero)
        return quotient, _rest(ops, lhs, quotient, divisor), is_zero
    # The processor traps on MIN / -1; negation wraps as we want.
    is_minus_one = ops.eq(rhs, constant(-1, rhs.dtype))
    divisor = _without(ops, divisor, -1)
    quotient = _quotient(ops, lhs, divisor)
    rest = _rest(ops, lhs, quotient, divisor)
    return ops.where(is_minus_one, ops.neg(lhs), quotient), rest, is_zero


def _without(ops: Operations, divisor: Value, unwanted: int) -> Value:
    """The divisor, or 1 where it is an unwanted number; a constant stays one."""
    one = constant(1, divisor.dtype)
    if divisor.constant is not None:
        return one if divisor.constant == unwanted else divisor
    is_unwanted = ops.eq(divisor, constant(unwanted, divisor.dtype))
    return ops.where(is_unwanted, one, divisor)


def _rest(ops: Operations, lhs: Value, quotient: Value, divisor: Value) -> Value:
    return ops.sub(lhs, ops.mul(quotient, divisor))


def _unsigned_quotient(
    ops: Operations, lhs: Value, divisor: Value, is_zero: Value
) -> Value:
    """The quotient; 0 or anything where the divisor was 0.

    Indices that are wrapped around, and the last rounds of a greatest common divisor,
    are below the divisor in all lanes: then nothing is divided.
    """
    if lhs.lanes == 1 or divisor.constant is not None:
        return _quotient(ops, lhs, divisor)
    builder, whole = ops.builder, type_of(lhs)
    slot = builder.stack_slot(whole, 1)
    builder.line(f"store {whole} zeroinitializer, ptr {slot}")
    is_plain = builder.binary("or", ops.lt(lhs, divisor), is_zero)
    after = builder.jump_if(ops.any_lane(ops.invert(is_plain)))
    quotient = _quotient(ops, lhs, divisor)
    builder.line(f"store {whole} {quotient.text}, ptr {slot}")
    builder.end_jump(after)
    text = builder.assign(f"load {whole}, ptr {slot}")
    return Value(text, lhs.dtype, lhs.lanes)


def _quotient(ops: Operations, lhs: Value, divisor: Value) -> Value:
    """The quotient toward zero, where the divisor is not 0 and not -1."""
    instruction = "sdiv" if lhs.dtype.is_signed else "udiv"
    # LLVM makes a product of the division by a constant.
    if lhs.lanes == 1 or divisor.constant is not None:
        return ops.builder.binary(instruction, lhs, divisor)
    carrier = dtypes.float32 if lhs.dtype.bits <= 16 else dtypes.float64
    if lhs.dtype.bits <= _EXACT_BITS[carrier]:
        return _quotient_of_floats(ops, lhs, divisor, carrier)
    if not ops.features & _CONVERTS_LONG:
        return ops.builder.binary(instruction, lhs, divisor)
    return _near_or_far(
        ops,
        lhs,
        divisor,
        near=_quotient_of_floats(ops, lhs, divisor, carrier),
        is_far=ops.or_(_is_long(ops, lhs), _is_long(ops, divisor)),
        instruction=instruction,
    )


def _quotient_of_floats(
    ops: Operations, lhs: Value, divisor: Value, carrier: DType
) -> Value:
    """The quotient of integers that a float holds exactly.

    Rounding does not reach the next whole number: that is at least 1/divisor away, and
    the error is less, as lhs has no more bits than the float.
    """
    is_signed = lhs.dtype.is_signed
    to_float, to_whole = ("sitofp", "fptosi") if is_signed else ("uitofp", "fptoui")
    dividend, factor = (
        ops.builder.convert(to_float, entry, carrier) for entry in (lhs, divisor)
    )
    return ops.builder.convert(to_whole, ops.div(dividend, factor), lhs.dtype)


def _is_long(ops: Operations, value: Value) -> Value:
    """Whether a 64-bit integer may not be exact as float64."""
    exact = 1 << (_EXACT_BITS[dtypes.float64] - 1)
    if not value.dtype.is_signed:
        return ops.builder.compare("icmp uge", value, constant(exact, value.dtype))
    shifted = ops.add(value, constant(exact, value.dtype))
    limit = constant(2 * exact, value.dtype)
    return ops.builder.compare("icmp uge", shifted, limit)


# --- floats --------------------------------------------------------------------------


def _float_modulo(ops: Operations, lhs: Value, rhs: Value) -> Value:
    dtype, carrier = lhs.dtype, register_dtype(lhs.dtype)
    lhs, rhs = (entry.with_dtype(carrier) for entry in ops.builder.alike(lhs, rhs))
    remainder = _truncated_remainder(ops, lhs, rhs)
    zero = constant(0.0, carrier)
    is_negative = ops.lt(remainder, zero)
    sign_differs = ops.builder.binary("xor", is_negative, ops.lt(rhs, zero))
    nonzero = ops.builder.compare("fcmp une", remainder, zero)
    differs = ops.builder.binary("and", nonzero, sign_differs)
    result = ops.where(differs, ops.add(remainder, rhs), remainder)
    return ops.rounded(result.with_dtype(dtype))


def _truncated_remainder(ops: Operations, lhs: Value, rhs: Value) -> Value:
    """The remainder with lhs's sign.

    A whole quotient q that the format holds is right, or one too large where rounding
    reached the next whole number. Then lhs - q * rhs is a multiple of the last place
    of an operand, and below rhs: it is exact, and so is a correction by rhs.
    """
    size, divisor = absolute(ops, lhs), absolute(ops, rhs)
    quotient = ops.trunc(ops.div(size, divisor))
    rest = ops.fma(ops.neg(quotient), divisor, size)
    is_below = ops.lt(rest, constant(0.0, rest.dtype))
    rest = ops.where(is_below, ops.add(rest, divisor), rest)
    limit = constant(2.0 ** format_of(ops, lhs).fraction_bits, lhs.dtype)
    infinity = constant(math.inf, lhs.dtype)
    is_near = ops.builder.binary(
        "and", ops.lt(quotient, limit), ops.lt(divisor, infinity)
    )
    return _near_or_far(
        ops,
        lhs,
        rhs,
        near=add_sign_of(ops, rest, lhs),
        is_far=ops.invert(is_near),
        instruction="frem",
    )


# --- the slow way --------------------------------------------------------------------


def _near_or_far(
    ops: Operations,
    lhs: Value,
    rhs: Value,
    *,
    near: Value,
    is_far: Value,
    instruction: str,
) -> Value:
    """``near``, or what an instruction gives for all lanes if some lane is far."""
    builder, whole = ops.builder, type_of(near)
    slot = builder.stack_slot(whole, 1)
    builder.line(f"store {whole} {near.text}, ptr {slot}")
    after = builder.jump_if(ops.any_lane(is_far))
    name = _far_function(ops, instruction, near)
    far = builder.assign(f"call {whole} {name}({whole} {lhs.text}, {whole} {rhs.text})")
    builder.line(f"store {whole} {far}, ptr {slot}")
    builder.end_jump(after)
    text = builder.assign(f"load {whole}, ptr {slot}")
    return Value(text, near.dtype, near.lanes)


def _far_function(ops: Operations, instruction: str, like: Value) -> str:
    """The name of a function that is one instruction; written at its first use.

    It is kept out of line, as it becomes long code that hardly ever runs.
    """
    name = f"@far_{instruction}_{mangled(like.dtype, like.lanes)}"
    if name not in ops.builder.functions:
        whole = type_of(like)
        ops.builder.functions[name] = "\n".join(
            [
                f"define internal {whole} {name}({whole} %lhs, {whole} %rhs) "
                "noinline #0 {",
                "entry:",
                f"  %result = {instruction} {whole} %lhs, %rhs",
                f"  ret {whole} %result",
                "}",
            ]
        )
    return name
