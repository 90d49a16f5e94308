"""Conversions between element types, and the bits of a value.

Narrow floats are held as float32 and rounded after every operation; PTX converts
float16 and bfloat16 natively, ``float8.py`` the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tetragrad.backends.cuda.emit import float8, small_integers
from tetragrad.backends.cuda.emit.ptx import (
    Builder,
    Value,
    arithmetic_type,
    constant,
    register_class,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.operations import Operations

#: The first float32 whose neighbours are integers.
_TWO_TO_23 = 8388608.0
HALVES = {dtypes.float16: "f16", dtypes.bfloat16: "bf16"}
_UNSIGNED = {
    8: dtypes.uint8,
    16: dtypes.uint16,
    32: dtypes.uint32,
    64: dtypes.uint64,
}


def unsigned_of(dtype: DType) -> DType:
    """The unsigned integer of a dtype's width: its bits."""
    return _UNSIGNED[dtype.itemsize * 8]


class Half(Value):
    """A half-width float whose float32 register is made where somebody reads it.

    Many are only stored again, or rounded together with a neighbour. Its ``origin``
    says where its 16 bits are: ``("register", half)``, ``("word", word, place)``, or
    ``("rounded", number)`` where a float32 register has still to be rounded.
    """

    __slots__ = ("_ops", "origin")

    def __init__(self, ops: Operations, dtype: DType, *origin: str) -> None:
        self._ops = ops
        self.dtype = dtype
        self.constant = None
        self.origin = origin

    @property
    def text(self) -> str:  # type: ignore[override]
        """The float32 register, which is written here unless it is known."""
        ops, dtype = self._ops, self.dtype
        half = _half_at(ops, self.origin, dtype)
        if dtype is dtypes.float16:
            result = ops.builder.assign("f32", "cvt.f32.f16", half)
        else:
            bits = ops.builder.assign("b32", "mov.b32", f"{{0, {half}}}")
            result = ops.builder.assign("f32", "mov.b32", bits)
        ops.builder.remember(("half of", result, dtype), self.origin)
        return result


def settled(value: Value) -> Value:
    """A value in a register that later statements may read, too."""
    return Value(value.text, value.dtype) if isinstance(value, Half) else value


def _origin_of(ops: Operations, value: Value) -> tuple[str, ...] | None:
    """Where the 16 bits of a half-width float are, if that is known."""
    if isinstance(value, Half):
        return value.origin
    return ops.builder.known(("half of", *value.name))


def _half_at(ops: Operations, origin: tuple[str, ...], dtype: DType) -> str:
    """The 16-bit register of an origin."""
    kind, register, *place = origin
    if kind == "word":
        return split(ops.builder, register)[int(place[0])]
    if kind == "rounded":
        return ops.builder.assign("b16", f"cvt.rn.{HALVES[dtype]}.f32", register)
    return register


def rounded(ops: Operations, value: Value) -> Value:
    """A float32 register rounded to nearest even in the format it stands for."""
    if value.dtype.bits >= 32 or not value.dtype.is_floating_point:
        return value
    if value.dtype.bits == 8:
        return float8.rounded(ops, value)
    origin = _origin_of(ops, value)
    return Half(ops, value.dtype, *(origin or ("rounded", value.text)))


def halved(ops: Operations, value: Value) -> str:
    """The 16-bit register with a half-width float."""
    origin = _origin_of(ops, value)
    return _half_at(ops, origin or ("rounded", value.text), value.dtype)


def packed(ops: Operations, low: Value, high: Value) -> str:
    """The 32-bit register with two half-width floats.

    They may already lie in one; two that were only just rounded are rounded again
    together, by one instruction.
    """
    builder = ops.builder
    origins = [_origin_of(ops, entry) or ("", "") for entry in (high, low)]
    kinds = {kind for kind, *_ in origins}
    if kinds == {"word"}:
        (_, above, upper), (_, word, lower) = origins
        if above == word and lower < upper:
            return word
    if low.constant is not None and high.constant is not None:
        first, second = (
            _bits_of(value, low.dtype) for value in (high.constant, low.constant)
        )
        return builder.assign("b32", "mov.b32", f"0x{first:04X}{second:04X}")
    if not (isinstance(low, Half) or isinstance(high, Half)):
        both = small_integers.both_halves(ops, low, high)
        if both is not None:
            return both
    if kinds == {"rounded"}:
        operands = ", ".join(origin[1] for origin in origins)
        return builder.assign("b32", f"cvt.rn.{HALVES[low.dtype]}x2.f32", operands)
    halves = f"{{{halved(ops, low)}, {halved(ops, high)}}}"
    return builder.assign("b32", "mov.b32", halves)


