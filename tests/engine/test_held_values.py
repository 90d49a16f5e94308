"""Values that a name still holds are not computed twice, where they were stored."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.engine import realize as engine
from tetragrad.engine.schedule import Schedule


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that run, in order."""
    names: list[str] = []
    run = engine.run

    def noted(schedule: Schedule, *arguments: object) -> object:
        names.extend(launch.name for launch in schedule.launches)
        return run(schedule, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "run", noted)
    return names


def matrix(*shape: int) -> Tensor:
    values = np.random.default_rng(0).standard_normal(shape)
    return Tensor(values.astype(np.float32)).realize()


def test_a_product_that_was_stored_is_kept(launched: list[str]) -> None:
    x = matrix(32, 32)
    product = (x @ x + 1).relu()
    product.sum().item()
    launched.clear()
    product.mean().item()
    assert not any("contract" in name for name in launched)


def test_what_nobody_holds_is_not_kept(launched: list[str]) -> None:
    x = matrix(32, 32)
    (x @ x).sum().item()
    launched.clear()
    (x @ x).mean().item()
    assert any("contract" in name for name in launched)


def test_the_loss_and_its_gradients_share_one_forward_pass(
    launched: list[str],
) -> None:
    x, weight = matrix(16, 8), matrix(8, 4).requires_grad_()
    hidden = x @ weight
    loss = (hidden * hidden).sum()
    loss.backward()
    loss.item()
    launched.clear()
    assert weight.grad is not None
    weight.grad.numpy()
    hidden.detach().sum().item()
    assert not any("contract" in name for name in launched)
