"""Matrix products and convolutions: packing, micro-tiles, edges, epilogues."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, check, compute, form, kernel_of, load
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.expression import (
    Compute,
    Load,
    Reduction,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.products.contraction import (
    Block,
    ContractionPlan,
    Supply,
)

FLOAT = dtypes.float32
ALL_TARGETS = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def matmul(m: int, n: int, k: int, *, transposed=(False, False), dtype=FLOAT) -> Kernel:
    """Axes (m, n, k); each operand may be stored with its last two axes swapped."""
    lhs_form = form(a0=1, a2=m) if transposed[0] else form(a0=k, a2=1)
    rhs_form = form(a1=k, a2=1) if transposed[1] else form(a1=1, a2=n)
    wide = dtypes.accumulation(dtype)
    lhs, rhs = load(0, lhs_form, dtype), load(1, rhs_form, dtype)
    if wide is not dtype:
        lhs, rhs = (Compute(ops.Cast, wide, (entry,)) for entry in (lhs, rhs))
    total = Reduction(Sum, (2,), compute(ops.Mul, lhs, rhs))
    value = total if wide is dtype else Compute(ops.Cast, dtype, (total,))
    output = Output(2, form(a0=n, a1=1), value, (0, 1))
    slots = [(dtype, m * k), (dtype, k * n), (dtype, m * n)]
    return kernel_of((m, n, k), slots, output)


def contraction_of(plan) -> ContractionPlan:
    (grid,) = plan.stages[-1]
    assert isinstance(grid, ContractionPlan)
    return grid


@ALL_TARGETS
@pytest.mark.parametrize("shape", [(33, 40, 29), (15, 70, 65)])
@pytest.mark.parametrize("lhs_transposed", [False, True])
@pytest.mark.parametrize("rhs_transposed", [False, True])
def test_matrix_product(target, shape, lhs_transposed, rhs_transposed):
    kernel = matmul(*shape, transposed=(lhs_transposed, rhs_transposed))
    contraction_of(check(kernel, target, tolerance=1e-4))


@pytest.mark.parametrize(
    "dtype", [dtypes.bfloat16, dtypes.float16, dtypes.float64, dtypes.int32]
)
def test_matrix_product_of_dtype(dtype):
    contraction_of(check(matmul(33, 40, 30, dtype=dtype), TARGETS["middle"]))


@pytest.mark.parametrize("depth_chunk", [7, 10, 29])
@pytest.mark.parametrize("chunks", [(33, 40), (12, 16), (10, 33)])
def test_every_way_to_block(depth_chunk, chunks):
    """Ragged blocks along every axis, and results gathered over depth blocks."""
    kernel = matmul(33, 40, 29)
    target = TARGETS["narrow"]
    plan = choose_plan(kernel, target, settings())
    chosen = replace(
        contraction_of(plan),
        swap=False,
        rows=Block((0,), 0, chunks[0]),
        columns=Block((1,), 0, chunks[1]),
        depth=Block((2,), 0, depth_chunk),
        micro_rows=5,
        micro_columns=8,
        lhs=Supply.PACKED,
        rhs=Supply.FETCHED,
    )
    check(kernel, target, replace(plan, stages=((chosen,),)), tolerance=1e-4)


@ALL_TARGETS
@pytest.mark.parametrize("shape", [(12, 32, 29), (13, 35, 30), (7, 33, 40)])
@pytest.mark.parametrize("lhs_transposed", [False, True])
def test_operands_in_place(target, shape, lhs_transposed):
    """Small operands are not packed; panels that would end outside overlap."""
    kernel = matmul(*shape, transposed=(lhs_transposed, False))
    plan = contraction_of(check(kernel, target, tolerance=1e-4))
    assert Supply.IN_PLACE in (plan.lhs, plan.rhs)


@ALL_TARGETS
def test_columns_of_several_axes(target):
    """Results that lie in pieces of sixteen: heads of a projection."""
    tokens, heads, width, depth = 20, 3, 16, 24
    lhs = load(0, form(a0=depth, a3=1))
    rhs = load(1, form(a1=width, a2=1, a3=heads * width))
    total = Reduction(Sum, (3,), compute(ops.Mul, lhs, rhs))
    output = Output(2, form(a0=width, a1=tokens * width, a2=1), total, (0, 1, 2))
    sizes = (tokens * depth, depth * heads * width, tokens * heads * width)
    slots = [(FLOAT, size) for size in sizes]
    kernel = kernel_of((tokens, heads, width, depth), slots, output)
    plan = contraction_of(check(kernel, target, tolerance=1e-4))
    assert not plan.swap


@ALL_TARGETS
def test_epilogue(target):
    """Bias, residual and activation, and a second output."""
    kernel = matmul(34, 37, 31)
    total = kernel.outputs[0].value
    biased = compute(ops.Add, total, load(3, form(a1=1)))
    residual = compute(ops.Add, biased, load(4, form(a0=37, a1=1)))
    value = compute(ops.Maximum, residual, literal(0.0, FLOAT))
    outputs = (
        Output(2, form(a0=37, a1=1), value, (0, 1)),
        Output(5, form(a0=1, a1=34), total, (0, 1)),
    )
    slots = [(slot.dtype, slot.numel) for slot in kernel.slots]
    slots += [(FLOAT, 37), (FLOAT, 34 * 37), (FLOAT, 34 * 37)]
    contraction_of(check(kernel_of(kernel.axes, slots, *outputs), target))


@ALL_TARGETS
def test_batched_product(target):
    lhs, rhs = (
        load(0, form(a0=20 * 22, a1=22, a3=1)),
        load(1, form(a0=22 * 24, a2=1, a3=24)),
    )
    total = Reduction(Sum, (3,), compute(ops.Mul, lhs, rhs))
    output = Output(2, form(a0=480, a1=24, a2=1), total, (0, 1, 2))
    slots = [(FLOAT, 3 * 20 * 22), (FLOAT, 3 * 22 * 24), (FLOAT, 3 * 480)]
    contraction_of(check(kernel_of((3, 20, 24, 22), slots, output), target))


def convolution(
    n: int, cin: int, cout: int, size: int, pad: int, stride: int
) -> Kernel:
    """Axes (n, cout, oh, ow, cin, kh, kw), a 3x3 filter."""
    out = (size + 2 * pad - 3) // stride + 1
    row, column = form(-pad, a2=stride, a5=1), form(-pad, a3=stride, a6=1)
    inside = (
        row,
        row.scale(-1).shift(size - 1),
        column,
        column.scale(-1).shift(size - 1),
    )
    address = form(a0=cin * size * size, a4=size * size) + row.scale(size) + column
    x = Select(inside, Load(0, address, inside, FLOAT), literal(0.0, FLOAT))
    if not pad:
        x = Load(0, address, (), FLOAT)
    w = load(1, form(a1=cin * 9, a4=9, a5=3, a6=1))
    total = Reduction(Sum, (4, 5, 6), compute(ops.Mul, x, w))
    address = form(a0=cout * out * out, a1=out * out, a2=out, a3=1)
    output = Output(2, address, total, (0, 1, 2, 3))
    slots = [(FLOAT, n * cin * size**2), (FLOAT, cout * cin * 9)]
    slots.append((FLOAT, n * cout * out**2))
    return kernel_of((n, cout, out, out, cin, 3, 3), slots, output)


@ALL_TARGETS
@pytest.mark.parametrize("pad, stride", [(0, 1), (1, 1), (1, 2)])
def test_convolution(target, pad, stride):
    kernel = convolution(2, 3, 8, 9, pad, stride)
    contraction_of(check(kernel, target, tolerance=1e-4))


def test_output_in_another_order():
    """Channels last: pixels do not move evenly through the output on either side."""
    kernel = convolution(2, 3, 8, 9, 1, 1)
    address = form(a0=8 * 81, a1=1, a2=8, a3=9 * 8)
    output = replace(kernel.outputs[0], address=address)
    check(replace(kernel, outputs=(output,)), TARGETS["narrow"], tolerance=1e-4)


@ALL_TARGETS
def test_deep_product_is_divided(target):
    plan = check(matmul(8, 16, 2100), target, tolerance=1e-3)
    assert plan.cuts


def test_product_inside_a_larger_kernel():
    """A softmax over the columns of a product: the product is set apart."""
    kernel = matmul(20, 40, 30)
    total = kernel.outputs[0].value
    exponential = compute(ops.Exp, total)
    value = compute(ops.Div, exponential, Reduction(Sum, (1,), exponential))
    output = replace(kernel.outputs[0], value=value)
    check(replace(kernel, outputs=(output,)), TARGETS["middle"], tolerance=1e-4)


def test_rows_do_not_depend_on_their_neighbours():
    """The edges of blocks never mix with other rows."""
    kernel = matmul(33, 40, 29)
    rows = np.zeros(33 * 29, np.float32)
    rows[-29:] = np.inf
    check(kernel, TARGETS["narrow"], buffers={0: rows})


def test_a_product_of_what_was_cut_off():
    """What is fetched ahead may be scratch that a kernel before has written."""
    kernel = matmul(33, 40, 29)
    (output,) = kernel.outputs
    first, second = output.value.body.inputs
    total = Reduction(Sum, (3,), load(1, form(a1=1, a2=40, a3=40 * 29)))
    value = Reduction(Sum, (2,), compute(ops.Mul, first, total))
    slots = [(slot.dtype, slot.numel) for slot in kernel.slots]
    slots[1] = (FLOAT, 40 * 29 * 70)
    sums = kernel_of((33, 40, 29, 70), slots, replace(output, value=value))
    assert second.address == form(a1=1, a2=40)
    check(sums, TARGETS["wide"], tolerance=1e-3)


def test_a_depth_without_equal_parts_is_not_divided():
    """A shorter last part would be guarded, and so no product any more."""
    kernel = matmul(16, 16, 5003)
    plan = choose_plan(kernel, TARGETS["wide"], settings())
    assert not plan.cuts and plan.kind == "contraction"


@ALL_TARGETS
@pytest.mark.parametrize("shape", [(1024, 1024, 1024), (64, 64, 64), (512, 3072, 768)])
@pytest.mark.parametrize("rhs_transposed", [False, True])
def test_a_step_fits_the_registers(target, shape, rhs_transposed):
    """Totals, a row of columns, and two broadcast elements: none is in memory."""
    kernel = matmul(*shape, transposed=(False, rhs_transposed))
    plan = contraction_of(choose_plan(kernel, target, settings()))
    vectors = plan.micro_columns // plan.lanes
    assert plan.micro_rows * vectors + vectors + 2 <= target.registers


@pytest.mark.parametrize("depth", [900, 1020, 1900])
def test_deep_rows_in_place(depth):
    """Sums of a deep block are in parts, of several blocks gathered as well."""
    kernel = matmul(13, 40, depth)
    plan = contraction_of(check(kernel, TARGETS["wide"], tolerance=1e-4))
    assert plan.lhs is Supply.IN_PLACE
    assert plan.parts > 1
