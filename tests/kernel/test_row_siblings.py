"""Kernels that go over the same rows become one, which stores rows and their sums."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import check_kernels
from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.graph.node import Node
from tetragrad.nn import functional

ROWS, LENGTH = 300, 48
PROCESSOR = Target("cpu", "none", units=2)


def leaf(*shape: int) -> Tensor:
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape)
    return Tensor(numbers.astype(np.float32)).realize()


def normalised(rows: int = ROWS) -> list[Tensor]:
    """A sum of two, normalised, and the gradients of two products with it."""
    x, weight = leaf(rows, LENGTH).requires_grad_(), leaf(LENGTH).requires_grad_()
    both, matrix = x + leaf(rows, LENGTH) * 1.5, leaf(LENGTH, LENGTH)
    result = functional.layer_norm(both, (LENGTH,), weight)
    loss = (result @ matrix).sin().sum() + (both @ matrix).sin().sum()
    return [result, *tetragrad.autograd.grad(loss, [x, weight])]


def statistics() -> list[Tensor]:
    """Rows, what is subtracted from them, and two sums of each."""
    x = leaf(ROWS, LENGTH)
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    squares = (centred * centred).sum(1, keepdim=True)
    return [centred, mean, squares, centred.exp()]


def largest() -> list[Tensor]:
    """A softmax with the maximum that it subtracts."""
    x = leaf(ROWS, LENGTH) * 2
    top = x.amax(1, keepdim=True)
    return [top, (x - top).exp() / (x - top).exp().sum(1, keepdim=True), x]


def nodes_of(tensors: list[Tensor]) -> list[Node]:
    return without_markers([tensor.node for tensor in tensors])


def outputs(tensors: list[Tensor], target: Target) -> list[list[int]]:
    """How many elements each kernel's results have."""
    _, kernels = kernels_of(nodes_of(tensors), target, settings())
    return [sorted(node.numel for node in entry.outputs) for entry in kernels]


@pytest.mark.parametrize("tensors", [statistics, largest])
def test_rows_are_stored_beside_their_sums(tensors: object) -> None:
    assert callable(tensors)
    made = tensors()
    assert len(outputs(made, SM_90A)) == 1
    assert len(outputs(made, PROCESSOR)) > 1


def test_a_norm_and_its_gradient_store_what_others_read() -> None:
    whole = ROWS * LENGTH
    joined = outputs(normalised(), SM_90A)
    assert len(joined) < len(outputs(normalised(), PROCESSOR))
    # The products and the sum that one of them reads, what the norm gives, and the
    # gradients: no centred values.
    assert sum(entry.count(whole) for entry in joined) <= 8


def test_few_rows_are_left_apart() -> None:
    few = outputs(normalised(8), SM_90A)
    assert len(few) >= len(outputs(normalised(), SM_90A))


def test_what_leaves_its_row_is_a_kernel_of_its_own() -> None:
    x = leaf(ROWS, LENGTH)
    y = x - x.mean(1, keepdim=True)
    columns = y.sum(0, keepdim=True)
    assert len(outputs([y, columns, y - columns], SM_90A)) == 3


@pytest.mark.parametrize("tensors", [normalised, statistics, largest])
def test_programs_mean_what_their_kernels_mean(tensors: object) -> None:
    assert callable(tensors)
    check_kernels(nodes_of(tensors()), absolute=1e-4)
