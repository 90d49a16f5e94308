"""Axes along which an output only chooses become outputs of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import tetragrad
from tests.tile.kernels import TARGETS, check, compute, form, kernel_of, load
from tetragrad import Tensor
from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.expression import Select, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tensor.sorting_network import merging_comparisons, sorting_comparisons
from tetragrad.tile.plans.prepare.axes import simplify_axes

PAIR = (2, 24)


def butterfly(dim_of_choice: int) -> Kernel:
    """out[j, i] = a[i] + b[i] or a[i] - b[i], in one of two layouts."""
    a, b = load(0, form(a1=1)), load(1, form(a1=1))
    is_first = (form(a0=-1),)
    value = Select(is_first, compute(ops.Add, a, b), compute(ops.Sub, a, b))
    address = form(a0=24, a1=1) if dim_of_choice == 0 else form(a0=1, a1=2)
    slots = [(dtypes.float32, 24), (dtypes.float32, 24), (dtypes.float32, 48)]
    return kernel_of(PAIR, slots, Output(2, address, value, (0, 1)))


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("target", TARGETS)
def test_butterfly(dim: int, target: str) -> None:
    kernel = butterfly(dim)
    assert len(simplify_axes(kernel).outputs) == 2
    check(kernel, TARGETS[target])


def test_a_margin_is_not_written_out() -> None:
    x = load(0, form(-1, a0=1, a1=4))
    value = Select((form(-1, a0=1),), x, literal(0, dtypes.float32))
    slots = [(dtypes.float32, 64), (dtypes.float32, 20)]
    kernel = kernel_of((4, 5), slots, Output(1, form(a0=1, a1=4), value, (0, 1)))
    assert len(simplify_axes(kernel).outputs) == 1


@pytest.mark.parametrize("places", [2, 4, 8])
def test_networks_sort_whatever_bits_they_are_given(places: int) -> None:
    """What sorts zeros and ones sorts everything (D. E. Knuth, TAOCP 3, 5.3.4)."""
    for bits in range(1 << places):
        row = [bits >> place & 1 for place in range(places)]
        for first, second in sorting_comparisons(places):
            row[first], row[second] = sorted((row[first], row[second]))
        assert row == sorted(row)


def test_merges_sort_what_rises_and_falls() -> None:
    for ones in range(17):
        row = [0] * ((16 - ones) // 2) + [1] * ones
        row += [0] * (16 - len(row))
        assert compared(row, merging_comparisons(16, is_first=False)) == sorted(row)


def test_merges_sort_two_runs() -> None:
    for first in range(9):
        for second in range(9):
            row = [0] * first + [1] * (8 - first) + [0] * second + [1] * (8 - second)
            found = compared(row, merging_comparisons(16, is_first=True))
            assert found == sorted(row)


def compared(row: list[int], comparisons: Sequence[tuple[int, int]]) -> list[int]:
    """The row after comparisons that exchange what is in the wrong order."""
    row = list(row)
    for first, second in comparisons:
        row[first], row[second] = sorted((row[first], row[second]))
    return row


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "bfloat16"])
def test_stacks_along_the_last_dimension(parts: int, dtype: str) -> None:
    random = np.random.default_rng(2)
    arrays = [random.integers(0, 50, (3, 21)) for _ in range(parts)]
    pieces = [Tensor(array).to(getattr(tetragrad, dtype)) for array in arrays]
    found = tetragrad.stack(pieces, -1).to(tetragrad.int64).numpy()
    wanted = np.stack([piece.to(tetragrad.int64).numpy() for piece in pieces], -1)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_pictures_enlarged(factor: int) -> None:
    picture = np.random.default_rng(3).standard_normal((2, 3, 5, 19)).astype(np.float32)
    found = tetragrad.nn.functional.interpolate(Tensor(picture), scale_factor=factor)
    wanted = picture.repeat(factor, 2).repeat(factor, 3)
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 3), (4, 3)])
def test_gradients_of_pools(kernel: int, stride: int) -> None:
    picture = np.random.default_rng(4).standard_normal((2, 3, 21, 38))
    picture = picture.astype(np.float32)
    ours = Tensor(picture, requires_grad=True)
    theirs = torch.tensor(picture, requires_grad=True)
    for library, leaf in ((tetragrad, ours), (torch, theirs)):
        functional = library.nn.functional
        largest = functional.max_pool2d(leaf, kernel, stride, 1)
        mean = functional.avg_pool2d(leaf, kernel, stride)
        ((largest**2).sum() + (mean**2).sum()).backward()
    assert ours.grad is not None and theirs.grad is not None
    np.testing.assert_allclose(
        ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-5
    )


def test_rows_sorted_by_compiled_networks() -> None:
    array = np.random.default_rng(1).integers(0, 50, (20, 70)).astype(np.int32)
    found = Tensor(array).sort(-1)
    np.testing.assert_array_equal(found.values.numpy(), np.sort(array, -1))
    order = np.argsort(array, axis=-1, kind="stable")
    np.testing.assert_array_equal(found.indices.numpy(), order)
