"""Averaged weights, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.core.errors import SettingError
from tetragrad.optim import swa_utils

torch = pytest.importorskip("torch")

STEPS = 5


def networks() -> tuple[Any, Any]:
    """The same network twice: PyTorch's, and ours with its state."""
    torch.manual_seed(0)
    parts = [(3, 4), (4, 2)]
    made = [
        library.nn.Sequential(
            library.nn.Linear(*parts[0]),
            library.nn.BatchNorm1d(4),
            library.nn.Linear(*parts[1]),
        )
        for library in (torch, tetragrad)
    ]
    state = {
        name: Tensor(value.numpy()) for name, value in made[0].state_dict().items()
    }
    made[1].load_state_dict(state)
    return made[0], made[1]


def batches() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal((8, 3)).astype(np.float32) for _ in range(STEPS)]


def train(library: Any, network: Any, averaged: Any) -> None:
    optimizer = library.optim.SGD(network.parameters(), lr=0.1)
    for batch in batches():
        loss = (network(library.from_numpy(batch)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averaged.update_parameters(network)


def assert_same_states(theirs: Any, ours: Any) -> None:
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            state[name].numpy(), value.numpy(), rtol=2e-5, atol=1e-6, err_msg=name
        )


WAYS: dict[str, Any] = {
    "mean": lambda swa: {},
    "forgetful": lambda swa: {"avg_fn": swa.get_ema_avg_fn(0.6)},
    "all at once": lambda swa: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9)},
    "mean of all at once": lambda swa: {"multi_avg_fn": swa.get_swa_multi_avg_fn()},
    "buffers": lambda swa: {"use_buffers": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_averages(way: str) -> None:
    theirs, ours = networks()
    averages = []
    for library, network in ((torch, theirs), (tetragrad, ours)):
        swa = library.optim.swa_utils
        averaged = swa.AveragedModel(network, **WAYS[way](swa))
        train(library, network, averaged)
        averages.append(averaged)
    assert_same_states(*averages)


def test_a_captured_step_may_average() -> None:
    model = nn.Linear(2, 2)
    averaged = swa_utils.AveragedModel(model)
    optimizer = optim.SGD(model.parameters(), lr=0.5)

    @tetragrad.jit
    def learn(x: Tensor) -> None:
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        averaged.update_parameters(model)

    weights = []
    for _ in range(STEPS):
        learn(Tensor.ones(1, 2))
        weights.append(model.weight.detach().numpy())
    assert averaged.n_averaged.item() == STEPS
    found = averaged.module.weight.detach().numpy()
    np.testing.assert_allclose(found, np.mean(weights, axis=0), rtol=1e-5)


def test_batch_norms_are_measured_again() -> None:
    theirs, ours = networks()
    inputs = batches()
    torch.optim.swa_utils.update_bn(map(torch.from_numpy, inputs), theirs)
    swa_utils.update_bn(((Tensor(batch), None) for batch in inputs), ours.eval())
    assert_same_states(theirs, ours)
    assert not ours.training and ours[1].momentum == 0.1


@pytest.mark.parametrize("options", [{}, {"anneal_epochs": 3}, {"anneal_epochs": 0}])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_rates(strategy: str, options: dict[str, int]) -> None:
    rates = []
    for library in (torch, tetragrad):
        optimizer = library.optim.SGD(library.nn.Linear(2, 1).parameters(), lr=0.3)
        schedule = library.optim.swa_utils.SWALR(
            optimizer, swa_lr=0.05, anneal_strategy=strategy, **options
        )
        found = []
        for _ in range(12):
            optimizer.step()
            schedule.step()
            found += schedule.get_last_lr()
        rates.append(found)
    np.testing.assert_allclose(rates[1], rates[0], rtol=1e-6)


def test_mistakes() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(SettingError, match="only one can be used"):
        swa_utils.AveragedModel(
            model, None, swa_utils.get_ema_avg_fn(), swa_utils.get_ema_multi_avg_fn()
        )
    with pytest.raises(SettingError, match=r"decay is 1.5"):
        swa_utils.get_ema_avg_fn(1.5)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(SettingError, match="3 rates for 1 groups"):
        swa_utils.SWALR(optimizer, [0.1, 0.2, 0.3])
    with pytest.raises(SettingError, match="'cos' or 'linear'"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="up")
