"""Number formats: between memory and registers, and rounding between floats.

No processor we target converts all of bfloat16, float8 and saturating integers as
the graph defines them, and LLVM's fallbacks are library calls that are not there. So
conversions are written here with integer instructions, on whole vectors; float16
takes the processor's instruction where it has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.backends.cpu.emit.vector import (
    Value,
    constant,
    memory_dtype,
    register_dtype,
    type_of,
    vector_of,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from tetragrad.backends.cpu.emit.operations import Operations

#: Target features with which LLVM converts float16 without a library call.
FLOAT16_FEATURES = frozenset({"f16c", "avx512f", "neon"})


@frozen
class Narrow:
    """A float format that float32 contains."""

    exponent_bits: int
    fraction_bits: int
    has_infinity: bool

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def dropped_bits(self) -> int:
        """Fraction bits of a float32 that are rounded away."""
        return 23 - self.fraction_bits

    @property
    def smallest_normal(self) -> float:
        return float(2.0 ** (1 - self.bias))

    @property
    def largest(self) -> float:
        """The largest finite value; without infinity one code at the top is NaN."""
        top = (1 << self.exponent_bits) - (2 if self.has_infinity else 1)
        fraction = 2.0 - 2.0**-self.fraction_bits
        if not self.has_infinity:
            fraction -= 2.0**-self.fraction_bits
        return float(fraction * 2.0 ** (top - self.bias))

    @property
    def nan_code(self) -> int:
        """Code of NaN without its sign."""
        all_ones = (1 << (self.bits - 1)) - 1
        if not self.has_infinity:
            return all_ones
        infinity = all_ones ^ ((1 << self.fraction_bits) - 1)
        return infinity | (1 << (self.fraction_bits - 1))

    @property
    def first_special_code(self) -> int:
        """The smallest code without sign that is infinity or NaN."""
        if not self.has_infinity:
            return self.nan_code
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits


NARROW = {
    dtypes.float16: Narrow(5, 10, has_infinity=True),
    dtypes.float8_e4m3fn: Narrow(4, 3, has_infinity=False),
    dtypes.float8_e5m2: Narrow(5, 2, has_infinity=True),
}

memory_of = memory_dtype


# --- between memory and registers ----------------------------------------------------


def from_memory(ops: Operations, value: Value, dtype: DType) -> Value:
    """The register value of elements just loaded as ``memory_dtype(dtype)``."""
    if dtype.is_bool:
        return ops.builder.compare("icmp ne", value, constant(0, value.dtype))
    if dtype is register_dtype(dtype):
        return Value(value.text, dtype, value.lanes, value.constant)
    if dtype is dtypes.bfloat16:
        return _decode_bfloat16(ops, value)
    if dtype is dtypes.float16 and FLOAT16_FEATURES & ops.features:
        return _decode_float16(ops, value)
    return _decode(ops, value, NARROW[dtype]).with_dtype(dtype)


def to_memory(ops: Operations, value: Value) -> Value:
    """A register value as the elements that memory holds."""
    dtype = value.dtype
    if dtype.is_bool:
        return ops.builder.convert("zext", value, dtypes.uint8)
    if dtype is register_dtype(dtype):
        return value
    if dtype is dtypes.bfloat16:
        high = ops.shr(_bits(ops, value), constant(16, dtypes.uint32))
        return ops.cast(high, dtypes.uint16)
    if dtype is dtypes.float16 and FLOAT16_FEATURES & ops.features:
        return _encode_float16(ops, value)
    return _encode(ops, value, NARROW[dtype], memory_dtype(dtype))


def _bits(ops: Operations, value: Value) -> Value:
    wide = Value(value.text, dtypes.float32, value.lanes)
    return ops.builder.convert("bitcast", wide, dtypes.uint32)


def _float(ops: Operations, bits: Value) -> Value:
    return ops.builder.convert("bitcast", bits, dtypes.float32)


def _decode_bfloat16(ops: Operations, value: Value) -> Value:
    wide = ops.shl(ops.cast(value, dtypes.uint32), constant(16, dtypes.uint32))
    return _float(ops, wide).with_dtype(dtypes.bfloat16)


def _decode_float16(ops: Operations, value: Value) -> Value:
    half = vector_of("half", value.lanes)
    single = vector_of("float", value.lanes)
    name = ops.builder.assign(f"bitcast {type_of(value)} {value.text} to {half}")
    text = ops.builder.assign(f"fpext {half} {name} to {single}")
    return Value(text, dtypes.float16, value.lanes)


def _half(ops: Operations, value: Value) -> str:
    half = vector_of("half", value.lanes)
    return ops.builder.assign(f"fptrunc {type_of(value)} {value.text} to {half}")


def _encode_float16(ops: Operations, value: Value) -> Value:
    half, whole = vector_of("half", value.lanes), vector_of("i16", value.lanes)
    text = ops.builder.assign(f"bitcast {half} {_half(ops, value)} to {whole}")
    return Value(text, dtypes.uint16, value.lanes)


def _decode(ops: Operations, value: Value, form: Narrow) -> Value:
    """Shift exponent and fraction into place; the product corrects the bias exactly.

    The product also makes normal numbers of the format's subnormal ones.
    """
    code = ops.cast(value, dtypes.uint32)
    size = _masked(ops, code, (1 << (form.bits - 1)) - 1)
    shifted = ops.shl(size, constant(form.dropped_bits, dtypes.uint32))
    scale = constant(2.0 ** (127 - form.bias), dtypes.float32)
    number = _bits(ops, ops.mul(_float(ops, shifted), scale))
    # Infinity and NaN have all exponent bits, whatever the fraction.
    special = ops.or_(shifted, constant(0x7F800000, dtypes.uint32))
    first = constant(form.first_special_code - 1, dtypes.uint32)
    number = ops.where(ops.lt(first, size), special, number)
    sign = ops.shl(_masked(ops, code, 1 << (form.bits - 1)), _moved(form))
    return _float(ops, ops.or_(number, sign))


def _moved(form: Narrow) -> Value:
    """How far the sign bit is from a float32's."""
    return constant(32 - form.bits, dtypes.uint32)


