"""8-bit floats in PTX: the instructions written are run here, on every kind of number.

The few instructions that conversions by integers consist of have their meaning below;
the GPU's own conversions are only assembled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import assembly_report, emitted, spilled_bytes
from tetragrad import Tensor
from tetragrad.backends.cuda.emit import float8
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.ptx import Builder, Value
from tetragrad.backends.cuda.memory import MemoryAlias
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.dtypes import DType
from tetragrad.core.target import Target
from tetragrad.graph.leaves import Buffer

Array = np.ndarray
DTYPES = (tetragrad.float8_e4m3fn, tetragrad.float8_e5m2)


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


def numbers() -> Array:
    """All float16, their neighbours in float32, and random bits."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    near = bits(halves)
    anything = np.random.default_rng(0).integers(0, 1 << 32, 10000)
    return np.concatenate([near, near + 1, near - 1 & 0xFFFFFFFF, anything])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rounding_with_integers(dtype: DType) -> None:
    builder = Builder()
    ops = Operations(builder, SM_80.features)
    result = float8.rounded(ops, Value("%x", dtype))
    code = float8.encoded(ops, result)
    registers = {"%x": numbers()}
    with np.errstate(all="ignore"):
        run(builder.lines, registers)
        wanted = floats(registers["%x"]).astype(dtype.numpy)
    found = floats(registers[result.text])
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))
    codes = (registers[code] & 0xFF).astype(np.uint8).view(dtype.numpy)
    np.testing.assert_array_equal(codes.astype(np.float32), found)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_code_is_read(dtype: DType) -> None:
    builder = Builder()
    ops = Operations(builder, SM_80.features)
    values = float8.decoded_word(ops, "%x", dtype)
    codes = np.arange(256)
    registers = {"%x": codes | (255 - codes) << 8 | codes << 24}
    with np.errstate(all="ignore"):
        run(builder.lines, registers)
    wanted = codes.astype(np.uint8).view(dtype.numpy).astype(np.float32)
    for place, expected in ((0, wanted), (1, wanted[::-1]), (3, wanted)):
        found = floats(registers[values[place].text])
        np.testing.assert_array_equal(found, expected)


def leaf(*shape: int, dtype: str) -> Tensor:
    chosen = getattr(tetragrad, dtype)
    memory = MemoryAlias(math.prod(shape) * chosen.itemsize, 4096, None)
    return Tensor.from_node(Buffer(memory, shape, chosen, "cuda"))


@pytest.mark.parametrize("target", [SM_80, SM_90A], ids=["sm_80", "sm_90a"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_casts_are_assembled(dtype: DType, target: Target, tmp_path: Path) -> None:
    narrow = str(dtype)
    results = [leaf(33, 64, dtype="float32").to(dtype)]
    for source in ("float32", "float16", "int8", "float64", "bool"):
        results.append(leaf(33, 7, dtype=source).to(dtype))
        results.append(leaf(33, 64, dtype=narrow).to(getattr(tetragrad, source)))
    texts = [entry.text for result in results for entry in emitted(result, target)]
    assert any("cvt.rn.satfinite" in text for text in texts) == (target is SM_90A)
    for text in texts:
        assert not spilled_bytes(assembly_report(text, target, tmp_path))