def _bits_of(number: float, dtype: DType) -> int:
    """The bits of a number in a half-width format."""
    return int(np.asarray(number).astype(dtype.numpy).view(np.uint16))


def unpacked(ops: Operations, word: str, dtype: DType) -> tuple[Value, Value]:
    """The two half-width floats of a 32-bit register."""
    return Half(ops, dtype, "word", word, "0"), Half(ops, dtype, "word", word, "1")


def split(builder: Builder, word: str) -> tuple[str, str]:
    """The two halves of a 32-bit register."""
    known = builder.known(("halves", word))
    if known is None:
        known = (builder.register("b16"), builder.register("b16"))
        builder.line(f"mov.b32 {{{known[0]}, {known[1]}}}, {word}")
        builder.remember(("halves", word), known)
    return known[0], known[1]


def widened(ops: Operations, half: str, dtype: DType) -> Value:
    """The half-width float in a 16-bit register."""
    return Half(ops, dtype, "register", half)


def convert_float(ops: Operations, value: Value, dtype: DType) -> Value:
    """From one float dtype to another, rounding to nearest even."""
    source = value.dtype
    if dtype is dtypes.float64:
        return ops.builder.compute("cvt.f64.f32", dtype, value)
    if source is not dtypes.float64:
        narrow = Value(value.text, dtype)
        is_exact = dtype is dtypes.float32
        return narrow if is_exact else rounded(ops, narrow)
    if dtype is dtypes.float16:
        half = ops.builder.assign("b16", "cvt.rn.f16.f64", value.text)
        return widened(ops, half, dtype)
    # As ml_dtypes does, by way of float32.
    single = ops.builder.assign("f32", "cvt.rn.f32.f64", value.text)
    return rounded(ops, Value(single, dtype))


def small_integer(ops: Operations, value: Value, dtype: DType) -> Value:
    """An integer of 8 or 16 bits as a float, exactly or rounded once.

    Added to 1.5 * 2**23 it is in the last bits of that float. Subtracting it again
    takes an eighth of what a conversion does; a byte of a known word is put there.
    """
    builder, source = ops.builder, value.dtype
    byte = small_integers.byte_of(builder, value)
    if byte is not None:
        result = small_integers.as_float(ops, byte, dtype)
    else:
        large = 1.5 * _TWO_TO_23
        bits = builder.assign("b32", "add.s32", f"{value.text}, 0x4B400000")
        float_bits = Value(builder.assign("f32", "mov.b32", bits), dtypes.float32)
        shift = constant(-large, dtypes.float32)
        found = builder.compute("add.rn.f32", dtypes.float32, float_bits, shift)
        result = Value(found.text, dtype)
    if source.bits > 8 or dtype.bits == 8:
        return rounded(ops, result)
    if dtype in HALVES:
        # Exact, so that neighbours can be rounded together.
        builder.remember(("half of", *result.name), ("rounded", result.text))
    return result


def saturating_integer(ops: Operations, value: Value, dtype: DType) -> Value:
    """The whole part, at most the integer's limits; 0 for NaN."""
    source = register_class(value.dtype)
    whole = dtype if dtype.bits >= 32 else dtypes.int32
    name = f"cvt.rzi.{arithmetic_type(whole)}.{source}"
    number = ops.builder.compute(name, whole, value)
    number = ops.where(ops.is_nan(value), constant(0, whole), number)
    if whole is dtype:
        return number
    lowest = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
    highest = lowest + (1 << dtype.bits) - 1
    number = ops.max(number, constant(lowest, whole))
    number = ops.min(number, constant(highest, whole))
    return Value(number.text, dtype)


# --- bits ----------------------------------------------------------------------------


