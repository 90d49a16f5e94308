"""Products on the CPU: planned, emitted and run here; assembled for others."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.tile.test_contraction import matmul
from tetragrad import Tensor
from tetragrad.backends.cpu import compiler
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.device import CpuProgram, facts_of
from tetragrad.backends.cpu.emit.program import emit
from tetragrad.backends.cpu.target import host_target, make_target
from tetragrad.core import dtypes
from tetragrad.core.settings import Settings, settings
from tetragrad.engine.assembly import compile_kernel
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device as engine_device
from tetragrad.engine.realize import without_markers
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Load
from tetragrad.kernel.ir import Kernel, Slot
from tetragrad.tile.ir import (
    Alloc,
    Grid,
    Map,
    Program,
    Space,
    Store,
    Tile,
    TileLoad,
    row_major,
)
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan

SETTINGS = Settings()
AVX2 = Processor("x86_64-unknown-linux-gnu", "haswell", ("+avx2", "+fma", "+f16c"))
AVX512 = Processor(
    "x86_64-unknown-linux-gnu",
    "skylake-avx512",
    ("+avx512f", "+avx512bw", "+avx512dq", "+avx512vl", "+avx2", "+fma", "+f16c"),
)
NEON = Processor("aarch64-unknown-linux-gnu", "generic", ("+neon",))

TRANSPOSITIONS = [(False, False), (False, True), (True, False), (True, True)]


def run_kernel(kernel: Kernel, *arrays: np.ndarray, units: int = 1) -> None:
    """Plan, emit, assemble and launch a kernel on buffers."""
    target = replace(host_target(), units=units)
    program = build(kernel, choose_plan(kernel, target, SETTINGS), target)
    code = compiler.assemble(emit(program, target, SETTINGS))
    CpuProgram(facts_of(program, target), code).launch(
        [array.ctypes.data for array in arrays]
    )


@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
@pytest.mark.parametrize("shape", [(100, 130, 70), (37, 48, 1100)], ids=str)
def test_products_run(transposed, shape):
    rows, columns, depth = shape
    random = np.random.default_rng(0)
    lhs = random.standard_normal((rows, depth), np.float32)
    rhs = random.standard_normal((depth, columns), np.float32)
    stored = [
        np.ascontiguousarray(array.T if is_turned else array)
        for array, is_turned in zip((lhs, rhs), transposed, strict=True)
    ]
    result = np.zeros((rows, columns), np.float32)
    kernel = matmul(rows, columns, depth, transposed=transposed)
    run_kernel(kernel, *stored, result, units=2)
    wanted = lhs.astype(np.float64) @ rhs.astype(np.float64)
    np.testing.assert_allclose(result, wanted, atol=2e-4)


@pytest.mark.parametrize("processor", [AVX2, AVX512, NEON], ids=["2", "512", "neon"])
@pytest.mark.parametrize("transposed", TRANSPOSITIONS, ids=str)
def test_products_assemble_elsewhere(processor, transposed):
    """Sums stay in registers, and nothing is gathered or scattered."""
    target = make_target(processor)
    kernel = matmul(192, 192, 192, transposed=transposed)
    program = build(kernel, choose_plan(kernel, target, SETTINGS), target)
    text = emit(program, target, SETTINGS)
    assert "gather" not in text and "scatter" not in text
    assembly = compiler.disassemble(text, processor)
    products = [line for line in assembly.splitlines() if is_product(line)]
    assert products
    assert not any("sp)" in line.split(",")[-1] for line in products)


@pytest.mark.parametrize("columns", [48, 64, 80])
def test_sums_stay_in_registers_where_results_follow_one_another(columns):
    target = make_target(AVX512)
    kernel = matmul(40, columns, 121)
    program = build(kernel, choose_plan(kernel, target, SETTINGS), target)
    assembly = compiler.disassemble(emit(program, target, SETTINGS), AVX512)
    assert not re.search(r"sp\), %zmm|%zmm\d+, \S*sp\)", assembly)


def is_product(line: str) -> bool:
    """Whether a line of assembly multiplies and adds vectors."""
    return any(name in line for name in ("vfmadd231ps", "vfmadd213ps", "fmla"))


# --- squares turned in registers -------------------------------------------------


def turning_program(height: int, width: int, dtype: dtypes.DType) -> Program:
    """out[j, i] = in[i, j], by way of a tile that is written along i."""
    shape = (width, height)
    tile = Tile("turned", shape, dtype, Space.SHARED, row_major(shape))
    row, column = Affine(0, ((0, 1),)), Affine(0, ((1, 1),))
    extents = ((0, height), (1, width))
    value = Load(0, row.scale(width) + column, (), dtype)
    body = (
        Alloc(tile),
        Map(extents, tile, (column, row), value),
        Store(
            ((2, width), (3, height)),
            1,
            Affine(0, ((2, height), (3, 1))),
            TileLoad(tile, (Affine(0, ((2, 1),)), Affine(0, ((3, 1),)))),
        ),
    )
    slots = (Slot(dtype, height * width),) * 2
    grid = Grid((), body)
    return Program("turn", slots, (), (), (grid,), outputs=frozenset({1}))


@pytest.mark.parametrize(
    "dtype", [dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64], ids=str
)
@pytest.mark.parametrize("shape", [(16, 16), (32, 48), (16, 17)], ids=str)
def test_squares_are_turned(dtype, shape):
    target = host_target()
    program = turning_program(*shape, dtype)
    source = np.arange(shape[0] * shape[1]).astype(dtype.numpy).reshape(shape)
    result = np.zeros(shape[::-1], dtype.numpy)
    code = compiler.assemble(emit(program, target, SETTINGS))
    CpuProgram(facts_of(program, target), code).launch(
        [source.ctypes.data, result.ctypes.data]
    )
    np.testing.assert_array_equal(result, source.T)


@pytest.mark.parametrize("processor", [AVX2, AVX512, NEON], ids=["2", "512", "neon"])
def test_squares_are_turned_without_scattering(processor):
    text = emit(
        turning_program(32, 32, dtypes.float32), make_target(processor), SETTINGS
    )
    assert "scatter" not in text and "shufflevector" in text
    assert compiler.assemble(text, processor)


def test_a_row_update_promises_what_its_own_operand_meets() -> None:
    x, w = (Tensor(np.ones((64, 64), np.float32)) for _ in range(2))
    device = engine_device("cpu")
    _, lowered = kernels_of(without_markers([(x @ w).node]), device.target, settings())
    _, text = compile_kernel(lowered[0].kernel, device, settings())
    functions = re.findall(r"@multiply_add_\w+_(\d*)\(ptr %lhs.*?\n}", text, re.S)
    bodies = re.findall(r"define internal [^@]*@multiply_add_\w+.*?\n}", text, re.S)
    assert bodies and all(functions)  # Rows are read where they are.
    for scope, body in zip(functions, bodies, strict=True):
        assert re.findall(r"!alias.scope !(\d+)", body) == ([scope] if scope else [])


def test_panels_that_overlap_are_fetched_ahead():
    """Where a panel begins is known after what was fetched has another place."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1859, 254)).astype(np.float32)
    w = generator.standard_normal((254, 139)).astype(np.float32)
    exact = x.astype(np.float64) @ w.astype(np.float64)
    np.testing.assert_allclose((Tensor(x) @ Tensor(w)).numpy(), exact, atol=1e-3)
