"""Overlapping windows that are added and cut: the loops keep their shape."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tensor.comparison import torch
from tetragrad import Tensor
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device
from tetragrad.kernel.expression import Quotient, Remainder, walk


def count_quotients(result: Tensor) -> int:
    """How many coordinates of the contractions are not affine."""
    _, kernels = kernels_of([result.node], device("cpu").target, settings())
    values = [output.value for entry in kernels for output in entry.kernel.outputs]
    return sum(isinstance(entry, Quotient | Remainder) for entry in walk(*values))


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"), [(2, 1, 4), (2, 0, 4), (3, 1, 5), (1, 1, 3)]
)
def test_transposed_convolution(stride: int, padding: int, kernel: int) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 6, 7, 5)).astype(np.float32)
    weight = random.standard_normal((6, 4, kernel, kernel)).astype(np.float32)
    found = Tensor(x).conv_transpose2d(Tensor(weight), stride=stride, padding=padding)
    assert count_quotients(found) == 0
    wanted = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(weight), stride=stride, padding=padding
    )
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_input_gradient_of_a_strided_convolution() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 4, 8, 8)).astype(np.float32)
    weight = random.standard_normal((6, 4, 3, 3)).astype(np.float32)
    ours = Tensor(x, requires_grad=True)
    theirs = torch.from_numpy(x).requires_grad_()
    ours.conv2d(Tensor(weight), stride=2, padding=1).square().sum().backward()
    result = torch.nn.functional.conv2d(theirs, torch.from_numpy(weight), None, 2, 1)
    result.square().sum().backward()
    assert ours.grad is not None
    np.testing.assert_allclose(
        ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-4
    )
