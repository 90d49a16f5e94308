"""Values that a name still holds are not computed twice, where they were stored."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.engine import realize as engine
from tetragrad.engine.held import SMALL
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


def launches_of(turns: int, turn: object, launched: list[str]) -> list[int]:
    """How many kernels each turn of a loop launches."""
    counts = []
    for _ in range(turns):
        launched.clear()
        turn()  # type: ignore[operator]
        counts.append(len(launched))
    return counts


@pytest.mark.parametrize("layers", [1, 2])
def test_a_state_that_is_carried_on_is_not_computed_again(
    launched: list[str], layers: int
) -> None:
    network = nn.LSTM(4, 8, layers)
    state, answer = None, 0.0

    def turn() -> None:
        nonlocal state, answer
        with tetragrad.no_grad():
            outputs, state = network(matrix(1, 1, 4) + answer, state)
        answer = outputs.sum().item()

    counts = launches_of(5, turn, launched)
    assert len(set(counts[1:])) == 1


def test_a_state_that_goes_on_after_a_step_of_an_optimizer(
    launched: list[str],
) -> None:
    network = nn.GRU(4, 8)
    optimizer = optim.SGD(network.parameters(), lr=0.1)
    state = None

    def turn() -> None:
        nonlocal state
        outputs, state = network(matrix(3, 1, 4), state)
        loss = outputs.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = state.detach()

    counts = launches_of(6, turn, launched)
    assert len(set(counts[3:])) == 1


def test_what_grows_is_not_computed_again(launched: list[str]) -> None:
    weight, known = matrix(8, 8), None

    def turn() -> None:
        nonlocal known
        row = matrix(1, 8) @ weight
        known = row if known is None else tetragrad.cat([known, row])
        (row @ known.T).softmax(-1).sum().item()

    counts = launches_of(6, turn, launched)
    assert len(set(counts[1:])) == 1


def test_a_large_state_is_stored_once_it_was_computed_again(
    launched: list[str],
) -> None:
    weight = matrix(600, 600)
    state = matrix(600, 600)
    assert state.numel() * 4 > SMALL

    def turn() -> None:
        nonlocal state
        state = (state @ weight).tanh()
        (state @ weight).sum().item()

    counts = launches_of(6, turn, launched)
    assert len(set(counts[2:])) == 1


def test_a_running_average_keeps_no_history(launched: list[str]) -> None:
    average = Tensor(0.0)

    def turn() -> None:
        nonlocal average
        value = (matrix(16, 16) @ matrix(16, 16)).mean()
        average = 0.9 * average + 0.1 * value
        value.item()

    counts = launches_of(5, turn, launched)
    assert len(set(counts[1:])) == 1
    launched.clear()
    average.item()
    assert not launched


def test_what_has_nothing_to_do_with_it_stays_pending(launched: list[str]) -> None:
    other = matrix(4, 4) @ matrix(4, 4)
    (matrix(8, 8) @ matrix(8, 8)).sum().item()
    launched.clear()
    other.sum().item()
    assert any("contract" in name for name in launched)
