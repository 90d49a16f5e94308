"""Operands that are packed once: two kernels in place of one, with the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, compute, form, kernel_of, load, random_buffer
from tests.tile.test_contraction import contraction_of, matmul
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import of_atom
from tetragrad.kernel.expression import Quotient, Reduction, Remainder
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.choose_kept import set_apart
from tetragrad.tile.plans.products.contraction import Supply
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program

WIDE = TARGETS["wide"]
# Columns that leave a rest, in one block and in several; blocks of the depth.
SHAPES = [(20, 100, 30), (9, 150, 40), (5, 40, 1100)]


def run(kernel: Kernel, *buffers: np.ndarray, target: Target = WIDE) -> None:
    """Plan and simulate a kernel."""
    program = build(kernel, choose_plan(kernel, target, settings()), target)
    verify_program(program)
    run_program(program, list(buffers))


def check_bits(kernel: Kernel, target: Target) -> None:
    """The kernel in two parts stores what it stores in one."""
    apart = set_apart(kernel, target, settings())
    assert apart is not None and apart.slot == 1
    generator = np.random.default_rng(0)
    x, w, y = (random_buffer(generator, slot) for slot in kernel.slots)
    packed = np.full(apart.rest.slots[1].numel, np.nan, np.float32)
    run(apart.first, w, packed, target=target)
    found, wanted = y.copy(), y.copy()
    run(apart.rest, x, packed, found, target=target)
    run(kernel, x, w, wanted, target=target)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_the_same_bits(shape, transposed):
    check_bits(matmul(*shape, transposed=(False, transposed)), WIDE)


@pytest.mark.parametrize("shape", [(20, 36, 64), (172, 60, 33), (12, 72, 20)])
def test_the_last_panel_of_a_block_begins_where_it_was_packed(shape):
    """Panels that are packed for each block may overlap; these were packed before."""
    check_bits(matmul(*shape, transposed=(False, True)), TARGETS["middle"])


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=str)
def test_narrow_elements_are_kept_narrow(dtype):
    kernel = matmul(*SHAPES[0], dtype=dtype)
    apart = set_apart(kernel, WIDE, settings())
    assert apart is not None and apart.rest.slots[1].dtype is dtype
    generator = np.random.default_rng(0)
    x, w, y = (random_buffer(generator, slot) for slot in kernel.slots)
    packed = np.zeros(apart.rest.slots[1].numel, w.dtype)
    run(apart.first, w, packed)
    found, wanted = y.copy(), y.copy()
    run(apart.rest, x, packed, found)
    run(kernel, x, w, wanted)
    assert np.array_equal(found, wanted)


def test_both_kernels_mean_the_product():
    kernel = matmul(20, 100, 70)
    apart = set_apart(kernel, WIDE, settings())
    assert apart is not None
    generator = np.random.default_rng(0)
    x, w, y = (random_buffer(generator, slot) for slot in kernel.slots)
    packed = np.empty(apart.rest.slots[1].numel, np.float32)
    run_kernel(apart.first, [w, packed])
    run_kernel(apart.rest, [x, packed, y])
    wanted = x.reshape(20, 70) @ w.reshape(70, 100)
    assert np.allclose(y.reshape(20, 100), wanted, atol=1e-4)


def test_packed_columns_are_read_where_they_are():
    apart = set_apart(matmul(20, 100, 70), WIDE, settings())
    assert apart is not None
    plan = contraction_of(choose_plan(apart.rest, WIDE, settings()))
    assert plan.rhs is Supply.KEPT


@pytest.mark.parametrize(
    "kernel",
    [
        matmul(1000, 100, 70),  # many rows: packing is little beside the products
        matmul(4, 4, 4),  # too small to be packed at all
        # Elements would be converted again for each of many micro-tiles.
        matmul(50, 100, 70, dtype=dtypes.float16),
    ],
    ids=["many rows", "small", "converted too often"],
)
def test_what_is_not_set_apart(kernel):
    assert set_apart(kernel, WIDE, settings()) is None


def test_an_operand_that_is_read_twice_is_not_set_apart():
    size = 30
    lhs, rhs = load(0, form(a0=size, a2=1)), load(0, form(a1=size, a2=1))
    value = Reduction(Sum, (2,), compute(ops.Mul, lhs, rhs))
    output = Output(1, form(a0=size, a1=1), value, (0, 1))
    slots = [(dtypes.float32, size * size)] * 2
    assert set_apart(kernel_of((size,) * 3, slots, output), WIDE, settings()) is None


def test_panels_that_end_early_are_not_read_as_a_whole():
    kernel = matmul(20, 100, 70)
    apart = set_apart(kernel, WIDE, settings())
    assert apart is not None
    x, packed, y = apart.rest.slots
    short = replace(packed, numel=packed.numel - 1)
    rest = replace(apart.rest, slots=(x, short, y))
    assert contraction_of(choose_plan(rest, WIDE, settings())).rhs is not Supply.KEPT


def test_other_reshapes_are_not_taken_for_panels():
    # w[n // 8, k, n % 8] has the form of panels, but of another width.
    kernel = matmul(20, 64, 70)
    address = of_atom(Quotient(form(a1=1), 8, 8)).scale(560) + form(a2=8)
    address += of_atom(Remainder(form(a1=1), 8))
    (output,) = kernel.outputs
    lhs, _ = output.value.body.inputs
    body = compute(ops.Mul, lhs, load(1, address))
    output = replace(output, value=Reduction(Sum, (2,), body))
    other = replace(kernel, outputs=(output,))
    assert contraction_of(choose_plan(other, WIDE, settings())).rhs is not Supply.KEPT
    generator = np.random.default_rng(0)
    x, w, y = (random_buffer(generator, slot) for slot in kernel.slots)
    run(other, x, w, y)
    columns = w.reshape(8, 70, 8).transpose(1, 0, 2).reshape(70, 64)
    assert np.allclose(y.reshape(20, 64), x.reshape(20, 70) @ columns, atol=1e-4)
