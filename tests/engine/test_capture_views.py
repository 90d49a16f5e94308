"""Captured functions whose arguments are views, and results that had a graph."""

from __future__ import annotations

import numpy as np

import tetragrad
from tetragrad import Tensor, nn


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_slices_of_one_tensor_share_a_capture() -> None:
    @tetragrad.jit
    def total(rows: Tensor, labels: Tensor) -> Tensor:
        return (rows * 2).sum(0) + labels.sum()

    x, y = data(64, 8), np.arange(64)
    rows, labels = Tensor(x).realize(), Tensor(y).realize()
    for start in range(40):
        part = slice(start, start + 4)
        found = total(rows[part], labels[part]).numpy()
        wanted = (x[part] * 2).sum(0) + y[part].sum()
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert len(total.captures) == 1


def test_views_that_are_not_contiguous() -> None:
    @tetragrad.jit
    def doubled(columns: Tensor) -> Tensor:
        return columns * 2

    x = data(16, 8)
    rows = Tensor(x).realize()
    for start in range(6):
        view = rows[:, start : start + 2].T.flip(0)
        wanted = x[:, start : start + 2].T[::-1] * 2
        np.testing.assert_array_equal(doubled(view).numpy(), wanted)
    assert len(doubled.captures) == 1


def test_writes_reach_the_viewed_tensor() -> None:
    @tetragrad.jit
    def add_one(part: Tensor) -> Tensor:
        part.add_(1)
        return part.sum()

    x = data(8, 3)
    tensor = Tensor(x).realize()
    for start in range(4):
        add_one(tensor[start : start + 2])
        x[start : start + 2] += 1
        np.testing.assert_allclose(tensor.numpy(), x, rtol=1e-6)


def test_results_have_values_and_no_graph() -> None:
    model = nn.Linear(4, 3)
    captured = tetragrad.jit(model)
    x = Tensor(data(2, 4))
    wanted = model(x).detach().numpy()
    for _ in range(3):
        found = captured(x)
        assert not found.requires_grad
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
