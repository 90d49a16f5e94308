"""Captured training steps give the same bits as uncaptured ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, jit, nn, no_grad, optim

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.3)
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.norm(self.first(x)).relu())
        for layer in self.layers:
            x = x + layer(x).tanh()
        return self.last(x)


class Training:
    """A model, its optimiser, and a step that may be captured."""

    def __init__(self, optimizer: str, *, captures: bool, to_none: bool = True) -> None:
        tetragrad.manual_seed(3)
        self.model = Network()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.to_none = to_none
        self.step = jit(self.run) if captures else self.run
        self.evaluate = jit(self.predict) if captures else self.predict

    def run(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=self.to_none)
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def predict(self, x: Tensor) -> Tensor:
        with no_grad():
            return self.model(x)

    def train(self, steps: int) -> list[Any]:
        """Losses on the way, with a schedule and evaluations; then all state."""
        random = np.random.default_rng(0)
        seen: list[Any] = []
        scheduler = optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)
        for step in range(steps):
            x = Tensor(random.standard_normal((16, 6)).astype(np.float32))
            y = Tensor(random.integers(0, 3, 16))
            seen.append(self.step(x, y).item())
            scheduler.step()
            if step % 3 == 2:
                self.model.eval()
                seen.append(self.evaluate(x).tolist())
                self.model.train()
        seen += [tensor.tolist() for tensor in self.model.state_dict().values()]
        return seen


CASES = [("sgd", False), ("momentum", True), ("adam", False), ("adamw", True)]


@pytest.mark.parametrize(("optimizer", "to_none"), CASES)
def test_training(optimizer: str, to_none: bool) -> None:
    plain = Training(optimizer, captures=False, to_none=to_none).train(8)
    captured = Training(optimizer, captures=True, to_none=to_none)
    assert captured.train(8) == plain
    assert len(captured.step.captures) <= 2
    assert len(captured.evaluate.captures) == 1


def test_replaced_parameter_and_loaded_state() -> None:
    outcomes = []
    for captures in (True, False):
        training = Training("adam", captures=captures)
        seen = training.train(3)
        saved = training.model.state_dict()
        seen += training.train(2)
        training.model.load_state_dict(saved)
        seen += training.train(2)
        training.model.last.weight = nn.Parameter(Tensor.ones(3, 8))
        seen += training.train(2)
        outcomes.append(seen)
    assert outcomes[0] == outcomes[1]


def test_frozen_layer() -> None:
    outcomes = []
    for captures in (True, False):
        training = Training("sgd", captures=captures)
        seen = training.train(3)
        training.model.first.requires_grad_(False)
        seen += training.train(3)
        outcomes.append(seen)
    assert outcomes[0] == outcomes[1]


def test_hand_written_momentum_in_a_list() -> None:
    def run(captures: bool) -> list[Any]:
        weight = Tensor([1.0, 2.0], requires_grad=True)
        moments = [Tensor.zeros(2)]

        def function(x: Tensor) -> Tensor:
            weight.grad = None
            loss = ((weight - x) ** 2).sum()
            loss.backward()
            with no_grad():
                moments[0].copy_(moments[0] * 0.9 + weight.grad)
                weight.sub_(moments[0] * 0.1)
            return loss.detach()

        call = jit(function) if captures else function
        losses = [call(Tensor([float(step), 1.0])).item() for step in range(8)]
        return [losses, weight.tolist(), moments[0].tolist()]

    assert run(True) == run(False)


def test_jit_of_a_module() -> None:
    model = Network().eval()
    captured = jit(model)
    with no_grad():
        for value in range(3):
            x = Tensor.full((2, 6), float(value))
            assert captured(x).tolist() == model(x).tolist()
        assert len(captured.captures) == 1
        model.first.weight.mul_(2)
        assert captured(x).tolist() == model(x).tolist()
        assert len(captured.captures) == 1