def to_bits(ops: Operations, value: Value) -> Value:
    """The bits of a value as an unsigned integer of its width."""
    dtype = value.dtype
    bits = unsigned_of(dtype)
    if dtype.is_bool:
        return ops.cast(value, bits)
    if dtype.is_integer:
        return ops.cast(value, bits)
    if dtype.bits >= 32:
        name = f"mov.b{dtype.bits}"
        return Value(ops.builder.assign(register_class(bits), name, value.text), bits)
    if dtype.bits == 8:
        code = float8.encoded(ops, value)
        return Value(ops.builder.assign("b32", "and.b32", f"{code}, 0xFF"), bits)
    half = halved(ops, value)
    return Value(ops.builder.assign("b32", "cvt.u32.u16", half), bits)


def from_bits(ops: Operations, bits: Value, dtype: DType) -> Value:
    """The value that an unsigned integer's bits are in another dtype."""
    if dtype.is_bool:
        return ops.cast(bits, dtype)
    if dtype.is_integer:
        return ops.cast(bits, dtype)
    if dtype.bits >= 32:
        name = f"mov.b{dtype.bits}"
        return Value(ops.builder.assign(register_class(dtype), name, bits.text), dtype)
    if dtype.bits == 8:
        return float8.decoded(ops, bits.text, dtype)
    half = ops.builder.assign("b16", "cvt.u16.u32", bits.text)
    return widened(ops, half, dtype)


# --- remainders ----------------------------------------------------------------------


def remainder_of_sizes(ops: Operations, lhs: Value, rhs: Value) -> Value:
    """C's fmod: the exact remainder of the sizes, with the sign of ``lhs``.

    The divisor is doubled up to the size of ``lhs``, then halved back; wherever it
    fits it is subtracted, which is exact because it is more than half of the rest.
    """
    builder = ops.builder
    dtype, kind = lhs.dtype, register_class(lhs.dtype)
    wide = dtypes.float64 if kind == "f64" else dtypes.float32
    size = builder.compute(f"abs.{kind}", wide, lhs)
    divisor = builder.compute(f"abs.{kind}", wide, rhs)
    infinity = constant(float("inf"), wide)
    divides = ops.lt(constant(0.0, wide), divisor)
    finite = ops.lt(size, infinity)
    rest, step = builder.register(kind), builder.register(kind)
    not_a_number = constant(float("nan"), wide)
    builder.move(rest, kind, ops.where(ops.and_(divides, finite), size, not_a_number))
    builder.move(step, kind, divisor)
    bounded = ops.and_(finite, ops.and_(divides, ops.lt(divisor, infinity)))
    with builder.only_if(builder.text(bounded)):
        _double_up(ops, rest, step, kind)
        _halve_down(ops, rest, step, divisor, kind)
    sign = builder.compute(f"copysign.{kind}", wide, lhs, Value(rest, wide))
    return Value(sign.text, dtype)


def _double_up(ops: Operations, rest: str, step: str, kind: str) -> None:
    """Double ``step`` while it is at most half of ``rest``."""
    builder = ops.builder
    again, after = builder.label(), builder.label()
    half, fits = builder.register(kind), builder.register("pred")
    one_half = constant(0.5, dtypes.float64 if kind == "f64" else dtypes.float32)
    builder.line(f"mul.rn.{kind} {half}, {rest}, {one_half.text}")
    builder.place(again)
    builder.line(f"setp.le.{kind} {fits}, {step}, {half}")
    builder.line(f"@!{fits} bra {after}")
    builder.line(f"add.rn.{kind} {step}, {step}, {step}")
    builder.line(f"bra {again}")
    builder.place(after)


def _halve_down(
    ops: Operations, rest: str, step: str, divisor: Value, kind: str
) -> None:
    """Subtract ``step`` wherever it fits, and halve it until it was the divisor."""
    builder = ops.builder
    again = builder.label()
    fits = builder.register("pred")
    one_half = constant(0.5, dtypes.float64 if kind == "f64" else dtypes.float32)
    builder.place(again)
    builder.line(f"setp.ge.{kind} {fits}, {rest}, {step}")
    builder.line(f"@{fits} sub.rn.{kind} {rest}, {rest}, {step}")
    builder.line(f"mul.rn.{kind} {step}, {step}, {one_half.text}")
    builder.line(f"setp.ge.{kind} {fits}, {step}, {divisor.text}")
    builder.line(f"@{fits} bra {again}")
