"""Products of narrow dtypes on the CPU: run here, and assembled for every processor."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from tests.backends.test_cpu_products import AVX2, AVX512, NEON, TRANSPOSITIONS
from tests.tile.test_dot_steps import narrow_product
from tetragrad.backends.cpu import compiler
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.device import CpuProgram, facts_of
from tetragrad.backends.cpu.emit.program import emit
from tetragrad.backends.cpu.target import host_target, make_target
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.settings import Settings
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan


def with_features(processor: Processor, *features: str) -> Processor:
    return replace(processor, features=(*processor.features, *features))


SSE2 = Processor("x86_64-unknown-linux-gnu", "x86-64", ("+sse2",))
AVX_VNNI = with_features(replace(AVX2, name="alderlake"), "+avxvnni")
VNNI = with_features(replace(AVX512, name="cascadelake"), "+avx512vnni")
BF16 = with_features(VNNI, "+avx512bf16")
DOTPROD = with_features(NEON, "+dotprod")
ARM_V86 = with_features(DOTPROD, "+i8mm", "+bf16")

#: Who multiplies what by which instruction.
SPELLINGS = [
    (SSE2, dtypes.int8, dtypes.int8, "pmaddwd"),
    (AVX2, dtypes.int8, dtypes.int8, "vpmaddwd"),
    (AVX2, dtypes.uint8, dtypes.uint8, "vpmaddwd"),
    (AVX2, dtypes.int16, dtypes.int16, "vpmaddwd"),
    (AVX512, dtypes.int8, dtypes.int8, "vpmaddwd"),
    (AVX_VNNI, dtypes.int8, dtypes.int8, "vpdpbusd"),
    (AVX_VNNI, dtypes.int16, dtypes.int8, "vpdpwssd"),
    (VNNI, dtypes.int8, dtypes.int8, "vpdpbusd"),
    (VNNI, dtypes.uint8, dtypes.int8, "vpdpbusd"),
    (VNNI, dtypes.int8, dtypes.uint8, "vpdpwssd"),
    (VNNI, dtypes.uint8, dtypes.uint8, "vpdpwssd"),
    (BF16, dtypes.bfloat16, dtypes.bfloat16, "vdpbf16ps"),
    (DOTPROD, dtypes.int8, dtypes.int8, "sdot"),
    (DOTPROD, dtypes.uint8, dtypes.uint8, "udot"),
    (ARM_V86, dtypes.uint8, dtypes.int8, "usdot"),
    (ARM_V86, dtypes.bfloat16, dtypes.bfloat16, "bfdot"),
]


@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
@pytest.mark.parametrize(
    ("processor", "lhs", "rhs", "instruction"),
    SPELLINGS,
    ids=[f"{entry[0].name}-{entry[3]}-{entry[1]}-{entry[2]}" for entry in SPELLINGS],
)
def test_instructions(processor, lhs, rhs, instruction, transposed):
    """Sums stay in registers, and nothing is gathered or scattered."""
    total = dtypes.float32 if lhs.is_floating_point else dtypes.int32
    kernel = narrow_product((96, 96, 96), (lhs, rhs), total, transposed=transposed)
    target = make_target(processor)
    settings = Settings()
    program = build(kernel, choose_plan(kernel, target, settings), target)
    text = emit(program, target, settings)
    assert "gather" not in text and "scatter" not in text
    lines = compiler.disassemble(text, processor).splitlines()
    products = [line for line in lines if line.split()[:1] == [instruction]]
    products += [
        line for line in lines if f"}} {instruction}" in line.replace("\t", " ")
    ]
    assert len(products) >= 8
    assert not any("sp)" in line.split(",")[-1] for line in products)


def run(kernel: Kernel, vector_bytes: int, *arrays: np.ndarray) -> None:
    """Plan for registers of this width, emit, assemble and launch."""
    processor = compiler.host_processor()
    if vector_bytes < 64:
        kept = [name for name in processor.features if "avx512" not in name]
        processor = replace(processor, features=tuple(kept))
    target = replace(make_target(processor), units=2)
    settings = Settings(vector_bytes=min(vector_bytes, target.vector_bytes))
    program = build(kernel, choose_plan(kernel, target, settings), target)
    code = compiler.assemble(emit(program, target, settings))
    CpuProgram(facts_of(program, target), code).launch(
        [array.ctypes.data for array in arrays]
    )


def random_integers(dtype: DType, shape: tuple[int, int]) -> np.ndarray:
    """Any values of a dtype, its extremes among them."""
    limits = np.iinfo(dtype.numpy)
    random = np.random.default_rng(0)
    values = random.integers(limits.min, limits.max + 1, shape).astype(dtype.numpy)
    values.flat[:2] = limits.min, limits.max
    return values


@pytest.mark.parametrize("vector_bytes", [32, 64])
@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (dtypes.int8, dtypes.int8),
        (dtypes.uint8, dtypes.int8),
        (dtypes.int8, dtypes.uint8),
        (dtypes.uint8, dtypes.uint8),
        (dtypes.int16, dtypes.int16),
    ],
    ids=str,
)
def test_integers_are_exact(lhs, rhs, transposed, vector_bytes):
    """Odd sizes, several blocks of the depth, and sums that wrap around."""
    sizes = (37, 70, 2309)
    rows, columns, depth = sizes
    first = random_integers(lhs, (rows, depth))
    second = random_integers(rhs, (depth, columns))
    stored = [
        np.ascontiguousarray(array.T if is_turned else array)
        for array, is_turned in zip((first, second), transposed, strict=True)
    ]
    result = np.zeros((rows, columns), np.int32)
    run(
        narrow_product(sizes, (lhs, rhs), transposed=transposed),
        vector_bytes,
        *stored,
        result,
    )
    wanted = first.astype(np.int64) @ second.astype(np.int64)
    np.testing.assert_array_equal(result, wanted.astype(np.int32))


@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
def test_bfloat16(transposed):
    sizes = (37, 70, 301)
    random = np.random.default_rng(0)
    first = random.standard_normal((37, 301)).astype(ml_dtypes.bfloat16)
    second = random.standard_normal((301, 70)).astype(ml_dtypes.bfloat16)
    stored = [
        np.ascontiguousarray(array.T if is_turned else array)
        for array, is_turned in zip((first, second), transposed, strict=True)
    ]
    result = np.zeros((37, 70), np.float32)
    narrow = (dtypes.bfloat16, dtypes.bfloat16)
    kernel = narrow_product(sizes, narrow, dtypes.float32, transposed=transposed)
    run(kernel, host_target().vector_bytes, *stored, result)
    wanted = first.astype(np.float64) @ second.astype(np.float64)
    np.testing.assert_allclose(result, wanted, atol=1e-3)