def _masked(ops: Operations, value: Value, mask: int) -> Value:
    return ops.and_(value, constant(mask, dtypes.uint32))


def _encode(ops: Operations, value: Value, form: Narrow, memory: DType) -> Value:
    """The code of a value that the format holds exactly."""
    bits = _bits(ops, value)
    size = _masked(ops, bits, 0x7FFFFFFF)
    scale = constant(2.0 ** (form.bias - 127), dtypes.float32)
    # Scaling makes subnormals of the format subnormals of float32, exactly.
    scaled = _bits(ops, ops.mul(_float(ops, size), scale))
    code = ops.shr(scaled, constant(form.dropped_bits, dtypes.uint32))
    if form.has_infinity:
        is_infinite = ops.eq(size, constant(0x7F800000, dtypes.uint32))
        infinity = constant(form.first_special_code, dtypes.uint32)
        code = ops.where(is_infinite, infinity, code)
    is_nan = ops.lt(constant(0x7F800000, dtypes.uint32), size)
    code = ops.where(is_nan, constant(form.nan_code, dtypes.uint32), code)
    sign = _masked(ops, ops.shr(bits, _moved(form)), 1 << (form.bits - 1))
    return ops.cast(ops.or_(code, sign), memory)


# --- rounding ------------------------------------------------------------------------


def round_to(ops: Operations, value: Value, dtype: DType) -> Value:
    """A float32 register rounded to nearest even in a format it contains."""
    wide = Value(value.text, dtypes.float32, value.lanes)
    if dtype is dtypes.bfloat16:
        return _round_to_bfloat16(ops, wide).with_dtype(dtype)
    if dtype is dtypes.float16 and FLOAT16_FEATURES & ops.features:
        single = vector_of("float", value.lanes)
        half = vector_of("half", value.lanes)
        text = ops.builder.assign(f"fpext {half} {_half(ops, wide)} to {single}")
        return Value(text, dtype, value.lanes)
    return _round_to_narrow(ops, wide, NARROW[dtype]).with_dtype(dtype)


def _round_to_bfloat16(ops: Operations, value: Value) -> Value:
    bits = _bits(ops, value)
    rounded = _masked(ops, _round_bits(ops, bits, 16), 0xFFFF0000)
    # Adding could carry a NaN over to zero; one set fraction bit keeps it NaN.
    quiet = ops.or_(_masked(ops, bits, 0xFFFF0000), constant(1 << 22, dtypes.uint32))
    return _float(ops, ops.where(ops.is_nan(value), quiet, rounded))


