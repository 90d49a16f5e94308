"""What each op of the graph is in PTX: tables, and methods for what needs more.

:class:`Operations` also is the ``Arithmetic`` that ``tile/functions.py`` writes the
elementary functions with. Meanings are those of ``graph/elementwise``. PTX divides
integers by zero without a trap but with any result, and clamps shifts on its own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from tetragrad.backends.cuda.emit import formats, small_integers
from tetragrad.backends.cuda.emit.elementary import elementary
from tetragrad.backends.cuda.emit.ptx import (
    Builder,
    Number,
    Value,
    arithmetic_type,
    constant,
    register_class,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.graph import elementwise as op
from tetragrad.tile.functions import BY_OP
from tetragrad.tile.operations import DeviceOperations

FLOAT_INSTRUCTIONS = {
    op.Add: "add.rn",
    op.Sub: "sub.rn",
    op.Mul: "mul.rn",
    op.Div: "div.rn",
    op.Sqrt: "sqrt.rn",
    op.Floor: "cvt.rmi",
    op.Trunc: "cvt.rzi",
}
#: What is done to two half-width floats at once. Computed in float32 and rounded, the
#: results have the same bits: 24 digits are more than twice 11 and two.
PAIR_INSTRUCTIONS = {op.Add: "add.rn", op.Sub: "sub.rn", op.Mul: "mul.rn"}
INTEGER_INSTRUCTIONS = {op.Add: "add", op.Sub: "sub", op.Mul: "mul.lo"}
BIT_INSTRUCTIONS = {op.And: "and", op.Or: "or", op.Xor: "xor"}

_RELATIONS: dict[str, Callable[..., bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
    "neu": operator.ne,
    "nan": lambda lhs, rhs: lhs != lhs or rhs != rhs,
}


class Operations(DeviceOperations[Value]):
    """The ops on values, written with a builder."""

    def __init__(self, builder: Builder, features: frozenset[str]) -> None:
        self.builder = builder
        self.features = features
        self.methods = {
            op.Neg: self.neg,
            op.Not: self.invert,
            op.Reciprocal: self._reciprocal,
            op.IDiv: self._floor_divide,
            op.Mod: self._modulo,
            op.Maximum: self.max,
            op.Lt: self.lt,
            op.Eq: self.eq,
            op.Shl: self.shl,
            op.Shr: self.shr,
            op.Where: self.where,
        }
        # Their names, and whether the result is as its dtype holds it.
        self._instructions: dict[
            tuple[type[op.Elementwise], DType], tuple[str, bool]
        ] = {}
        self._pairs: dict[tuple[type[op.Elementwise], DType], str | None] = {}

    # --- ops by class ------------------------------------------------------------

    def elementary(
        self, kind: type[op.Elementwise], dtype: DType, operands: tuple[Value, ...]
    ) -> Value:
        return elementary(self, kind, dtype, operands)

    def instruction(self, kind: type[op.Elementwise], *operands: Value) -> Value:
        dtype = operands[0].dtype
        found = self._instructions.get((kind, dtype))
        if found is None:
            found = self._instructions[kind, dtype] = _instruction_of(kind, dtype)
        name, is_exact = found
        result = self.builder.compute(name, dtype, *operands)
        if dtype.itemsize == 1 and dtype.is_integer:
            return self._on_bytes(kind, operands, result)
        if is_exact:
            return result
        if dtype.is_floating_point:
            return formats.rounded(self, result)
        return self.narrowed(result)

    def _on_bytes(
        self, kind: type[op.Elementwise], operands: tuple[Value, ...], result: Value
    ) -> Value:
        """The result of an instruction on bytes; of what is known, it is told too."""
        if kind is op.And:
            lhs, rhs = operands
            return small_integers.masked(self.builder, lhs, rhs, result)
        if kind in BIT_INSTRUCTIONS:
            return result
        if kind is not op.Mul:
            value, other = operands
            sign = 1 if kind is op.Add else -1
            if other.constant is not None:
                number = sign * int(other.constant)
                found = small_integers.shifted(self.builder, value, number, result)
                if found is not None:
                    return found
        return self.narrowed(result)

    def exact_instruction(self, kind: type[op.Elementwise], dtype: DType) -> str | None:
        """The only instruction of an op on a dtype, if nothing else belongs to it."""
        if kind in (op.Cast, op.Bitcast) or kind in BY_OP or kind in self.methods:
            return None
        if dtype.itemsize == 1:
            # What is known of bytes is told about the result, too.
            return None
        found = self._instructions.get((kind, dtype))
        if found is None:
            found = self._instructions[kind, dtype] = _instruction_of(kind, dtype)
        name, is_exact = found
        return name if is_exact else None

    def pair_instruction(self, kind: type[op.Elementwise], dtype: DType) -> str | None:
        """The instruction on two half-width floats in one register, if there is one."""
        key = (kind, dtype)
        if key not in self._pairs:
            self._pairs[key] = self._find_pair_instruction(kind, dtype)
        return self._pairs[key]

    def _find_pair_instruction(
        self, kind: type[op.Elementwise], dtype: DType
    ) -> str | None:
        if kind not in PAIR_INSTRUCTIONS or dtype not in formats.HALVES:
            return None
        if dtype is dtypes.bfloat16 and "bfloat16 pairs" not in self.features:
            return None
        return f"{PAIR_INSTRUCTIONS[kind]}.{formats.HALVES[dtype]}x2"

    def narrowed(self, value: Value) -> Value:
        """A 32-bit result as its narrow integer dtype holds it."""
        if value.dtype.bits >= 32 or not value.dtype.is_integer:
            return value
        byte = small_integers.byte_of(self.builder, value)
        if byte is not None and byte.fits(value.dtype):
            return value
        narrow = f"{'s' if value.dtype.is_signed else 'u'}{value.dtype.bits}"
        wide = arithmetic_type(value.dtype)
        return self.builder.compute(f"cvt.{wide}.{narrow}", value.dtype, value)

    # --- constants and dtypes ----------------------------------------------------

    def dtype(self, value: Value) -> DType:
        return value.dtype

    def constant(self, value: Number, dtype: DType) -> Value:
        return constant(value, dtype)

    # --- arithmetic --------------------------------------------------------------

    def fma(self, lhs: Value, rhs: Value, addend: Value) -> Value:
        """lhs * rhs + addend, with one rounding."""
        dtype = lhs.dtype
        name = f"fma.rn.{arithmetic_type(dtype)}"
        result = self.builder.compute(name, dtype, lhs, rhs, addend)
        return result if dtype.bits >= 32 else formats.rounded(self, result)

    def neg(self, value: Value) -> Value:
        if value.dtype.is_floating_point:
            suffix = arithmetic_type(value.dtype)
            return self.builder.compute(f"neg.{suffix}", value.dtype, value)
        return self.sub(constant(0, value.dtype), value)

    def invert(self, value: Value) -> Value:
        name = f"not.{_bits_type(value.dtype)}"
        return self.narrowed(self.builder.compute(name, value.dtype, value))

    def _reciprocal(self, value: Value) -> Value:
        return self.div(constant(1.0, value.dtype), value)

    def short_quotient(self, lhs: Value, rhs: Value) -> Value:
        """lhs / rhs in float32 with an error of two units, to be rounded further.

        What concerns the divisor alone is done once where many are divided by it: it is
        scaled so that neither it nor its reciprocal leaves the range of numbers.
        """
        number, compute = dtypes.float32, self.builder.compute
        size = compute("abs.f32", number, rhs)
        large = self.lt(constant(2.0**126, number), size)
        small = self.lt(size, constant(2.0**-126, number))
        up = self.where(small, constant(2.0**24, number), constant(1.0, number))
        scale = self.where(large, constant(0.25, number), up)
        reciprocal = compute("rcp.approx.ftz.f32", number, self.mul(rhs, scale))
        return self.mul(self.mul(lhs, reciprocal), scale)

    # --- comparison and choice ---------------------------------------------------

    def lt(self, lhs: Value, rhs: Value) -> Value:
        if lhs.dtype.is_bool:
            return self.and_(self.invert(lhs), rhs)
        return self._compare("lt", lhs, rhs)

    def eq(self, lhs: Value, rhs: Value) -> Value:
        if lhs.dtype.is_bool:
            return self.invert(self.xor(lhs, rhs))
        return self._compare("eq", lhs, rhs)

    def at_most(self, lhs: Value, rhs: Value) -> Value:
        """lhs <= rhs, for numbers."""
        return self._compare("le", lhs, rhs)

    def _compare(self, relation: str, lhs: Value, rhs: Value) -> Value:
        if lhs.constant is not None and rhs.constant is not None:
            holds = _RELATIONS[relation](lhs.constant, rhs.constant)
            return constant(holds, dtypes.bool_)
        name = f"setp.{relation}.{arithmetic_type(lhs.dtype)}"
        return self.builder.compute(name, dtypes.bool_, lhs, rhs)

    def is_nan(self, value: Value) -> Value:
        """Whether a float is not a number."""
        return self._compare("nan", value, value)

    def where(self, condition: Value, chosen: Value, otherwise: Value) -> Value:
        if chosen.text == otherwise.text:
            return chosen
        if condition.constant is not None:
            return chosen if condition.constant else otherwise
        if chosen.dtype.is_bool:
            inside = self.and_(condition, chosen)
            return self.or_(inside, self.and_(self.invert(condition), otherwise))
        name = f"selp.{register_class(chosen.dtype)}"
        operands = chosen, otherwise, condition
        result = self.builder.compute(name, chosen.dtype, *operands)
        return small_integers.chosen(self.builder, *operands, result)

    def max(self, lhs: Value, rhs: Value) -> Value:
        return self._extremum("max", op.Or, lhs, rhs)

    def min(self, lhs: Value, rhs: Value) -> Value:
        """The smaller of two values; NaN if either is NaN."""
        return self._extremum("min", op.And, lhs, rhs)

    def _extremum(
        self, name: str, of_bools: type[op.Elementwise], lhs: Value, rhs: Value
    ) -> Value:
        dtype = lhs.dtype
        if dtype.is_bool:
            return self.instruction(of_bools, lhs, rhs)
        if register_class(dtype) == "f32":
            return self.builder.compute(f"{name}.NaN.f32", dtype, lhs, rhs)
        if not dtype.is_floating_point:
            suffix = arithmetic_type(dtype)
            return self.builder.compute(f"{name}.{suffix}", dtype, lhs, rhs)
        chosen = self.builder.compute(f"{name}.f64", dtype, lhs, rhs)
        chosen = self.where(self.is_nan(rhs), rhs, chosen)
        return self.where(self.is_nan(lhs), lhs, chosen)

    # --- shifts ------------------------------------------------------------------

    def shl(self, lhs: Value, rhs: Value) -> Value:
        name = f"shl.{_bits_type(lhs.dtype)}"
        return self._shift(name, lhs, rhs)

    def shr(self, lhs: Value, rhs: Value) -> Value:
        return self._shift(f"shr.{arithmetic_type(lhs.dtype)}", lhs, rhs)

    def _shift(self, name: str, lhs: Value, rhs: Value) -> Value:
        """PTX clamps the count to the width; a negative one counts as huge."""
        count = rhs
        if rhs.dtype.bits == 64:
            limit = constant(64, dtypes.uint64)
            unsigned = Value(rhs.text, dtypes.uint64, rhs.constant)
            least = self.builder.compute("min.u64", dtypes.uint64, unsigned, limit)
            count = self.builder.compute("cvt.u32.u64", dtypes.uint32, least)
        result = self.narrowed(self.builder.compute(name, lhs.dtype, lhs, count))
        if not name.startswith("shr"):
            return result
        return small_integers.moved_down(self.builder, lhs, rhs, result)

    # --- division ----------------------------------------------------------------

    def _floor_divide(self, lhs: Value, rhs: Value) -> Value:
        quotient, remainder, is_zero = self._divide(lhs, rhs)
        if lhs.dtype.is_signed:
            below = self._signs_differ(remainder, rhs)
            lowered = self.sub(quotient, constant(1, lhs.dtype))
            quotient = self.where(below, lowered, quotient)
        return self.where(is_zero, constant(0, lhs.dtype), quotient)

    def _modulo(self, lhs: Value, rhs: Value) -> Value:
        if lhs.dtype.is_floating_point:
            return self._float_modulo(lhs, rhs)
        _, remainder, is_zero = self._divide(lhs, rhs)
        if lhs.dtype.is_signed:
            below = self._signs_differ(remainder, rhs)
            remainder = self.where(below, self.add(remainder, rhs), remainder)
        return self.where(is_zero, lhs, remainder)

    def _divide(self, lhs: Value, rhs: Value) -> tuple[Value, Value, Value]:
        """Quotient toward zero, remainder, and where the divisor was zero."""
        one = constant(1, lhs.dtype)
        is_zero = self.eq(rhs, constant(0, rhs.dtype))
        divisor = self.where(is_zero, one, rhs)
        suffix = arithmetic_type(lhs.dtype)
        quotient = self.builder.compute(f"div.{suffix}", lhs.dtype, lhs, divisor)
        if lhs.dtype.is_signed:
            is_minus_one = self.eq(rhs, constant(-1, rhs.dtype))
            quotient = self.where(is_minus_one, self.neg(lhs), quotient)
        quotient = self.narrowed(quotient)
        rest = self.sub(lhs, self.mul(quotient, divisor))
        return quotient, rest, is_zero

    def _signs_differ(self, remainder: Value, divisor: Value) -> Value:
        """Whether a remainder is not zero and its sign is not the divisor's."""
        zero = constant(0, remainder.dtype)
        opposite = self.lt(self.xor(remainder, divisor), zero)
        return self.and_(opposite, self.invert(self.eq(remainder, zero)))

    def _float_modulo(self, lhs: Value, rhs: Value) -> Value:
        """lhs - floor(lhs / rhs) * rhs, exactly: long division, one bit a step.

        The remainder of the sizes is exact in every step (as C's fmod is); then the
        divisor is added where the signs differ.
        """
        remainder = formats.remainder_of_sizes(self, lhs, rhs)
        zero = constant(0.0, lhs.dtype)
        is_negative = self.lt(remainder, zero)
        sign_differs = self.xor(is_negative, self.lt(rhs, zero))
        nonzero = self.invert(self.eq(remainder, zero))
        differs = self.and_(nonzero, sign_differs)
        return self.where(differs, self.add(remainder, rhs), remainder)

    # --- conversion --------------------------------------------------------------

    def cast(self, value: Value, dtype: DType) -> Value:
        """The value in another dtype, as graph/elementwise's Cast defines it."""
        source = value.dtype
        if source is dtype:
            return value
        if source.is_floating_point:
            if dtype.is_floating_point:
                return formats.convert_float(self, value, dtype)
            if dtype.is_bool:
                return self._compare("neu", value, constant(0.0, source))
            return formats.saturating_integer(self, value, dtype)
        if dtype.is_bool:
            return self._compare("ne", value, constant(0, source))
        if source.is_bool:
            one, zero = constant(1, dtype), constant(0, dtype)
            return self.where(value, one, zero)
        if dtype.is_floating_point:
            is_small = source.bits <= 16 and dtype.bits <= 32
            if is_small and value.constant is None:
                return formats.small_integer(self, value, dtype)
            name = f"cvt.rn.{arithmetic_type(dtype)}.{arithmetic_type(source)}"
            return formats.rounded(self, self.builder.compute(name, dtype, value))
        return self._between_integers(value, dtype)

    def _between_integers(self, value: Value, dtype: DType) -> Value:
        source = value.dtype
        if value.constant is not None:
            return constant(int(value.constant), dtype)
        if (source.bits == 64) == (dtype.bits == 64):
            return self.narrowed(Value(value.text, dtype))
        name = f"cvt.{arithmetic_type(dtype)}.{arithmetic_type(source)}"
        return self.narrowed(self.builder.compute(name, dtype, value))

    def bitcast(self, value: Value, dtype: DType) -> Value:
        """The same bits as another dtype of the same width."""
        return formats.from_bits(self, formats.to_bits(self, value), dtype)


def _bits_type(dtype: DType) -> str:
    return register_class(dtype)


def _instruction_of(kind: type[op.Elementwise], dtype: DType) -> tuple[str, bool]:
    """The instruction of an op, and whether its result needs no rounding."""
    if kind in BIT_INSTRUCTIONS:
        return f"{BIT_INSTRUCTIONS[kind]}.{_bits_type(dtype)}", True
    suffix = arithmetic_type(dtype)
    if dtype.is_floating_point and kind in FLOAT_INSTRUCTIONS:
        name = FLOAT_INSTRUCTIONS[kind]
        if kind is op.Div and dtype.bits == 16:
            # Its error of two float32 units is lost in the rounding.
            name = "div.full"
        if name.startswith("cvt"):
            suffix = f"{suffix}.{suffix}"
        return f"{name}.{suffix}", dtype.bits >= 32
    if dtype.is_integer and kind in INTEGER_INSTRUCTIONS:
        return f"{INTEGER_INSTRUCTIONS[kind]}.{suffix}", dtype.bits >= 32
    raise UnsupportedError(f"{kind.__name__.lower()} of {dtype} on CUDA")
