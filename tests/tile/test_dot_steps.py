"""Products of narrow dtypes: instructions, how operands are packed, and results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tile.kernels import TARGETS, check, compute, form, kernel_of, load
from tests.tile.test_contraction import contraction_of
from tetragrad.backends.cpu.emit.dot_steps import INSTRUCTIONS, dot_steps
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.core.target import DotStep
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.expression import Compute, Reduction
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.products.contraction import Block

STEPS = {entry.step.name: entry.step for entry in INSTRUCTIONS}
BYTES = (dtypes.int8, dtypes.uint8, dtypes.bool_)


def narrow_product(
    sizes: tuple[int, int, int],
    narrow: tuple[dtypes.DType, dtypes.DType],
    total: dtypes.DType = dtypes.int32,
    *,
    transposed: tuple[bool, bool] = (False, False),
) -> Kernel:
    """Axes (m, n, k) of operands that are widened before they are multiplied."""
    m, n, k = sizes
    lhs = form(a0=1, a2=m) if transposed[0] else form(a0=k, a2=1)
    rhs = form(a1=k, a2=1) if transposed[1] else form(a1=1, a2=n)
    operands = [
        Compute(ops.Cast, total, (load(slot, address, dtype),))
        for slot, (address, dtype) in enumerate(zip((lhs, rhs), narrow, strict=True))
    ]
    value = Reduction(Sum, (2,), compute(ops.Mul, *operands))
    output = Output(2, form(a0=n, a1=1), value, (0, 1))
    slots = [(narrow[0], m * k), (narrow[1], k * n), (total, m * n)]
    return kernel_of((m, n, k), slots, output)


def check_step(kernel: Kernel, *steps: DotStep, **choices: object) -> DotStep | None:
    """The kernel by a target that has these instructions; the one it uses."""
    target = replace(TARGETS["narrow"], dot_steps=steps)
    plan = choose_plan(kernel, target, settings())
    chosen = replace(contraction_of(plan), **choices)
    check(kernel, target, replace(plan, stages=((chosen,),)), tolerance=1e-2)
    return None if chosen.dot is None else chosen.dot.step


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("lhs_transposed", [False, True])
@pytest.mark.parametrize("rhs_transposed", [False, True])
def test_each_step(name, lhs_transposed, rhs_transposed):
    step = STEPS[name]
    kernel = narrow_product(
        (13, 22, 31),
        (step.lhs, step.rhs),
        step.total,
        transposed=(lhs_transposed, rhs_transposed),
    )
    assert check_step(kernel, step) is step


@pytest.mark.parametrize("lhs", BYTES)
@pytest.mark.parametrize("rhs", BYTES)
def test_bytes_of_any_sign(lhs, rhs):
    """A step for an unsigned and a signed operand, and one for wider operands."""
    kernel = narrow_product((13, 22, 31), (lhs, rhs))
    steps = (STEPS["vpdpbusd"], STEPS["vpmaddwd"])
    assert check_step(kernel, *steps) is steps[rhs is dtypes.uint8]


@pytest.mark.parametrize("depth", [8, 12])
@pytest.mark.parametrize("rows", [7, 10])
def test_several_blocks(depth, rows):
    """Shifted rows, gathered results, and operands that are packed as a whole."""
    kernel = narrow_product((20, 40, 31), (dtypes.int8, dtypes.int8))
    choices = {
        "swap": False,
        "rows": Block((0,), 0, rows),
        "columns": Block((1,), 0, 16),
        "depth": Block((2,), 0, depth),
        "micro_rows": 5,
        "micro_columns": 8,
    }
    assert check_step(kernel, STEPS["vpdpbusd"], **choices)


def test_a_depth_in_pieces_is_widened():
    """Groups must lie next to each other; here the depth is two axes apart."""
    lhs, rhs = (
        Compute(ops.Cast, dtypes.int32, (load(slot, address, dtypes.int8),))
        for slot, address in enumerate(
            (form(a0=100, a2=20, a3=1), form(a1=1, a2=160, a3=40))
        )
    )
    value = Reduction(Sum, (2, 3), compute(ops.Mul, lhs, rhs))
    output = Output(2, form(a0=40, a1=1), value, (0, 1))
    slots = [(dtypes.int8, 1200), (dtypes.int8, 800), (dtypes.int32, 480)]
    kernel = kernel_of((12, 40, 5, 4), slots, output)
    assert check_step(kernel, STEPS["vpdpbusd"]) is None


def test_sides_in_pieces():
    """Columns that are several runs of addresses are packed side by side."""
    lhs = load(0, form(a0=12, a3=1), dtypes.int8)
    rhs = load(1, form(a1=90, a2=1, a3=360), dtypes.int8)
    wide = [Compute(ops.Cast, dtypes.int32, (entry,)) for entry in (lhs, rhs)]
    value = Reduction(Sum, (3,), compute(ops.Mul, *wide))
    output = Output(2, form(a0=44, a1=11, a2=1), value, (0, 1, 2))
    slots = [(dtypes.int8, 240), (dtypes.int8, 4400), (dtypes.int32, 880)]
    kernel = kernel_of((20, 4, 11, 12), slots, output)
    assert check_step(kernel, STEPS["vpdpbusd"])


def test_which_processors_have_which_steps():
    def names(features: str, vector_bytes: int, architecture: str = "x86_64"):
        found = dot_steps(architecture, frozenset(features.split()), vector_bytes)
        return [step.name for step in found]

    assert names("sse2", 16) == ["vpmaddwd"]
    assert names("avx2", 32) == ["vpmaddwd"]
    assert names("avx2 avxvnni", 32) == ["vpdpbusd", "vpdpwssd", "vpmaddwd"]
    assert names("avx512f avx2", 64) == []
    assert names("avx512f avx512bw avx2", 64) == ["vpmaddwd"]
    vnni = "avx512f avx512bw avx512vl avx512vnni avx2"
    assert names(vnni, 64) == ["vpdpbusd", "vpdpwssd", "vpmaddwd"]
    assert "vdpbf16ps" in names(f"{vnni} avx512bf16", 64)
    assert names("neon", 16, "aarch64") == []
    assert names("neon dotprod", 16, "aarch64") == ["sdot", "udot"]
    assert "bfdot" in names("neon bf16", 16, "aarch64")
