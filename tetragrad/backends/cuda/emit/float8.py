"""8-bit floats: held as float32 that are rounded already, stored by way of float16.

Both formats fit into a float16: the one with five bits of exponent is its upper half,
the other one's exponent is in another place. Values that round beyond the largest
number are infinite, or NaN where there is no infinity; PTX's own conversion, which
newer GPUs have, would give the largest number instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.backends.cuda.emit.ptx import Value, constant, float32_text
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.operations import Operations

#: The feature of targets whose instructions round to these formats.
CONVERSIONS = "float8 conversions"


@frozen
class Format:
    """A float of 8 bits, and the float16 that has its bits in the same places."""

    name: str
    fraction_bits: int
    smallest_normal: float
    #: The largest float32 that rounds to a finite number, and what larger ones become.
    limit: float
    beyond: float
    #: Its number is this many times that of the float16, whose bits begin so far up.
    scale: float
    shift: int

    @property
    def dropped_bits(self) -> int:
        """Fraction bits of a float32 that are rounded away."""
        return 23 - self.fraction_bits


FORMATS = {
    dtypes.float8_e4m3fn: Format("e4m3", 3, 2.0**-6, 464.0, float("nan"), 256.0, 7),
    dtypes.float8_e5m2: Format(
        "e5m2", 2, 2.0**-14, 61440.0 - 2.0**-8, float("inf"), 1.0, 8
    ),
}


# --- rounding ------------------------------------------------------------------------


def rounded(ops: Operations, value: Value) -> Value:
    """A float32 register rounded to nearest even in the format it stands for."""
    form = FORMATS[value.dtype]
    assign = ops.builder.assign
    if CONVERSIONS in ops.features:
        code = assign(
            "b16", f"cvt.rn.satfinite.{form.name}x2.f32", f"0f00000000, {value.text}"
        )
        finite = _two_of(ops, code, form)[0]
    else:
        finite = _rounded_with_integers(ops, value.text, form)
    size = assign("f32", "abs.f32", value.text)
    is_beyond = assign("pred", "setp.gt.f32", f"{size}, {float32_text(form.limit)}")
    beyond = assign("f32", "copysign.f32", f"{value.text}, {float32_text(form.beyond)}")
    result = assign("f32", "selp.f32", f"{beyond}, {finite}, {is_beyond}")
    return Value(result, value.dtype)


def _rounded_with_integers(ops: Operations, number: str, form: Format) -> str:
    """A finite number, rounded; NaN stays NaN."""
    assign = ops.builder.assign
    dropped = form.dropped_bits
    bits = assign("b32", "mov.b32", number)
    # Added, so much less than half is carried over from beyond half, and from half
    # where the last bit that stays is odd.
    odd = assign("b32", "bfe.u32", f"{bits}, {dropped}, 1")
    carried = assign("b32", "add.s32", f"{bits}, {(1 << (dropped - 1)) - 1}")
    carried = assign("b32", "add.s32", f"{carried}, {odd}")
    kept = assign("b32", "and.b32", f"{carried}, {-1 << dropped}")
    normal = assign("f32", "mov.b32", kept)
    # Beside so large a number there is room for just the bits of a subnormal one.
    large = float32_text(form.smallest_normal * 2.0**dropped)
    size = assign("f32", "abs.f32", number)
    beside = assign("f32", "add.rn.f32", f"{size}, {large}")
    alone = assign("f32", "sub.rn.f32", f"{beside}, {large}")
    subnormal = assign("f32", "copysign.f32", f"{number}, {alone}")
    least = float32_text(form.smallest_normal)
    is_normal = assign("pred", "setp.ge.f32", f"{size}, {least}")
    # NaN is not at least anything, and the sum beside it is NaN.
    return assign("f32", "selp.f32", f"{normal}, {subnormal}, {is_normal}")


# --- between registers and memory ----------------------------------------------------


def decoded(ops: Operations, code: str, dtype: DType) -> Value:
    """The value of a code in the low byte of a register."""
    return decoded_word(ops, code, dtype)[0]


def decoded_word(ops: Operations, word: str, dtype: DType) -> list[Value]:
    """The values of the codes in the four bytes of a word."""
    form = FORMATS[dtype]
    if CONVERSIONS in ops.features:
        codes = _halves(ops, word)
        numbers = [number for code in codes for number in _two_of(ops, code, form)]
    else:
        numbers = [_of_byte(ops, word, place, form) for place in range(4)]
    return [Value(number, dtype) for number in numbers]


def _halves(ops: Operations, word: str) -> tuple[str, str]:
    low, high = ops.builder.register("b16"), ops.builder.register("b16")
    ops.builder.line(f"mov.b32 {{{low}, {high}}}, {word}")
    return low, high


def _two_of(ops: Operations, codes: str, form: Format) -> list[str]:
    """The numbers of two codes, by the GPU's own conversion."""
    word = ops.builder.assign("b32", f"cvt.rn.f16x2.{form.name}x2", codes)
    return [
        ops.builder.assign("f32", "cvt.f32.f16", half) for half in _halves(ops, word)
    ]