def _round_bits(ops: Operations, bits: Value, dropped: int) -> Value:
    """Add so that truncating ``dropped`` bits rounds to nearest, ties to even."""
    last = ops.shr(bits, constant(dropped, dtypes.uint32))
    is_odd = _masked(ops, last, 1)
    almost_half = constant((1 << (dropped - 1)) - 1, dtypes.uint32)
    return ops.add(ops.add(bits, almost_half), is_odd)


def _round_to_narrow(ops: Operations, value: Value, form: Narrow) -> Value:
    bits = _bits(ops, value)
    size = _masked(ops, bits, 0x7FFFFFFF)
    kept = 0xFFFFFFFF ^ ((1 << form.dropped_bits) - 1)
    normal = _masked(ops, _round_bits(ops, size, form.dropped_bits), kept)
    # Adding this constant leaves room for just the bits that a subnormal has.
    magic = constant(form.smallest_normal * 2.0**form.dropped_bits, dtypes.float32)
    subnormal = _bits(ops, ops.sub(ops.add(_float(ops, size), magic), magic))
    is_small = ops.lt(_float(ops, size), constant(form.smallest_normal, dtypes.float32))
    result = ops.where(is_small, subnormal, normal)
    overflow = 0x7F800000 if form.has_infinity else 0x7FC00000
    too_large = ops.lt(constant(form.largest, dtypes.float32), _float(ops, result))
    result = ops.where(too_large, constant(overflow, dtypes.uint32), result)
    nan = constant(0x7FC00000, dtypes.uint32)
    result = ops.where(ops.is_nan(value), nan, result)
    return _float(ops, ops.or_(result, _masked(ops, bits, 0x80000000)))


def convert_float(ops: Operations, value: Value, dtype: DType) -> Value:
    """From one float dtype to another, rounding to nearest even."""
    source = value.dtype
    if dtype is dtypes.float64:
        wide = Value(value.text, dtypes.float32, value.lanes)
        return ops.builder.convert("fpext", wide, dtype)
    if source is not dtypes.float64:
        narrow = Value(value.text, dtype, value.lanes)
        return narrow if source.bits == 8 and dtype.bits > 8 else ops.rounded(narrow)
    single = ops.builder.convert("fptrunc", value, dtypes.float32)
    if dtype is dtypes.float16:
        # NumPy rounds float64 to float16 once; ml_dtypes' formats go by float32.
        single = _round_to_odd(ops, value, single)
    return ops.rounded(single.with_dtype(dtype))


def _round_to_odd(ops: Operations, exact: Value, single: Value) -> Value:
    """Rounded to float32 so that a second rounding gives the same as one.

    A value that float32 does not hold takes the odd one of its two neighbours
    (Boldo and Melquiond 2008).
    """
    back = ops.builder.convert("fpext", single, dtypes.float64)
    bits = _bits(ops, single)
    is_even = ops.eq(_masked(ops, bits, 1), constant(0, dtypes.uint32))
    inexact = ops.builder.compare("fcmp one", exact, back)
    is_wrong = ops.builder.binary("and", is_even, inexact)
    # Magnitudes are ordered like their bits: go one down if we rounded away from 0.
    exact_size = ops.builder.call("fabs", exact)
    back_size = ops.builder.call("fabs", back)
    one = constant(1, dtypes.uint32)
    down, up = ops.sub(bits, one), ops.add(bits, one)
    neighbour = ops.where(ops.lt(exact_size, back_size), down, up)
    return _float(ops, ops.where(is_wrong, neighbour, bits))


def saturating_integer(ops: Operations, value: Value, dtype: DType) -> Value:
    """The whole part, at most the integer's limits; 0 for NaN."""
    carrier = register_dtype(value.dtype)
    wide = Value(value.text, carrier, value.lanes)
    letter = "s" if dtype.is_signed else "u"
    result = f"i{dtype.bits}" if value.lanes == 1 else f"v{value.lanes}i{dtype.bits}"
    source = "f32" if carrier.bits == 32 else "f64"
    if value.lanes > 1:
        source = f"v{value.lanes}{source}"
    function = f"@llvm.fpto{letter}i.sat.{result}.{source}"
    return ops.builder.call_as(function, dtype, value.lanes, (wide,))
