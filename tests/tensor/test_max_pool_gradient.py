"""The gradient of max pooling with overlapping windows, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tetragrad import Tensor, autograd
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.graph.leaves import Buffer

#: Sizes, and what follows the input in ``max_pool2d``.
CASES: list[tuple[tuple[int, int], tuple[Any, ...]]] = [
    ((12, 14), (3, 2, 1)),
    ((11, 7), (3, 2, 1)),
    ((11, 8), (3, 2, 0, 1, True)),
    ((9, 9), (5, 2, 2)),
    ((10, 13), ((3, 2), (1, 2), (1, 0), 1, True)),
    ((8, 8), (4, 3, 2, 1, True)),
    ((6, 20), ((1, 5), (1, 3), (0, 2))),
    ((16, 16), (7, 3, 3)),
    ((5, 5), (5, 1, 2)),
]


@pytest.mark.parametrize(("sizes", "how"), CASES)
def test_like_pytorch_where_one_element_is_the_largest(
    sizes: tuple[int, int], how: tuple[Any, ...]
) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.permutation(6 * sizes[0] * sizes[1]).astype(np.float32)
    theirs = torch.tensor(numbers.reshape(2, 3, *sizes), requires_grad=True)
    expected = torch.nn.functional.max_pool2d(theirs, *how)
    upstream = rng.standard_normal(expected.shape).astype(np.float32)
    expected.backward(torch.tensor(upstream))
    ours = Tensor(numbers.reshape(2, 3, *sizes)).requires_grad_()
    found = ours.max_pool2d(*how)
    found.backward(Tensor(upstream))
    assert ours.grad is not None
    np.testing.assert_array_equal(found.detach().numpy(), expected.detach().numpy())
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=1e-5)


def test_equal_elements_share() -> None:
    source = Tensor.ones(1, 1, 3, 3).requires_grad_()
    source.max_pool2d(3, 2, 1).sum().backward()
    assert source.grad is not None
    # Four windows of four elements each; the one in the middle is in all of them.
    expected = [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
    np.testing.assert_allclose(source.grad.numpy()[0, 0], expected)


def test_one_and_three_dimensions() -> None:
    line = Tensor([[1.0, 3.0, 2.0, 5.0, 4.0]]).requires_grad_()
    line.max_pool1d(3, 1).sum().backward()
    assert line.grad is not None
    assert line.grad.tolist() == [[0, 1, 0, 2, 0]]
    numbers = np.random.default_rng(1).permutation(2 * 5 * 6 * 7)
    cube = numbers.reshape(2, 5, 6, 7).astype(np.float32)
    theirs = torch.tensor(cube, requires_grad=True)
    torch.nn.functional.max_pool3d(theirs, 3, 2, 1).square().sum().backward()
    ours = Tensor(cube).requires_grad_()
    ours.max_pool3d(3, 2, 1).square().sum().backward()
    assert ours.grad is not None
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-5)


def test_second_derivatives() -> None:
    numbers = np.random.default_rng(2).permutation(48).reshape(1, 1, 6, 8)
    source = Tensor(numbers.astype(np.float32)).requires_grad_()
    pooled = (source * source).max_pool2d(3, 2, 1)
    (first,) = autograd.grad(pooled.sum(), [source], create_graph=True)
    (second,) = autograd.grad(first.sum(), [source])
    counts = first.detach().numpy() / (2 * np.maximum(numbers, 1))
    np.testing.assert_allclose(second.numpy(), 2 * np.round(counts), rtol=1e-5)


def test_nothing_larger_than_the_input_is_stored() -> None:
    source = Tensor.from_node(Buffer(object(), (8, 4, 32, 32), dtypes.float32, "cpu"))
    upstream = Buffer(object(), (8, 4, 16, 16), dtypes.float32, "cpu")
    source = source.requires_grad_()
    source.relu().max_pool2d(3, 2, 1).backward(Tensor.from_node(upstream))
    assert source.grad is not None
    _, kernels = kernels_of(without_markers([source.grad.node]), SM_90A, settings())
    stored = [node.numel for kernel in kernels for node in kernel.outputs]
    assert max(stored) == 8 * 4 * 32 * 32
    # The largest elements, the shares, and the gradient with that of what came before.
    assert len(stored) <= 4
