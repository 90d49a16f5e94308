"""What optimisers and schedules promise, without PyTorch."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, nn, optim
from tetragrad.core.errors import ShapeError, UnsupportedError
from tetragrad.optim.muon import orthogonalize


def parameter(value: Any = (1.0, -2.0)) -> Tensor:
    return Tensor(np.array(value, np.float32), requires_grad=True)


def descend(optimizer: Any, tensor: Tensor, steps: int) -> list[float]:
    for _ in range(steps):
        optimizer.zero_grad()
        (tensor * tensor).sum().backward()
        optimizer.step()
    return tensor.tolist()


ALL: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("LARS", {"lr": 1.0, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1}),
    ("NAdam", {"lr": 0.1}),
    ("RAdam", {"lr": 0.1}),
    ("Adamax", {"lr": 0.1}),
    ("LAMB", {"lr": 0.1, "weight_decay": 0.1}),
    ("Lion", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1}),
    ("Adadelta", {}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.5}),
    ("Rprop", {"lr": 0.1}),
    ("Adafactor", {"lr": 0.1}),
    ("Muon", {"lr": 0.1}),
]


@pytest.mark.parametrize("name, options", ALL, ids=[name for name, _ in ALL])
def test_a_saved_state_resumes_exactly(name: str, options: dict[str, Any]) -> None:
    start = [[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]]
    straight = parameter(start)
    expected = descend(getattr(optim, name)([straight], **options), straight, 6)
    first = parameter(start)
    optimizer = getattr(optim, name)([first], **options)
    descend(optimizer, first, 3)
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    second = parameter(first.tolist())
    resumed = getattr(optim, name)([second], lr=123.0)
    resumed.load_state_dict(saved)
    assert descend(resumed, second, 3) == expected
    assert np.square(expected).sum() < np.square(start).sum()


def test_lamb_takes_steps_as_long_as_the_parameter() -> None:
    tensor = parameter([3.0, 4.0])
    optimizer = optim.LAMB([tensor], lr=0.1, eps=0.0)
    before = np.array(tensor.tolist())
    descend(optimizer, tensor, 1)
    # The first update is the sign of the gradient, scaled to the norm, 5.
    expected = before - 0.1 * 5 * np.sign(before) / np.sqrt(2)
    np.testing.assert_allclose(tensor.tolist(), expected, rtol=1e-6)


def test_lars_follows_its_formula() -> None:
    tensor = parameter([3.0, 4.0])
    optimizer = optim.LARS([tensor], lr=2.0, weight_decay=0.5, trust_coefficient=0.1)
    descend(optimizer, tensor, 1)
    rate = 0.1 * 5 / (10 + 0.5 * 5)
    expected = np.array([3, 4]) * (1 - 2 * rate * 2.5)
    np.testing.assert_allclose(tensor.tolist(), expected, rtol=1e-6)


def test_lion_steps_by_signs() -> None:
    tensor = parameter([3.0, -4.0])
    descend(optim.Lion([tensor], lr=0.5), tensor, 1)
    assert tensor.tolist() == [2.5, -3.5]


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_orthogonalize_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(3).normal(size=shape)
    values = np.linalg.svd(orthogonalize(Tensor(matrix)).numpy(), compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_muon_refuses_what_is_not_a_matrix() -> None:
    with pytest.raises(ShapeError, match="Muon trains matrices"):
        optim.Muon([parameter()])


def test_each_group_has_options_of_its_own() -> None:
    first, second = parameter([1.0]), parameter([1.0])
    optimizer = optim.SGD([{"params": [first]}, {"params": second, "lr": 0.25}], lr=0.5)
    (first + second).sum().backward()
    optimizer.step()
    assert (first.tolist(), second.tolist()) == ([0.5], [0.75])


def test_a_changed_rate_is_used_by_the_next_step() -> None:
    tensor = parameter([1.0])
    optimizer = optim.SGD([tensor], lr=0.5)
    optimizer.param_groups[0]["lr"] = 0.125
    tensor.sum().backward()
    optimizer.step()
    assert tensor.tolist() == [0.875]


def test_a_rate_may_be_a_tensor() -> None:
    tensor, rate = parameter([1.0]), Tensor(0.5)
    optimizer = optim.SGD([tensor], lr=rate)
    tensor.sum().backward()
    rate.fill_(0.25)
    optimizer.step()
    assert tensor.tolist() == [0.75]


def test_parameters_without_gradient_stay_and_keep_their_own_step_count() -> None:
    first, second = parameter([1.0]), parameter([1.0])
    optimizer = optim.Adam([first, second], lr=0.1)
    first.sum().backward()
    optimizer.step()
    optimizer.step()
    assert second.tolist() == [1.0]
    second.sum().backward()
    optimizer.step()
    counts = [optimizer.state[entry]["step"].item() for entry in (first, second)]
    assert counts == [3.0, 1.0]
    # Its first step has the size of a first step.
    assert second.tolist() == pytest.approx([0.9])


def test_parameters_stepped_together_share_a_count() -> None:
    first, second = parameter([1.0]), parameter([1.0])
    optimizer = optim.Adam([first, second])
    assert optimizer.state[first]["step"] is optimizer.state[second]["step"]
    optimizer.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert optimizer.state[first]["step"] is optimizer.state[second]["step"]


def test_step_calls_a_closure_with_gradients_on() -> None:
    tensor = parameter([2.0])
    optimizer = optim.SGD([tensor], lr=0.25)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (tensor * tensor).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert tensor.tolist() == [1.0]


def test_zero_grad_forgets_or_fills() -> None:
    tensor = parameter([2.0])
    optimizer = optim.SGD([tensor])
    tensor.sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert tensor.grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert tensor.grad is None


def test_half_precision_parameters_are_updated_in_single_precision() -> None:
    tensor = Tensor([1.0, 2.0], dtype="bfloat16", requires_grad=True)
    optimizer = optim.Adam([tensor], lr=0.25)
    descend(optimizer, tensor, 1)
    assert tensor.tolist() == [0.75, 1.75]
    assert tensor.dtype.name == "bfloat16"


def test_a_model_learns_a_line() -> None:
    model = nn.Linear(1, 1)
    optimizer = optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    x = Tensor(np.linspace(-1, 1, 8, dtype=np.float32).reshape(-1, 1))
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), 3 * x + 1)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-2


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: optim.SGD([]), "got no parameters"),
        (lambda p: optim.SGD(p), "not one tensor"),
        (lambda p: optim.SGD([p, p]), "appears twice"),
        (lambda p: optim.SGD([1.0]), "trains tensors, not float"),
        (lambda p: optim.SGD([p * 2]), "result of an operation"),
        (lambda p: optim.SGD([p], lr=-1), "lr must be at least 0, got -1"),
        (lambda p: optim.SGD([p], nesterov=True), "Nesterov momentum needs"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), r"betas\[1\] must be"),
        (lambda p: optim.Adam([p], speed=1), "no option 'speed'"),
        (lambda p: optim.Muon([p], adjust_lr_fn="x"), "adjust_lr_fn is"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(parameter())


def test_differentiable_steps_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="do not flow"):
        optim.Adam([parameter()], differentiable=True)


def test_a_state_of_other_groups_is_refused() -> None:
    saved = optim.SGD([parameter(), parameter()]).state_dict()
    with pytest.raises(optim.OptimizerStateError, match=r"groups of \[2\].*of \[1\]"):
        optim.SGD([parameter()]).load_state_dict(saved)


def test_a_missing_name_suggests_another() -> None:
    with pytest.raises(AttributeError, match="did you mean 'AdamW'"):
        _ = optim.AdamWW


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 2}),
    ("CosineAnnealingLR", {"T_max": 5}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 20}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 2}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.5**epoch}),
]


@pytest.mark.parametrize("name, options", SCHEDULES, ids=[n for n, _ in SCHEDULES])
def test_a_saved_schedule_resumes(name: str, options: dict[str, Any]) -> None:
    def make() -> tuple[Any, Any]:
        optimizer = optim.SGD([parameter()], lr=1.0, momentum=0.9)
        return optimizer, getattr(optim.lr_scheduler, name)(optimizer, **options)

    optimizer, schedule = make()
    for _ in range(3):
        schedule.step()
    saved = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    resumed_optimizer, resumed = make()
    resumed_optimizer.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    for _ in range(4):
        schedule.step()
        resumed.step()
        assert resumed.get_last_lr() == schedule.get_last_lr()
    assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_a_saved_sequence_resumes() -> None:
    def make() -> Any:
        optimizer = optim.SGD([parameter()], lr=1.0)
        warmup = optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3)
        decay = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [3])

    first, second = make(), make()
    for _ in range(2):
        first.step()
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(4):
        first.step()
        second.step()
        assert second.get_last_lr() == first.get_last_lr()
