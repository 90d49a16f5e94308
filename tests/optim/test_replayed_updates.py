"""Optimisers replay their own update, and nobody can tell but by the clock."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, nn, optim
from tetragrad.core.settings import override

INPUTS = np.random.default_rng(0).standard_normal((16, 6), np.float32)


def network() -> nn.Sequential:
    rng = np.random.default_rng(1)
    layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    for parameter in layers.parameters():
        values = rng.standard_normal(parameter.shape, np.float32)
        parameter.data = Tensor(values)
    return layers


def train(
    model: nn.Module, optimizer: optim.Optimizer, steps: int, *, first: int = 0
) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss = (model(Tensor(INPUTS)) - step).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights(model: nn.Module) -> list[np.ndarray]:
    return [entry.detach().numpy() for entry in model.parameters()]


MAKERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.01, momentum=0.9),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "radam": lambda p: optim.RAdam(p, lr=0.01),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "rprop": lambda p: optim.Rprop(p, lr=0.01),
    "muon": lambda p: optim.Muon([e for e in p if e.ndim == 2], lr=0.01),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_bits_with_and_without_captures(name: str) -> None:
    found = []
    for jit in (True, False):
        with override(jit=jit):
            model = network()
            losses = train(model, MAKERS[name](model.parameters()), 8)
            found.append((losses, weights(model)))
    (losses, replayed), (wanted_losses, wanted) = found
    assert losses == wanted_losses
    for got, expected in zip(replayed, wanted, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_updates_are_captured_once() -> None:
    model = network()
    optimizer = optim.AdamW(model.parameters())
    train(model, optimizer, 8)
    assert optimizer._replay_update.count == 1


def test_a_schedule_captures_nothing_anew() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    for _ in range(8):
        for parameter in model.parameters():
            parameter.grad = Tensor(np.ones(parameter.shape, np.float32))
        before = weights(model)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        for old, new in zip(before, weights(model), strict=True):
            np.testing.assert_allclose(old - new, rate, rtol=1e-4, atol=1e-6)
    assert optimizer._replay_update.count == 1


def test_parameters_without_gradients_are_left_alone() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    parameters = list(model.parameters())
    for step in range(20):
        optimizer.zero_grad()
        chosen = parameters[step % len(parameters)]
        chosen.grad = Tensor(np.ones(chosen.shape, np.float32))
        before = weights(model)
        optimizer.step()
        for parameter, old in zip(parameters, before, strict=True):
            moved = 1.0 if parameter is chosen else 0.0
            np.testing.assert_allclose(old - parameter.detach().numpy(), moved, 1e-5)


def test_frozen_and_added_parameters_midway() -> None:
    model, extra = network(), nn.Parameter(Tensor(np.zeros(3, np.float32)))
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    train(model, optimizer, 4)
    optimizer.add_param_group({"params": [extra], "lr": 1.0})
    extra.grad = Tensor(np.ones(3, np.float32))
    optimizer.step()
    np.testing.assert_array_equal(extra.detach().numpy(), -np.ones(3))


def test_resuming_gives_the_same_losses() -> None:
    model = network()
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, 5)
    kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    loaded = copy.deepcopy(kept)
    wanted = train(model, optimizer, 5, first=5)
    again = network()
    again.load_state_dict(loaded["model"])
    other = optim.AdamW(again.parameters(), lr=0.01)
    other.load_state_dict(loaded["optimizer"])
    assert train(again, other, 5, first=5) == wanted


def test_copies_and_pickles_step_on_their_own() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, 5)
    for make in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        copied_model, copied = make((model, optimizer))
        wanted = weights(model)
        train(copied_model, copied, 5)
        for old, new in zip(wanted, weights(model), strict=True):
            np.testing.assert_array_equal(old, new)


def test_an_optimiser_of_a_users_own_runs_every_time() -> None:
    calls = []

    class Noting(optim.SGD):
        def next_value(self, value: Tensor, *others: Any) -> Tensor:
            calls.append(float(value.sum()))
            return super().next_value(value, *others)

    model = nn.Linear(2, 1, bias=False)
    optimizer = Noting(model.parameters(), lr=0.1)
    for _ in range(6):
        model.weight.grad = Tensor(np.ones((1, 2), np.float32))
        optimizer.step()
    assert len(calls) == 6
    assert len(set(calls)) == 6
