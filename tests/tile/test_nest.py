"""Maps, rows, column reductions, cuts, scans and scatters through the nest."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, check, compute, form, kernel_of, load
from tetragrad.core import dtypes
from tetragrad.core.frozen import replace
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import of_atom
from tetragrad.kernel.expression import (
    Indexed,
    Load,
    Reduction,
    Scan,
    Select,
    literal,
)
from tetragrad.kernel.ir import Mode, Output
from tetragrad.tile.plans.nests.transpose import TransposePlan
from tetragrad.tile.plans.prepare.widening import Widening

FLOAT = dtypes.float32

ALL_TARGETS = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
SOME_TARGETS = pytest.mark.parametrize("target", [TARGETS["wide"]], ids=["wide"])


@ALL_TARGETS
@pytest.mark.parametrize("size", [3, 67, 1000])
@pytest.mark.parametrize("dtype", [FLOAT, dtypes.bfloat16, dtypes.int8, dtypes.float64])
def test_map_of_one_axis(target, size, dtype):
    value = compute(ops.Add, load(0, form(a0=1), dtype), load(1, form(a0=1), dtype))
    output = Output(2, form(a0=1), value, (0,))
    check(kernel_of((size,), [(dtype, size)] * 3, output), target)


def test_map_merges_contiguous_axes():
    address = form(a0=30, a1=6, a2=1)
    output = Output(1, address, compute(ops.Neg, load(0, address)), (0, 1, 2))
    plan = check(kernel_of((4, 5, 6), [(FLOAT, 120)] * 2, output))
    assert plan.stages[0][0].grid == (0,)


@ALL_TARGETS
def test_map_broadcasts_and_transposes(target):
    value = compute(ops.Mul, load(0, form(a0=1)), load(1, form(a0=1, a1=9)))
    output = Output(2, form(a0=21, a1=1), value, (0, 1))
    check(kernel_of((9, 21), [(FLOAT, 9), (FLOAT, 189), (FLOAT, 189)], output), target)


@SOME_TARGETS
@pytest.mark.parametrize("shape", [(8, 8), (65, 130), (70, 9)])
def test_transposition(target, shape):
    rows, columns = shape
    crossed = load(0, form(a0=1, a1=rows))
    value = compute(ops.Add, crossed, load(1, form(a0=columns, a1=1)))
    output = Output(2, form(a0=columns, a1=1), value, (0, 1))
    size = rows * columns
    plan = check(kernel_of(shape, [(FLOAT, size)] * 3, output), target)
    assert isinstance(plan.stages[0][0], TransposePlan)


@ALL_TARGETS
def test_transposition_with_guard_and_batch(target):
    """Channels become last, with a border of zeros along the rows."""
    inside = (form(-1, a2=1), form(10, a2=-1))
    address = form(-1, a0=200, a1=10, a2=1)
    value = Select(inside, Load(0, address, inside, FLOAT), literal(0.0, FLOAT))
    output = Output(1, form(a0=240, a1=1, a2=20), value, (0, 1, 2))
    check(kernel_of((3, 20, 12), [(FLOAT, 600), (FLOAT, 720)], output), target)


@ALL_TARGETS
def test_map_with_guard(target):
    """Padding: zeros on both sides of a row."""
    inside = (form(-2, a0=1), form(14, a0=-1))
    padded = Select(inside, Load(0, form(-2, a0=1), inside, FLOAT), literal(0.0, FLOAT))
    output = Output(1, form(a0=1), padded, (0,))
    check(kernel_of((19,), [(FLOAT, 13), (FLOAT, 19)], output), target)


def softmax(rows: int, columns: int):
    x = load(0, form(a0=columns, a1=1))
    largest = Reduction(Max, (1,), x)
    exponential = compute(ops.Exp, compute(ops.Sub, x, largest))
    total = Reduction(Sum, (1,), exponential)
    value = compute(ops.Div, exponential, total)
    output = Output(1, form(a0=columns, a1=1), value, (0, 1))
    return kernel_of((rows, columns), [(FLOAT, rows * columns)] * 2, output)


@ALL_TARGETS
@pytest.mark.parametrize("columns", [1, 7, 33, 200])
def test_softmax(target, columns):
    check(softmax(5, columns), target)


def test_softmax_of_one_long_row_is_cut():
    plan = check(softmax(1, 20000), TARGETS["wide"])
    assert plan.cuts


@ALL_TARGETS
def test_normalisation_over_columns(target):
    """(x - mean) with statistics over the outer axis, stored over both."""
    x = load(0, form(a0=37, a1=1))
    mean = Reduction(Sum, (0,), x)
    value = compute(ops.Sub, x, mean)
    output = Output(1, form(a0=37, a1=1), value, (0, 1))
    check(kernel_of((11, 37), [(FLOAT, 407)] * 2, output), target)


@SOME_TARGETS
@pytest.mark.parametrize("shape", [(3, 900), (900, 3), (1, 20000), (60, 70)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("op", [Sum, Max])
def test_reductions(target, shape, axis, op):
    rows, columns = shape
    x = load(0, form(a0=columns, a1=1))
    output = Output(
        1, form(**{f"a{1 - axis}": 1}), Reduction(op, (axis,), x), (1 - axis,)
    )
    slots = [(FLOAT, rows * columns), (FLOAT, shape[1 - axis])]
    check(kernel_of(shape, slots, output), target, tolerance=1e-3)


@pytest.mark.parametrize("size", [1, 5, 30011])
@pytest.mark.parametrize("dtype", [FLOAT, dtypes.int32, dtypes.float16])
def test_sum_of_everything(size, dtype):
    total = Reduction(Sum, (0,), load(0, form(a0=1), dtype))
    output = Output(1, form(), total, ())
    check(kernel_of((size,), [(dtype, size), (dtype, 1)], output), tolerance=1e-3)


def test_several_outputs_share_a_pass():
    x = load(0, form(a0=20, a1=1))
    total = Reduction(Sum, (1,), x)
    squares = Reduction(Sum, (1,), compute(ops.Mul, x, x))
    outputs = (
        Output(1, form(a0=1), total, (0,)),
        Output(2, form(a0=1), squares, (0,)),
        Output(3, form(a0=20, a1=1), compute(ops.Sub, x, total), (0, 1)),
    )
    slots = [(FLOAT, 140), (FLOAT, 7), (FLOAT, 7), (FLOAT, 140)]
    check(kernel_of((7, 20), slots, *outputs))


@ALL_TARGETS
def test_pooling_window(target):
    """Max over a 2x2 window with stride 2, computed inside the map."""
    x = load(0, form(a0=24, a1=2, a2=12, a3=1))
    value = Reduction(Max, (2, 3), x)
    output = Output(1, form(a0=6, a1=1), value, (0, 1))
    check(kernel_of((5, 6, 2, 2), [(FLOAT, 120), (FLOAT, 30)], output), target)


def test_nested_reductions():
    """Variance: the inner mean is hoisted out of the outer sum."""
    x = load(0, form(a0=30, a1=1))
    centred = compute(ops.Sub, x, Reduction(Sum, (1,), x))
    value = Reduction(Sum, (1,), compute(ops.Mul, centred, centred))
    output = Output(1, form(a0=1), value, (0,))
    check(kernel_of((6, 30), [(FLOAT, 180), (FLOAT, 6)], output))


@ALL_TARGETS
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sum(target, axis, reverse):
    x = load(0, form(a0=21, a1=1))
    output = Output(1, form(a0=21, a1=1), Scan(Sum, axis, x, reverse), (0, 1))
    check(kernel_of((13, 21), [(FLOAT, 273)] * 2, output), target)


@SOME_TARGETS
def test_running_sums_that_need_loops_of_their_own(target):
    """Both ways along a row, one of the other, and a sum of running sums."""
    x = load(0, form(a0=21, a1=1))
    forward = Scan(Sum, 1, x, False)
    both = compute(ops.Add, forward, Scan(Sum, 1, x, True))
    twice = Scan(Sum, 0, forward, False)
    total = compute(ops.Add, twice, Reduction(Sum, (1,), forward))
    address = form(a0=21, a1=1)
    outputs = (Output(1, address, both, (0, 1)), Output(2, address, total, (0, 1)))
    check(kernel_of((13, 21), [(FLOAT, 273)] * 3, *outputs), target, tolerance=1e-3)


@ALL_TARGETS
def test_gather(target):
    index = Load(0, form(a0=1), (), dtypes.int64)
    row = of_atom(Indexed(index, 0, 9)).scale(20)
    value = Load(1, row + form(a1=1), (), FLOAT)
    output = Output(2, form(a0=20, a1=1), value, (0, 1))
    slots = [(dtypes.int64, 7), (FLOAT, 200), (FLOAT, 140)]
    check(kernel_of((7, 20), slots, output), target)


@ALL_TARGETS
@pytest.mark.parametrize("mode", [Mode.ADD, Mode.MAX])
@pytest.mark.parametrize("dtype", [FLOAT, dtypes.int32])
def test_scatter(target, mode, dtype):
    """The gradient of an embedding: rows are added where indices repeat."""
    index = Load(0, form(a0=1), (), dtypes.int64)
    row = of_atom(Indexed(index, 0, 4)).scale(20)
    value = load(1, form(a0=20, a1=1), dtype)
    output = Output(2, row + form(a1=1), value, (0, 1), (), mode)
    slots = [(dtypes.int64, 17), (dtype, 340), (dtype, 100)]
    indices = np.arange(17, dtype=np.int64) ** 2 % 5
    check(kernel_of((17, 20), slots, output), target, buffers={0: indices})


@pytest.mark.parametrize("mode", [Mode.ADD, Mode.MAX])
@pytest.mark.parametrize("dtype", [dtypes.bool_, dtypes.int8, dtypes.uint16])
def test_narrow_values_are_combined_in_wide_ones(dtype, mode):
    """A GPU has no instructions that combine them, or truth values."""
    target = replace(TARGETS["wide"], iteration_elements=1)
    index = Load(0, form(a0=1), (), dtypes.int64)
    output = Output(2, of_atom(Indexed(index, 0, 4)), load(1, form(a0=1), dtype), (0,))
    output = replace(output, mode=mode)
    slots = [(dtypes.int64, 17), (dtype, 17), (dtype, 5)]
    indices = np.arange(17, dtype=np.int64) ** 2 % 5
    plan = check(kernel_of((17,), slots, output), target, buffers={0: indices})
    assert plan.cuts == (Widening(0),)


def test_scatter_without_other_axes():
    index = Load(0, form(a0=1), (), dtypes.int64)
    value = load(1, form(a0=1))
    address = of_atom(Indexed(index, 0, 4))
    output = Output(2, address, value, (0,), (), Mode.ADD)
    slots = [(dtypes.int64, 37), (FLOAT, 37), (FLOAT, 5)]
    check(kernel_of((37,), slots, output))
