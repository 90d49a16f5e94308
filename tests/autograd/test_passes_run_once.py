"""Gradients of one pass that are read one after the other run the pass once."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.engine import capture, realize


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many kernels each run of a schedule launches, in order."""
    counts: list[int] = []

    def counted(schedule: realize.Schedule, *arguments: object) -> None:
        counts.append(len(schedule.launches))

    assert capture.active() is None
    monkeypatch.setattr(realize, "note_run", counted)
    return counts


def layers() -> list[Tensor]:
    random = np.random.default_rng(0)
    made = [Tensor(random.standard_normal((8, 8))) for _ in range(4)]
    return [weight.requires_grad_() for weight in made]


def loss_of(weights: list[Tensor]) -> Tensor:
    value = Tensor(np.ones((2, 8)))
    for weight in weights:
        value = (value @ weight).tanh()
    return value.square().sum()


def test_norms_of_gradients_run_the_pass_once(runs: list[int]) -> None:
    weights = layers()
    loss = loss_of(weights)
    loss.backward()
    norms = [float(weight.grad.norm()) for weight in weights if weight.grad is not None]
    assert len(norms) == 4
    # After the first, each norm is one small sum.
    assert max(runs[1:]) <= 2
    runs.clear()
    assert float(loss.detach()) > 0
    assert runs == []


def test_results_of_grad_run_the_pass_once(runs: list[int]) -> None:
    weights = layers()
    for gradient in tetragrad.grad(loss_of(weights), weights):
        assert gradient is not None
        gradient.numpy()
    assert len(runs) == 1
