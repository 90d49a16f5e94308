"""What each op of the graph is on registers: one table per kind of value.

:class:`Operations` also is the ``Arithmetic`` that ``tile/functions.py`` writes the
elementary functions with. Meanings are those of ``graph/elementwise``, to the bit:
LLVM leaves shifts by the width, division by zero and conversions out of range
undefined, so those are written out here.
"""

from __future__ import annotations

from functools import partial

from tetragrad.backends.cpu.emit import formats
from tetragrad.backends.cpu.emit.division import floor_divide, modulo
from tetragrad.backends.cpu.emit.elementary import elementary
from tetragrad.backends.cpu.emit.vector import (
    Builder,
    Number,
    Value,
    constant,
    register_dtype,
    type_of,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.graph import elementwise as op
from tetragrad.graph import reduce
from tetragrad.tile.operations import DeviceOperations

FLOAT_INSTRUCTIONS = {op.Add: "fadd", op.Sub: "fsub", op.Mul: "fmul", op.Div: "fdiv"}
INTEGER_INSTRUCTIONS = {
    op.Add: "add",
    op.Sub: "sub",
    op.Mul: "mul",
    op.And: "and",
    op.Or: "or",
    op.Xor: "xor",
}
BOOL_INSTRUCTIONS = {
    op.And: "and",
    op.Or: "or",
    op.Xor: "xor",
    op.Maximum: "or",
}
FLOAT_INTRINSICS = {op.Sqrt: "sqrt", op.Floor: "floor", op.Trunc: "trunc"}


class Operations(DeviceOperations[Value]):
    """The ops on values, written with a builder."""

    def __init__(self, builder: Builder, features: frozenset[str]) -> None:
        self.builder = builder
        self.features = features
        # Ops that are more than a table entry; by class, like the tables.
        self.methods = {
            op.Neg: self.neg,
            op.Not: self.invert,
            op.Reciprocal: self._reciprocal,
            op.IDiv: partial(floor_divide, self),
            op.Mod: partial(modulo, self),
            op.Maximum: self.max,
            op.Lt: self.lt,
            op.Eq: self.eq,
            op.Shl: self.shl,
            op.Shr: self.shr,
            op.Where: self.where,
        }

    def with_builder(self, builder: Builder) -> Operations:
        """The same ops, written somewhere else."""
        return Operations(builder, self.features)

    # --- ops by class ------------------------------------------------------------

    def elementary(
        self, kind: type[op.Elementwise], dtype: DType, operands: tuple[Value, ...]
    ) -> Value:
        return elementary(self, kind, dtype, operands)

    def instruction(self, kind: type[op.Elementwise], *operands: Value) -> Value:
        dtype = operands[0].dtype
        if dtype.is_floating_point:
            if kind in FLOAT_INTRINSICS:
                result = self.builder.call(FLOAT_INTRINSICS[kind], *operands)
                return self.rounded(result)
            table = FLOAT_INSTRUCTIONS
        else:
            table = BOOL_INSTRUCTIONS if dtype.is_bool else INTEGER_INSTRUCTIONS
        if kind not in table:
            raise UnsupportedError(f"{kind.__name__.lower()} of {dtype} on the CPU")
        return self.rounded(self.builder.binary(table[kind], *operands))

    def combine_lanes(self, kind: type[reduce.Reduce], value: Value) -> Value:
        """Reduce the lanes of one vector to a scalar, pairing halves."""
        while value.lanes > 1:
            half = value.lanes // 2
            low = self.builder.shuffle(value, value, range(half))
            high = self.builder.shuffle(value, value, range(half, 2 * half))
            folded = self.combine(kind, low, high)
            if value.lanes % 2:
                rest = self.builder.lane(value, value.lanes - 1)
                folded = self.combine(kind, self.combine_lanes(kind, folded), rest)
            value = folded
        return value

    def rounded(self, value: Value) -> Value:
        """A carrier's value rounded to its own dtype; only narrow floats change."""
        if value.dtype is register_dtype(value.dtype):
            return value
        return formats.round_to(self, value, value.dtype)

    # --- constants and dtypes ----------------------------------------------------

    def dtype(self, value: Value) -> DType:
        return value.dtype

    def constant(self, value: Number, dtype: DType) -> Value:
        return constant(value, dtype)

    # --- arithmetic --------------------------------------------------------------

    def fma(self, lhs: Value, rhs: Value, addend: Value) -> Value:
        return self.builder.call("fma", lhs, rhs, addend)

    def neg(self, value: Value) -> Value:
        if value.dtype.is_floating_point:
            text = self.builder.assign(f"fneg {_typed(value)}")
            return Value(text, value.dtype, value.lanes)
        return self.builder.binary("sub", constant(0, value.dtype), value)

    def invert(self, value: Value) -> Value:
        ones = True if value.dtype.is_bool else -1
        return self.builder.binary("xor", value, constant(ones, value.dtype))

    def _reciprocal(self, value: Value) -> Value:
        return self.div(constant(1.0, value.dtype), value)

    # --- comparison and choice ---------------------------------------------------

    def lt(self, lhs: Value, rhs: Value) -> Value:
        return self.builder.compare(_less_than(lhs.dtype), lhs, rhs)

    def eq(self, lhs: Value, rhs: Value) -> Value:
        equal = "fcmp oeq" if lhs.dtype.is_floating_point else "icmp eq"
        return self.builder.compare(equal, lhs, rhs)

    def is_nan(self, value: Value) -> Value:
        """Whether a float is not a number."""
        return self.builder.compare("fcmp uno", value, value)

    def any_lane(self, condition: Value) -> Value:
        """Whether a condition holds in some lane."""
        if condition.lanes == 1:
            return condition
        function = f"@llvm.vector.reduce.or.v{condition.lanes}i1"
        return self.builder.call_as(function, dtypes.bool_, 1, (condition,))

    def where(self, condition: Value, chosen: Value, otherwise: Value) -> Value:
        return self.builder.select(condition, chosen, otherwise)

    def max(self, lhs: Value, rhs: Value) -> Value:
        if lhs.dtype.is_bool:
            return self.builder.binary("or", lhs, rhs)
        # As NumPy does, rhs is chosen where both are equal (0 and -0).
        return self._extremum(self.lt(rhs, lhs), lhs, rhs)

    def min(self, lhs: Value, rhs: Value) -> Value:
        """The smaller of two values; NaN if either is NaN."""
        if lhs.dtype.is_bool:
            return self.builder.binary("and", lhs, rhs)
        return self._extremum(self.lt(lhs, rhs), lhs, rhs)

    def _extremum(self, is_lhs: Value, lhs: Value, rhs: Value) -> Value:
        result = self.where(is_lhs, lhs, rhs)
        if not lhs.dtype.is_floating_point:
            return result
        # Every comparison with NaN is false, which already chose a NaN in rhs.
        return self.where(self.is_nan(lhs), lhs, result)

    # --- shifts ------------------------------------------------------------------

    def shl(self, lhs: Value, rhs: Value) -> Value:
        return self._shift("shl", lhs, rhs, constant(0, lhs.dtype))

    def shr(self, lhs: Value, rhs: Value) -> Value:
        zero = constant(0, lhs.dtype)
        if not lhs.dtype.is_signed:
            return self._shift("lshr", lhs, rhs, zero)
        last = constant(lhs.dtype.bits - 1, lhs.dtype)
        if _is_inside_width(rhs):
            return self.builder.binary("ashr", lhs, rhs)
        # A shift by all but one bit leaves only copies of the sign.
        count = self.where(self._is_unsigned_below(rhs, last), rhs, last)
        return self.builder.binary("ashr", lhs, count)

    def _shift(self, instruction: str, lhs: Value, rhs: Value, beyond: Value) -> Value:
        if _is_inside_width(rhs):
            return self.builder.binary(instruction, lhs, rhs)
        width = constant(lhs.dtype.bits, lhs.dtype)
        inside = self._is_unsigned_below(rhs, width)
        count = self.where(inside, rhs, constant(0, rhs.dtype))
        return self.where(inside, self.builder.binary(instruction, lhs, count), beyond)

    def _is_unsigned_below(self, value: Value, limit: Value) -> Value:
        return self.builder.compare("icmp ult", value, limit)

    # --- conversion --------------------------------------------------------------

    def cast(self, value: Value, dtype: DType) -> Value:
        """The value in another dtype, as graph/elementwise's Cast defines it."""
        source = value.dtype
        if source is dtype:
            return value
        if source.is_floating_point:
            if dtype.is_floating_point:
                return formats.convert_float(self, value, dtype)
            return self._float_to_whole(value, dtype)
        if dtype.is_floating_point:
            convert = "sitofp" if source.is_signed else "uitofp"
            wide = self.builder.convert(convert, value, register_dtype(dtype))
            return self.rounded(wide.with_dtype(dtype))
        return self._between_whole(value, dtype)

    def _float_to_whole(self, value: Value, dtype: DType) -> Value:
        if dtype.is_bool:
            zero = constant(0.0, value.dtype)
            return self.builder.compare("fcmp une", value, zero)
        return formats.saturating_integer(self, value, dtype)

    def _between_whole(self, value: Value, dtype: DType) -> Value:
        source = value.dtype
        if dtype.is_bool:
            return self.builder.compare("icmp ne", value, constant(0, source))
        if source.bits == dtype.bits and not source.is_bool:
            return Value(value.text, dtype, value.lanes, value.constant)
        if source.is_bool or source.bits < dtype.bits:
            extend = "sext" if source.is_signed else "zext"
            return self.builder.convert(extend, value, dtype)
        return self.builder.convert("trunc", value, dtype)

    def bitcast(self, value: Value, dtype: DType) -> Value:
        """The same bits as another dtype of the same width."""
        bits = formats.to_memory(self, value)
        carrier = formats.memory_of(dtype)
        if _is_float(bits.dtype) != _is_float(carrier):
            bits = self.builder.convert("bitcast", bits, carrier)
        constant_bits = bits.constant if bits.dtype is carrier else None
        same = Value(bits.text, carrier, bits.lanes, constant_bits)
        return formats.from_memory(self, same, dtype)


def _is_float(dtype: DType) -> bool:
    return dtype.is_floating_point


def _typed(value: Value) -> str:
    return f"{type_of(value)} {value.text}"


def _less_than(dtype: DType) -> str:
    if dtype.is_floating_point:
        return "fcmp olt"
    return "icmp slt" if dtype.is_signed else "icmp ult"


def _is_inside_width(count: Value) -> bool:
    """Whether a shift count is a constant that every processor accepts."""
    if count.constant is None:
        return False
    return 0 <= count.constant < count.dtype.bits
