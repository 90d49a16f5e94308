"""Integers of 8 bits that lie together in a word, and what is computed on all of them.

Weights are stored in few bits, four of 8 bits in a word or eight of 4:

    bfloat16(int8(w & 15) - 8) * scale

Bits of all bytes of a word are masked, moved or chosen by one instruction, and a number
that is added to each need not be added before they are floats. So for a byte it is
remembered in which word it lies, what it is at most there, and what is added to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tetragrad.backends.cuda.emit.ptx import Builder, Value, constant
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph.elementwise import Add

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.operations import Operations

#: One in every byte of a word.
EVERY_BYTE = 0x01010101
#: The first float32 whose neighbours are integers.
_TWO_TO_23 = 8388608.0
#: The first half-width float whose neighbours are integers, its upper byte in every
#: byte of a word, and what can be in its lower byte.
_PAIRED = {
    dtypes.float16: (1024.0, 0x64646464, 255),
    dtypes.bfloat16: (128.0, 0x43434343, 127),
}


class Byte(NamedTuple):
    """An integer: a byte of a word, ``most`` at most, plus a number."""

    word: str
    place: int
    most: int
    plus: int

    def fits(self, dtype: DType) -> bool:
        """Whether an integer dtype holds it, whatever the byte is."""
        lowest = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
        highest = lowest + (1 << dtype.bits) - 1
        return lowest <= self.plus and self.most + self.plus <= highest


def byte_of(builder: Builder, value: Value) -> Byte | None:
    """Where an integer comes from, if that is a byte."""
    if value.constant is not None or not value.dtype.is_integer:
        return None
    found = builder.known(("byte of", value.text))
    if found is None:
        return None
    word, *numbers = found
    return Byte(word, *map(int, numbers))


def remember(builder: Builder, value: Value, byte: Byte) -> Value:
    """Say where an integer comes from."""
    word, *numbers = byte
    builder.remember(("byte of", value.text), (word, *map(str, numbers)))
    return value


def bytes_of_word(
    builder: Builder, word: str, dtype: DType, count: int = 4
) -> list[Value]:
    """The integers in the bytes of a word, from the lowest one on."""
    letter = "s" if dtype.is_signed else "u"
    base, plus = word, 0
    if dtype.is_signed:
        base, plus = builder.assign("b32", "xor.b32", f"{word}, 0x80808080"), -128
    found = []
    for place in range(count):
        name = f"bfe.{letter}32"
        number = builder.assign("b32", name, f"{word}, {8 * place}, 8")
        byte = Byte(base, place, 255, plus)
        found.append(remember(builder, Value(number, dtype), byte))
    return found


# --- arithmetic ----------------------------------------------------------------------


def masked(builder: Builder, lhs: Value, rhs: Value, result: Value) -> Value:
    """``result``, which is the bits that both have, one being a constant."""
    value, mask = (lhs, rhs) if lhs.constant is None else (rhs, lhs)
    byte = byte_of(builder, value)
    if byte is None or byte.plus or mask.constant is None or mask.constant < 0:
        return result
    bits = int(mask.constant) & 0xFF
    word = builder.assign("b32", "and.b32", f"{byte.word}, {bits * EVERY_BYTE:#x}")
    return remember(builder, result, Byte(word, byte.place, min(byte.most, bits), 0))


def moved_down(builder: Builder, value: Value, count: Value, result: Value) -> Value:
    """``result``, which is the value shifted to the right by a constant."""
    byte = byte_of(builder, value)
    if byte is None or byte.plus or count.constant is None:
        return result
    bits = int(count.constant)
    if not 0 <= bits < 8:
        return result
    word = builder.assign("b32", "shr.u32", f"{byte.word}, {bits}")
    kept = (0xFF >> bits) * EVERY_BYTE
    word = builder.assign("b32", "and.b32", f"{word}, {kept:#x}")
    return remember(builder, result, Byte(word, byte.place, byte.most >> bits, 0))


def chosen(
    builder: Builder, inside: Value, outside: Value, condition: Value, result: Value
) -> Value:
    """``result``, which is one of two values."""
    first, second = byte_of(builder, inside), byte_of(builder, outside)
    if first is None or second is None:
        return result
    if (first.place, first.plus) != (second.place, second.plus):
        return result
    operands = f"{first.word}, {second.word}, {builder.text(condition)}"
    word = builder.assign("b32", "selp.b32", operands)
    most = max(first.most, second.most)
    return remember(builder, result, Byte(word, first.place, most, first.plus))


def shifted(builder: Builder, value: Value, number: int, result: Value) -> Value | None:
    """``result``, the value plus a number; None if it may have to be wrapped."""
    byte = byte_of(builder, value)
    if byte is None:
        return None
    byte = byte._replace(plus=byte.plus + number)
    return remember(builder, result, byte) if byte.fits(result.dtype) else None


# --- floats --------------------------------------------------------------------------


def as_float(ops: Operations, byte: Byte, dtype: DType) -> Value:
    """A byte as a float: put into the last bits of a large one, subtracted again."""
    builder = ops.builder
    operands = f"{byte.word}, 0x4B000000, 0x754{byte.place}"
    bits = builder.assign("b32", "prmt.b32", operands)
    large = Value(builder.assign("f32", "mov.b32", bits), dtypes.float32)
    back = constant(byte.plus - _TWO_TO_23, dtypes.float32)
    found = builder.compute("add.rn.f32", dtypes.float32, large, back)
    result = Value(found.text, dtype)
    word, *numbers = byte
    builder.remember(("float of byte", *result.name), (word, *map(str, numbers)))
    return result


def both_halves(ops: Operations, low: Value, high: Value) -> str | None:
    """Two bytes of a word as half-width floats of one register, if they are bytes.

    Both are put into the last bits of a large one, as for a single byte.
    """
    builder, dtype = ops.builder, low.dtype
    add = ops.pair_instruction(Add, dtype)
    bytes_of = [builder.known(("float of byte", *value.name)) for value in (low, high)]
    if add is None or dtype not in _PAIRED:
        return None
    known = [entry for entry in bytes_of if entry is not None]
    if len(known) < len(bytes_of):
        return None
    first, second = (Byte(word, *map(int, numbers)) for word, *numbers in known)
    large, upper, most = _PAIRED[dtype]
    if (first.word, first.plus) != (second.word, second.plus):
        return None
    if max(first.most, second.most) > most:
        return None
    selector = f"0x4{second.place}4{first.place}"
    word = builder.assign("b32", "prmt.b32", f"{first.word}, {upper:#x}, {selector}")
    back = int(np.asarray(first.plus - large).astype(dtype.numpy).view(np.uint16))
    both = builder.assign("b32", "mov.b32", f"0x{back:04X}{back:04X}")
    return builder.assign("b32", add, f"{word}, {both}")
