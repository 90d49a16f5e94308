"""Elementary functions on the GPU: its own instructions where they are good enough.

What is left is written once for every backend, in ``tile/functions.py``. Float16 and
bfloat16 are computed in float32 and rounded once, so for them an error of some
float32 units is none.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from tetragrad.backends.cuda.emit import formats
from tetragrad.backends.cuda.emit.ptx import Value, constant, register_class
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph import elementwise as op
from tetragrad.tile import functions
from tetragrad.tile.arithmetic import absolute, format_of

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.operations import Operations

#: The two factors of a short erf: see short_sigmoid().
SHORT_ERF = (1.1287762129994219, 0.10070969744669114)

#: Powers of two that are normal float32 numbers, from 2**-126 to 2**126.
LEAST_EXPONENT = -126
EXPONENTS = 252
#: A number from 0 to EXPONENTS added to this stands in the last bits, one too large:
#: shifted to the place of the exponent, that is a power of two.
EXPONENT_HOLDER = 1.5 * 2**23 + 1
FRACTION_BITS = 23
#: log2(e) as a float32 and what it leaves.
_LOG2_E = struct.unpack("<f", struct.pack("<f", math.log2(math.e)))[0]
_LOG2_E_REST = math.log2(math.e) - _LOG2_E


def elementary(
    ops: Operations,
    kind: type[op.Elementwise],
    dtype: DType,
    operands: tuple[Value, ...],
) -> Value:
    """One elementary function of values of a dtype."""
    carrier = dtypes.float64 if dtype.bits == 64 else dtypes.float32
    wide = [Value(entry.text, carrier, entry.constant) for entry in operands]
    if kind in (op.Sin, op.Cos):
        result = of_angle(ops, kind, wide[0])
    elif kind in (op.Exp, op.Exp2) and dtype.bits == 16:
        result = short_exponential(ops, kind, wide[0])
    elif kind in (op.Exp, op.Exp2) and dtype is dtypes.float32:
        result = exponential(ops, kind, wide[0])
    elif kind in (op.Erf, op.Tanh) and dtype is dtypes.bfloat16:
        result = short_sigmoid(ops, kind, wide[0])
    else:
        result = functions.BY_OP[kind](ops, *wide)
    return formats.rounded(ops, Value(result.text, dtype, result.constant))


def exponential(ops: Operations, kind: type[op.Elementwise], x: Value) -> Value:
    """2**n * 2**r, where the unit's own instruction gives 2**r for |r| <= 1/2.

    n is the nearest whole number, or the nearest that is an exponent. Beyond those, r
    is large, and 2**r overflows, vanishes or leaves bits for the product to round.
    """
    is_natural = kind is op.Exp
    factor = _LOG2_E if is_natural else 1.0
    compute, number = ops.builder.compute, dtypes.float32

    def exactly(value: float) -> Value:
        return constant(value, number)

    scaled = exactly(factor / EXPONENTS)
    share = compute("fma.rn.sat.f32", number, x, scaled, exactly(0.5))
    held = ops.fma(share, exactly(EXPONENTS), exactly(EXPONENT_HOLDER))
    minus_n = ops.sub(exactly(EXPONENT_HOLDER - LEAST_EXPONENT), held)
    rest = ops.fma(x, exactly(factor), minus_n)
    if is_natural:
        rest = ops.fma(x, exactly(_LOG2_E_REST), rest)
    power = compute("ex2.approx.ftz.f32", number, rest)
    bits = ops.builder.assign("b32", "mov.b32", held.text)
    shifted = ops.builder.assign("b32", "shl.b32", f"{bits}, {FRACTION_BITS}")
    scale = Value(ops.builder.assign("f32", "mov.b32", shifted), number)
    return ops.mul(power, scale)


def short_exponential(ops: Operations, kind: type[op.Elementwise], x: Value) -> Value:
    """The GPU's own instruction; its error of 2**-17 is lost in the rounding."""
    if kind is op.Exp:
        x = ops.mul(x, constant(math.log2(math.e), dtypes.float32))
    return ops.builder.compute("ex2.approx.f32", dtypes.float32, x)


def short_sigmoid(ops: Operations, kind: type[op.Elementwise], x: Value) -> Value:
    """The GPU's own tanh; its error of 2**-11 is little beside bfloat16's 2**-9.

    erf(x) is tanh(x * (a + b*x*x)) to 2**-11.5, with a and b fitted to the largest
    relative error.
    """
    if kind is op.Erf:
        linear, cubic = (constant(factor, dtypes.float32) for factor in SHORT_ERF)
        square = ops.mul(x, x)
        x = ops.mul(x, ops.fma(square, cubic, linear))
    return ops.builder.compute("tanh.approx.f32", dtypes.float32, x)


def of_angle(ops: Operations, kind: type[op.Elementwise], angle: Value) -> Value:
    """Sine or cosine: the short way, unless the angle is too large for it."""
    builder, register = ops.builder, register_class(angle.dtype)
    near = functions.BY_OP[kind](ops, angle, moderate=True)
    result = builder.register(register)
    builder.move(result, register, near)
    limit = constant(format_of(ops, angle).moderate_angle, angle.dtype)
    is_moderate = ops.lt(absolute(ops, angle), limit)
    with builder.only_if(builder.text(is_moderate), negated=True):
        builder.move(result, register, functions.BY_OP[kind](ops, angle))
    return Value(result, angle.dtype)
