"""8-bit floats in PTX: the instructions written are run here, on every kind of number.

The GPU's own conversions are only assembled.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import assembly_report, emitted, spilled_bytes
from tests.backends.ptx_meaning import Array, bits, floats, run
from tetragrad import Tensor
from tetragrad.backends.cuda.emit import float8
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.ptx import Builder, Value
from tetragrad.backends.cuda.memory import MemoryAlias
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.dtypes import DType
from tetragrad.core.target import Target
from tetragrad.graph.leaves import Buffer

DTYPES = (tetragrad.float8_e4m3fn, tetragrad.float8_e5m2)


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
