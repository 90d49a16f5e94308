"""Hooks of optimisers, and optimisers and schedules of a user's own."""

from __future__ import annotations

from typing import Any

import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.optim import lr_scheduler


def _parameter() -> Tensor:
    x = Tensor([2.0], requires_grad=True)
    x.grad = Tensor([1.0])
    return x


def test_hooks_run_around_a_step_in_order() -> None:
    seen: list[Any] = []
    optimizer = optim.SGD([_parameter()], lr=0.1)
    optimizer.register_step_pre_hook(lambda *given: seen.append(("pre", given[1])))
    handle = optimizer.register_step_post_hook(lambda *given: seen.append("post"))
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert seen == [("pre", ()), "post", ("pre", ())]


def test_a_hook_replaces_the_arguments_of_a_step() -> None:
    optimizer = optim.SGD([_parameter()], lr=0.1)
    optimizer.register_step_pre_hook(lambda self, args, kwargs: ((lambda: 7,), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda self, args, kwargs: "wrong")
    with pytest.raises(TypeError, match="must return None or a pair"):
        optimizer.step()


def test_every_kind_of_step_calls_hooks_once() -> None:
    seen: list[str] = []
    x = _parameter()
    optimizer = optim.LBFGS([x], max_iter=1)
    optimizer.register_step_post_hook(lambda *given: seen.append("post"))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert seen == ["post"]


def test_hooks_change_states() -> None:
    optimizer = optim.Adam([_parameter()])
    optimizer.register_state_dict_pre_hook(lambda self: self.step())
    optimizer.register_state_dict_post_hook(lambda self, state: state | {"note": 1})
    state = optimizer.state_dict()
    assert state["note"] == 1
    assert state["state"][0]["step"].item() == 1.0
    loaded: list[Any] = []

    def slower(self: Any, state: dict[str, Any]) -> dict[str, Any]:
        group = state["param_groups"][0] | {"lr": 0.5}
        return state | {"param_groups": [group]}

    optimizer.register_load_state_dict_pre_hook(slower)
    optimizer.register_load_state_dict_post_hook(loaded.append)
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert loaded == [optimizer]


class SignedMomentum(optim.Optimizer):
    """An optimiser as PyTorch's users write them."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @tetragrad.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["momentum"] = p.zeros_like()
                state["momentum"].mul_(0.9).add_(p.grad)
                p.add_(state["momentum"].sign(), alpha=-group["lr"])


def test_an_optimiser_with_a_step_of_its_own() -> None:
    model = nn.Linear(1, 1)
    optimizer = SignedMomentum(model.parameters(), lr=0.5)
    schedule = lr_scheduler.StepLR(optimizer, 1, 0.5)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *given: seen.append("pre"))
    before = model.weight.item()
    model(Tensor([[1.0]])).sum().backward()
    optimizer.step()
    schedule.step()
    optimizer.step()
    assert model.weight.item() == pytest.approx(before - 0.75)
    assert seen == ["pre", "pre"]
    again = SignedMomentum(model.parameters(), lr=1.0)
    again.load_state_dict(optimizer.state_dict())
    assert again.state[model.weight]["momentum"].item() == pytest.approx(1.9)
    assert again.param_groups[0]["lr"] == 0.25


class Halving(lr_scheduler.LRScheduler):
    """A schedule as PyTorch's users write them."""

    def get_lr(self) -> list[float]:
        return [base * 0.5**self.last_epoch for base in self.base_lrs]


def test_a_schedule_that_gives_all_rates() -> None:
    optimizer = optim.SGD([_parameter()], lr=1.0)
    schedule = Halving(optimizer)
    schedule.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.25]
    assert optimizer.param_groups[0]["lr"] == 0.25
    with pytest.raises(NotImplementedError, match="no next_rate"):
        lr_scheduler.LRScheduler(optimizer)


def test_an_optimiser_without_any_rule() -> None:
    optimizer = optim.Optimizer([_parameter()], {})
    with pytest.raises(NotImplementedError, match="neither next_value"):
        optimizer.step()
