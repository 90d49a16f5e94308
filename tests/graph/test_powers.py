"""Powers with an exponent that is known."""

from __future__ import annotations

import numpy as np

from tetragrad import Tensor
from tetragrad.graph import elementwise as ops


def test_squares_are_products():
    """A model's file holds the exponent as a tensor of one number."""
    base = Tensor([-3.0, 0.5, 1e-30]).node
    square = ops.Pow(base, ops.full_like(base, 2.0))
    assert square is ops.Mul(base, base)
    assert ops.Pow(base, ops.full_like(base, 1.0)) is base


def test_the_exponent_of_a_square_has_a_gradient():
    base = Tensor([2.0, 3.0], requires_grad=True)
    exponent = Tensor([2.0, 2.0], requires_grad=True)
    base.pow(exponent).sum().backward()
    np.testing.assert_allclose(base.grad.numpy(), [4.0, 6.0], rtol=1e-6)
    expected = [4 * np.log(2), 9 * np.log(3)]
    np.testing.assert_allclose(exponent.grad.numpy(), expected, rtol=1e-6)


def test_the_exponent_of_full_ones_has_a_gradient():
    base = Tensor([2.0, 3.0], requires_grad=True)
    exponent = Tensor.full((2,), 2.0).requires_grad_()
    base.pow(exponent).sum().backward()
    expected = [4 * np.log(2), 9 * np.log(3)]
    np.testing.assert_allclose(exponent.grad.numpy(), expected, rtol=1e-6)