def _of_byte(ops: Operations, word: str, place: int, form: Format) -> str:
    """The number of one code, whose bits are moved to where a float16 has them."""
    assign = ops.builder.assign
    # The code in the upper byte of a half, zeros below.
    bits = assign("b32", "prmt.b32", f"{word}, 0, 0x44{place}4")
    if form.shift == 7:
        sign = assign("b32", "and.b32", f"{bits}, 0x8000")
        rest = assign("b32", "bfe.u32", f"{bits}, 1, 14")
        bits = assign("b32", "or.b32", f"{sign}, {rest}")
    half = assign("b16", "cvt.u16.u32", bits)
    number = assign("f32", "cvt.f32.f16", half)
    if form.scale == 1:
        return number
    number = assign("f32", "mul.rn.f32", f"{number}, {float32_text(form.scale)}")
    size = assign("f32", "abs.f32", number)
    is_beyond = assign("pred", "setp.gt.f32", f"{size}, {float32_text(form.limit)}")
    beyond = float32_text(form.beyond)
    return assign("f32", "selp.f32", f"{beyond}, {number}, {is_beyond}")


def encoded(ops: Operations, value: Value) -> str:
    """The code of a value, in the low byte of a register."""
    return encoded_words(ops, [value])[0]


def encoded_words(ops: Operations, values: Sequence[Value]) -> list[str]:
    """The words with the codes of four values each; zeros beyond the last."""
    zero = constant(0.0, values[0].dtype)
    padded = [*values, *[zero] * (-len(values) % 4)]
    return [_word(ops, padded[first : first + 4]) for first in range(0, len(padded), 4)]


def _word(ops: Operations, values: Sequence[Value]) -> str:
    form = FORMATS[values[0].dtype]
    assign = ops.builder.assign
    if CONVERSIONS in ops.features and form.scale != 1:
        pairs = [
            assign("b16", f"cvt.rn.satfinite.{form.name}x2.f32", f"{high}, {low}")
            for low, high in _pairs(values)
        ]
        return assign("b32", "mov.b32", f"{{{pairs[0]}, {pairs[1]}}}")
    words = []
    for low, high in _pairs(values):
        scale = float32_text(1 / form.scale)
        if form.scale != 1:
            low, high = (
                assign("f32", "mul.rn.f32", f"{number}, {scale}")
                for number in (low, high)
            )
        words.append(assign("b32", "cvt.rn.f16x2.f32", f"{high}, {low}"))
    if form.shift == 7:
        words = [_with_sign_beside(ops, word) for word in words]
    return assign("b32", "prmt.b32", f"{words[0]}, {words[1]}, 0x7531")


def _pairs(values: Sequence[Value]) -> list[tuple[str, str]]:
    texts = [value.text for value in values]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _with_sign_beside(ops: Operations, word: str) -> str:
    """The signs of two halves and the seven bits from the second on, in upper bytes."""
    assign = ops.builder.assign
    signs = assign("b32", "and.b32", f"{word}, 0x80008000")
    shifted = assign("b32", "shl.b32", f"{word}, 1")
    rest = assign("b32", "and.b32", f"{shifted}, 0x7F007F00")
    return assign("b32", "or.b32", f"{signs}, {rest}")
