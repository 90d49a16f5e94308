"""The kernel interpreter against NumPy, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core import dtypes
from tetragrad.core.errors import VerifyError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Indexed,
    Load,
    Position,
    Quotient,
    Reduction,
    Remainder,
    Scalar,
    Scan,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel, Mode, Output, Slot

FLOAT = dtypes.float32
ROWS, COLUMNS = 4, 6
MATRIX = Affine(0, ((0, COLUMNS), (1, 1)))


def run(output: Output, *inputs: np.ndarray, numel: int, scalars=()) -> np.ndarray:
    """Run a kernel over (ROWS, COLUMNS) with one output after its inputs."""
    slots = [Slot(dtypes.from_numpy(array.dtype), array.size) for array in inputs]
    slots.append(Slot(output.value.dtype, numel))
    result = np.zeros(numel, output.value.dtype.numpy)
    kernel = Kernel(
        (ROWS, COLUMNS), tuple(slots), tuple(FLOAT for _ in scalars), (output,)
    )
    buffers = [array.reshape(-1) for array in inputs]
    run_kernel(kernel, [*buffers, result], scalars)
    return result


@pytest.fixture
def x() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.standard_normal((ROWS, COLUMNS)).astype(np.float32)


LOAD = Load(0, MATRIX, (), FLOAT)


def test_elementwise_with_scalar(x):
    value = Compute(ops.Mul, FLOAT, (LOAD, Scalar(0, FLOAT)))
    found = run(Output(1, MATRIX, value, (0, 1)), x, numel=24, scalars=[2.5])
    np.testing.assert_array_equal(found.reshape(x.shape), x * np.float32(2.5))


def test_reduction_whose_axis_is_stored_over_too(x):
    value = Compute(ops.Sub, FLOAT, (LOAD, Reduction(Max, (1,), LOAD)))
    found = run(Output(1, MATRIX, value, (0, 1)), x, numel=24)
    expected = x - x.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(found.reshape(x.shape), expected)


def test_reduction_over_an_axis_the_body_ignores():
    value = Reduction(Sum, (1,), literal(1.0, FLOAT))
    found = run(Output(0, axis_form(0), value, (0,)), numel=ROWS)
    np.testing.assert_array_equal(found, np.full(ROWS, COLUMNS))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan(x, reverse):
    found = run(Output(1, MATRIX, Scan(Sum, 1, LOAD, reverse), (0, 1)), x, numel=24)
    way = slice(None, None, -1 if reverse else 1)
    expected = np.cumsum(x[:, way], axis=1)[:, way]
    np.testing.assert_array_equal(found.reshape(x.shape), expected)


def test_padding(x):
    inside = (axis_form(1).shift(-1),)
    shifted = Load(0, MATRIX.shift(-1), inside, FLOAT)
    value = Select(inside, shifted, literal(0.0, FLOAT))
    found = run(Output(1, MATRIX, value, (0, 1)), x, numel=24)
    expected = np.pad(x, ((0, 0), (1, 0)))[:, :-1]
    np.testing.assert_array_equal(found.reshape(x.shape), expected)


def test_guarded_load_that_leaks_is_poison(x):
    shifted = Load(0, MATRIX.shift(-1), (axis_form(1).shift(-1),), FLOAT)
    found = run(Output(1, MATRIX, shifted, (0, 1)), x, numel=24)
    assert np.isnan(found.reshape(x.shape)[:, 0]).all()


def test_quotient_and_remainder(x):
    flat = Affine(0, ((0, COLUMNS), (1, 1)))
    row = of_atom(Quotient(flat, ROWS, COLUMNS))
    column = of_atom(Remainder(flat, ROWS))
    value = Load(0, column.scale(COLUMNS) + row, (), FLOAT)
    found = run(Output(1, MATRIX, value, (0, 1)), x, numel=24)
    np.testing.assert_array_equal(found, x.T.reshape(-1))


def test_gather_and_position(x):
    index = Load(1, axis_form(0), (), dtypes.int64)
    address = of_atom(Indexed(index, 0, ROWS - 1)).scale(COLUMNS) + axis_form(1)
    value = Compute(
        ops.Add, FLOAT, (Load(0, address, (), FLOAT), Position(axis_form(1), FLOAT))
    )
    indices = np.array([3, 0, 3, 1])
    found = run(Output(2, MATRIX, value, (0, 1)), x, indices, numel=24)
    expected = x[indices] + np.arange(COLUMNS, dtype=np.float32)
    np.testing.assert_array_equal(found.reshape(x.shape), expected)


def test_combining_outputs(x):
    index = Load(1, axis_form(0), (), dtypes.int64)
    address = of_atom(Indexed(index, 0, 1)).scale(COLUMNS) + axis_form(1)
    indices = np.array([1, 0, 1, 1])
    added = run(Output(2, address, LOAD, (0, 1), (), Mode.ADD), x, indices, numel=12)
    largest = run(Output(2, address, LOAD, (0, 1), (), Mode.MAX), x, indices, numel=12)
    expected = np.stack([x[1], x[[0, 2, 3]].sum(0)])
    np.testing.assert_allclose(added.reshape(2, -1), expected, rtol=1e-6)
    expected = np.stack([x[1], x[[0, 2, 3]].max(0)])
    np.testing.assert_array_equal(largest.reshape(2, -1), expected)


def test_sum_of_small_floats_is_rounded_once():
    ones = np.full(ROWS * COLUMNS, 1.0, np.float16)
    ones[0] = 2048.0
    value = Reduction(Sum, (0, 1), Load(0, MATRIX, (), dtypes.float16))
    found = run(Output(1, ZERO, value, ()), ones, numel=1)
    assert found[0] == np.float16(2048 + 23)


def test_load_out_of_range_is_reported(x):
    value = Load(0, MATRIX.shift(1), (), FLOAT)
    with pytest.raises(VerifyError, match="elements 1 to 24 of a buffer of 24"):
        run(Output(1, MATRIX, value, (0, 1)), x, numel=24)
