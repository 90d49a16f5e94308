"""What the few instructions mean that numbers are converted by, on arrays of bits."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import ml_dtypes
import numpy as np

Array = np.ndarray


def bytes_of(*words: Array) -> list[Array]:
    return [word >> place & 0xFF for word in words for place in (0, 8, 16, 24)]


def prmt(low: Array, high: Array, selector: Array) -> Array:
    found = bytes_of(low, high)
    places = [int(selector) >> shift & 7 for shift in (0, 4, 8, 12)]
    parts = [found[place] << 8 * n for n, place in enumerate(places)]
    return (parts[0] | parts[1] | parts[2] | parts[3]) & 0xFFFFFFFF


def floats(bits: Array) -> Array:
    return np.asarray(bits, np.uint32).view(np.float32)


def bits(numbers: Array) -> Array:
    return np.asarray(numbers, np.float32).view(np.uint32).astype(np.int64)


def half_bits(word: Array) -> Array:
    found = floats(word).astype(np.float16)
    # All NaNs become the same one.
    return np.where(np.isnan(found), 0x7FFF, found.view(np.uint16)).astype(np.int64)


def in_halves(operation: Callable[..., Array], lhs: Array, rhs: Array) -> Array:
    """An operation on the bfloat16s in both halves of words."""
    found = []
    for shift in (0, 16):
        low, high = (
            (word >> shift & 0xFFFF).astype(np.uint16).view(ml_dtypes.bfloat16)
            for word in (np.atleast_1d(lhs), np.atleast_1d(rhs))
        )
        both = operation(low.astype(np.float32), high.astype(np.float32))
        bits_of = both.astype(ml_dtypes.bfloat16).view(np.uint16)
        found.append(bits_of.astype(np.int64) << shift)
    return found[0] | found[1]


MEANINGS: dict[str, Callable[..., Array]] = {
    "mov.b32": lambda word: word,
    "and.b32": lambda lhs, rhs: lhs & rhs & 0xFFFFFFFF,
    "or.b32": lambda lhs, rhs: lhs | rhs,
    "shl.b32": lambda lhs, rhs: lhs << rhs & 0xFFFFFFFF,
    "add.s32": lambda lhs, rhs: lhs + rhs & 0xFFFFFFFF,
    "bfe.u32": lambda word, first, count: word >> first & (1 << count) - 1,
    "prmt.b32": prmt,
    "cvt.u16.u32": lambda word: word & 0xFFFF,
    "cvt.f32.f16": lambda half: bits(half.astype(np.uint16).view(np.float16)),
    "cvt.rn.f16x2.f32": lambda high, low: half_bits(high) << 16 | half_bits(low),
    "abs.f32": lambda word: word & 0x7FFFFFFF,
    "copysign.f32": lambda sign, size: sign & 0x80000000 | size & 0x7FFFFFFF,
    "add.rn.f32": lambda lhs, rhs: bits(floats(lhs) + floats(rhs)),
    "sub.rn.f32": lambda lhs, rhs: bits(floats(lhs) - floats(rhs)),
    "mul.rn.f32": lambda lhs, rhs: bits(floats(lhs) * floats(rhs)),
    "setp.gt.f32": lambda lhs, rhs: floats(lhs) > floats(rhs),
    "setp.ge.f32": lambda lhs, rhs: floats(lhs) >= floats(rhs),
    "add.rn.bf16x2": lambda lhs, rhs: in_halves(operator.add, lhs, rhs),
    "mul.rn.bf16x2": lambda lhs, rhs: in_halves(operator.mul, lhs, rhs),
    "sub.s32": lambda lhs, rhs: lhs - rhs & 0xFFFFFFFF,
    "shr.u32": lambda word, count: word >> count,
    "xor.b32": lambda lhs, rhs: lhs ^ rhs,
    "bfe.s32": lambda word, first, count: word >> first & (1 << count) - 1,
    "cvt.u32.u8": lambda word: word & 0xFF,
    "selp.b32": lambda yes, no, which: np.where(which, yes, no),
    "selp.f32": lambda yes, no, which: np.where(which, yes, no),
}


def run(lines: list[str], registers: dict[str, Array]) -> None:
    """Execute instructions; registers hold bits."""

    def operand(text: str) -> Array:
        if text.startswith("0f"):
            return np.asarray(int(text[2:], 16))
        return registers[text] if text.startswith("%") else np.asarray(int(text, 0))

    for line in lines:
        name, rest = line.strip().rstrip(";").split(" ", 1)
        target, *operands = re.split(r",\s*", rest)
        registers[target] = MEANINGS[name](*map(operand, operands))
