"""Reductions down the columns of a large matrix, which is read once and in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tile.kernels import TARGETS, check, compute, form, kernel_of, load
from tests.tile.test_contraction import matmul
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.expression import Reduction, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.build import Plan
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.nests.stream import StreamPlan

FLOAT = dtypes.float32
ALL_TARGETS = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


WIDE = TARGETS["wide"]


def is_streamed(kernel, target=WIDE) -> bool:
    plan = choose_plan(kernel, target, settings())
    return any(isinstance(grid, StreamPlan) for stage in plan.stages for grid in stage)


def check_streamed(kernel, target=WIDE, **choices) -> None:
    """A small kernel, by a plan as large ones have it."""
    given = StreamPlan((0,), (), (), 0, 4, 2, 16, 4)
    plan = Plan((), ((replace(given, **choices),),))
    check(kernel, target, plan, tolerance=1e-4)


@ALL_TARGETS
@pytest.mark.parametrize("columns", [32, 37])
def test_products_of_few_rows(target, columns):
    """Columns and a depth that are not multiples of what is taken at a time."""
    kernel = matmul(3, columns, 11)
    check_streamed(kernel, target, beside=(0,), column=1)


@pytest.mark.parametrize("op", [Sum, Max])
def test_columns_of_a_matrix(op):
    """With an epilogue and a second output."""
    value = Reduction(op, (1,), load(0, form(a0=1, a1=30)))
    scaled = compute(ops.Mul, value, literal(0.5, FLOAT))
    outputs = (
        Output(1, form(a0=1), scaled, (0,)),
        Output(2, form(a0=1), value, (0,)),
    )
    slots = [(FLOAT, 30 * 9), (FLOAT, 30), (FLOAT, 30)]
    check_streamed(kernel_of((30, 9), slots, *outputs), outputs=(0, 1))


def batched(columns: int, depth: int) -> Kernel:
    """Axes (batch, m, n, k); rows share a matrix only within their batch."""
    lhs = load(0, form(a0=2 * depth, a1=depth, a3=1))
    rhs = load(1, form(a0=depth * columns, a2=1, a3=columns))
    total = Reduction(Sum, (3,), compute(ops.Mul, lhs, rhs))
    output = Output(2, form(a0=2 * columns, a1=columns, a2=1), total, (0, 1, 2))
    sizes = (6 * depth, 3 * depth * columns, 6 * columns)
    return kernel_of((3, 2, columns, depth), [(FLOAT, size) for size in sizes], output)


def test_each_matrix_of_a_batch():
    check_streamed(batched(20, 9), grid=(0,), beside=(1,), column=2)


def test_half_width_matrices_are_widened_on_the_way():
    kernel = matmul(2, 24, 9, dtype=dtypes.float16)
    check_streamed(kernel, beside=(0,), column=1)


def test_what_is_streamed():
    assert is_streamed(matmul(8, 1024, 1024))
    assert is_streamed(matmul(4, 1024, 1024, dtype=dtypes.bfloat16))
    assert is_streamed(batched(512, 512))


def test_what_is_not_streamed():
    """Many rows, a matrix that lies the other way, a small one."""
    assert not is_streamed(matmul(64, 1024, 1024))
    assert not is_streamed(matmul(2, 1024, 1024, transposed=(False, True)))
    assert not is_streamed(matmul(2, 64, 64))


@ALL_TARGETS
@pytest.mark.parametrize("rows", [1, 2, 4, 64, 1024])
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, True)])
def test_a_processor_multiplies_in_one_go(target, rows, transposed):
    """It packs as it multiplies: storing an operand first is for GPUs."""
    kernel = matmul(rows, 1024, 1024, transposed=transposed)
    assert choose_plan(kernel, target, settings()).cuts == ()
