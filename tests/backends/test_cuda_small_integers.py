"""Four small integers in a word: the instructions written are run on every byte."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.backends.ptx_meaning import floats, run
from tetragrad.backends.cuda.emit import formats, small_integers
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.ptx import Builder, Value, constant
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes

CODES = np.arange(256)
WORDS = CODES | (255 - CODES) << 8 | (CODES ^ 0x5A) << 16 | CODES << 24
PLACES = (CODES, 255 - CODES, CODES ^ 0x5A, CODES)


def nibbles(ops: Operations, code: Value, upper: Value) -> Value:
    """bfloat16(int8(upper ? code >> 4 : code & 15) - 8), as the graph says it."""
    high = ops.shr(code, constant(4, dtypes.uint8))
    low = ops.and_(code, constant(15, dtypes.uint8))
    chosen = ops.cast(ops.where(upper, high, low), dtypes.int8)
    shifted = ops.sub(chosen, constant(8, dtypes.int8))
    return ops.cast(shifted, dtypes.bfloat16)


@pytest.mark.parametrize("upper", [False, True])
def test_nibbles_of_a_word(upper: bool) -> None:
    builder = Builder()
    ops = Operations(builder, SM_90A.features)
    condition = Value("%p", dtypes.bool_)
    codes = small_integers.bytes_of_word(builder, "%x", dtypes.uint8)
    values = [nibbles(ops, code, condition) for code in codes]
    words = [formats.packed(ops, *values[first : first + 2]) for first in (0, 2)]
    registers = {"%x": WORDS, "%p": np.full(256, upper)}
    run(builder.lines, registers)
    wanted = [((place >> 4 if upper else place & 15) - 8) for place in PLACES]
    for value, expected in zip(values, wanted, strict=True):
        np.testing.assert_array_equal(floats(registers[value.text]), expected)
    pairs = [registers[word] >> shift & 0xFFFF for word in words for shift in (0, 16)]
    for pair, expected in zip(pairs, wanted, strict=True):
        halves = pair.astype(np.uint16).view(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(halves.astype(np.float32), expected)


@pytest.mark.parametrize("dtype", [dtypes.int8, dtypes.uint8], ids=str)
def test_bytes_as_floats(dtype: dtypes.DType) -> None:
    builder = Builder()
    ops = Operations(builder, SM_90A.features)
    codes = small_integers.bytes_of_word(builder, "%x", dtype)
    values = [ops.cast(code, dtypes.float32) for code in codes]
    registers = {"%x": WORDS}
    run(builder.lines, registers)
    for value, place in zip(values, PLACES, strict=True):
        expected = place.astype(np.uint8).view(dtype.numpy)
        np.testing.assert_array_equal(floats(registers[value.text]), expected)


def test_what_does_not_fit_is_wrapped() -> None:
    builder = Builder()
    ops = Operations(builder, SM_90A.features)
    (code,) = small_integers.bytes_of_word(builder, "%x", dtypes.uint8, 1)
    wrapped = ops.sub(code, constant(8, dtypes.uint8))
    assert any(line.strip().startswith("cvt.u32.u8") for line in builder.lines)
    assert small_integers.byte_of(builder, wrapped) is None
