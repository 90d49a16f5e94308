"""Running extremes and sums of powers against PyTorch, with ties and infinities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tetragrad import Tensor


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@pytest.mark.parametrize("dim", [0, 1])
def test_running_extremes(name: str, dim: int) -> None:
    random = np.random.default_rng(0)
    array = np.round(random.standard_normal((9, 70))).astype(np.float32)
    array[2, 30] = np.nan
    found = getattr(Tensor(array), name)(dim)
    wanted = getattr(torch.tensor(array), name)(dim)
    np.testing.assert_array_equal(found.values.numpy(), wanted.values.numpy())
    np.testing.assert_array_equal(found.indices.numpy(), wanted.indices.numpy())


@pytest.mark.parametrize("size", [31, 33, 100])
def test_logcumsumexp_in_blocks(size: int) -> None:
    random = np.random.default_rng(size)
    array = 9 * random.standard_normal((size, 3)).astype(np.float32)
    array[:2, 1] = -np.inf
    array[40:42, 2] = np.inf
    ours = Tensor(array, requires_grad=True)
    theirs = torch.tensor(array, dtype=torch.float64, requires_grad=True)
    found, wanted = ours.logcumsumexp(0), theirs.logcumsumexp(0)
    np.testing.assert_allclose(
        found.detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-4
    )
    found[:, 0].sum().backward()
    wanted[:, 0].sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    np.testing.assert_allclose(
        ours.grad[:, 0].numpy(), theirs.grad[:, 0].numpy(), rtol=1e-4, atol=1e-4
    )
