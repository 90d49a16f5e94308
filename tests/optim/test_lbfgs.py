"""L-BFGS against PyTorch's, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, optim

torch = pytest.importorskip("torch")

START = [-1.2, 1.0]


def rosenbrock(x: Any) -> Any:
    """A curved valley, whose lowest place is (1, 1)."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def run(x: Any, optimizer: Any, steps: int) -> list[float]:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return x.tolist()


def test_steps_without_a_line_search_are_pytorchs() -> None:
    ours = Tensor(START, dtype="float64", requires_grad=True)
    theirs = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    options = {"lr": 0.01, "max_iter": 5}
    found = run(ours, optim.LBFGS([ours], **options), 1)
    wanted = run(theirs, torch.optim.LBFGS([theirs], **options), 1)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_line_search_arrives() -> None:
    x = Tensor([4.0, -2.0], dtype="float64", requires_grad=True)
    optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe")
    scale = Tensor([1.0, 9.0], dtype="float64")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (scale * (x - 1) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(x.tolist(), [1.0, 1.0], atol=1e-5)


def test_step_without_closure_says_what_to_pass() -> None:
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(tetragrad.TetragradError, match="closure"):
        optim.LBFGS([x]).step()
