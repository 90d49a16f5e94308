"""x·log(y) where x is 0: the slope is there, although the value is not."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor

torch = pytest.importorskip("torch")


def test_values_and_gradients_in_corners() -> None:
    x = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 0.0, -1.0])
    y = np.array([0.0, -1.0, 2.0, 0.5, 3.0, np.inf, 2.0])
    mine = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
    theirs = (torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=True))
    have, want = mine[0].xlogy(mine[1]), theirs[0].xlogy(theirs[1])
    np.testing.assert_allclose(have.detach(), want.detach().numpy())
    have.backward(Tensor.ones(7).double())
    want.backward(torch.ones(7))
    for ours, others in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(ours.grad, others.grad.numpy())
