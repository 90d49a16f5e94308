"""Every optimiser that PyTorch has, step by step against it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, optim

torch = pytest.importorskip("torch")

STEPS = 8
GENERATOR = np.random.default_rng(0)
MATRIX = GENERATOR.normal(size=(3, 2))
VECTOR = GENERATOR.normal(size=3)
TARGETS = GENERATOR.normal(size=(STEPS, 3))

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "fused": False, "foreach": False}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.95), "decoupled_weight_decay": True}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 1.0, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.1}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 2, "weight_decay": 0.1}),
    ("ASGD", {"lr": 1e-3, "alpha": 0.5, "maximize": True}),
]


def train(library: Any, optimizer: Any, parameters: list[Any], steps: range) -> None:
    """A linear model with another target at every step."""
    matrix, vector = parameters
    for step in steps:
        optimizer.zero_grad()
        target = library(TARGETS[step])
        output = (matrix * matrix).sum(1) * vector + matrix.select(1, 0)
        ((output - target) ** 2).sum().backward()
        optimizer.step()


def our_parameters() -> list[Tensor]:
    return [Tensor(value, requires_grad=True) for value in (MATRIX, VECTOR)]


def their_parameters() -> list[Any]:
    return [torch.tensor(value, requires_grad=True) for value in (MATRIX, VECTOR)]


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_optimizer(case: Any) -> None:
    name, options = case
    mine, reference = our_parameters(), their_parameters()
    ours = getattr(optim, name)(mine, **options)
    theirs = getattr(torch.optim, name)(reference, **options)
    train(Tensor, ours, mine, range(STEPS))
    train(torch.tensor, theirs, reference, range(STEPS))
    for value, expected in zip(mine, reference, strict=True):
        np.testing.assert_allclose(value.tolist(), expected.tolist(), rtol=1e-6)


def test_muon_moves_like_pytorch() -> None:
    # PyTorch orthogonalises in bfloat16, so the directions agree to its digits.
    gradient = GENERATOR.normal(size=(4, 6))
    mine = Tensor(np.zeros((4, 6)), requires_grad=True)
    reference = torch.zeros(4, 6, requires_grad=True, dtype=torch.float64)
    ours, theirs = optim.Muon([mine], lr=0.1), torch.optim.Muon([reference], lr=0.1)
    for _ in range(3):
        mine.grad, reference.grad = Tensor(gradient), torch.tensor(gradient)
        ours.step()
        theirs.step()
    np.testing.assert_allclose(mine.tolist(), reference.tolist(), atol=0.01)


def test_pytorch_state_continues_here() -> None:
    options = {"lr": 0.1, "weight_decay": 0.2}
    mine, reference = our_parameters(), their_parameters()
    theirs = torch.optim.AdamW(reference, **options)
    train(torch.tensor, theirs, reference, range(4))
    ours = optim.AdamW(mine, lr=1.0)
    for target, source in zip(mine, reference, strict=True):
        target.detach().copy_(Tensor(source.detach().numpy()))
    ours.load_state_dict(theirs.state_dict())
    train(torch.tensor, theirs, reference, range(4, STEPS))
    train(Tensor, ours, mine, range(4, STEPS))
    for value, expected in zip(mine, reference, strict=True):
        np.testing.assert_allclose(value.tolist(), expected.tolist(), rtol=1e-6)


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("MultiplicativeLR", {"lr_lambda": lambda epoch: 0.9}),
    ("StepLR", {"step_size": 4, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 3, 10], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 6}),
    ("PolynomialLR", {"total_iters": 12, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30}),
    (
        "OneCycleLR",
        {"max_lr": 0.5, "epochs": 4, "steps_per_epoch": 10, "three_phase": True},
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.5, "total_steps": 40, "anneal_strategy": "linear"},
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3}),
    (
        "CyclicLR",
        {
            "base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3, "step_size_down": 5,
            "mode": "triangular2",
        },
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3, "mode": "exp_range",
            "gamma": 0.9,
        },
    ),
]  # fmt: skip


def pair(**options: Any) -> tuple[Any, Any]:
    """The same optimiser in both libraries, with two groups."""
    optimizers = []
    for library, make in ((optim, Tensor), (torch.optim, torch.tensor)):
        first, second = (make([1.0], requires_grad=True) for _ in range(2))
        groups = [{"params": [first]}, {"params": [second], "lr": 0.3}]
        optimizers.append(library.SGD(groups, lr=0.2, momentum=0.9, **options))
    return optimizers[0], optimizers[1]


def rates(optimizer: Any) -> list[float]:
    return [
        value
        for group in optimizer.param_groups
        for value in (group["lr"], group["momentum"])
    ]


@pytest.mark.parametrize(
    "case", SCHEDULES, ids=lambda case: f"{case[0]}{list(case[1])}"
)
def test_schedule(case: Any) -> None:
    name, options = case
    ours, theirs = pair()
    mine = getattr(optim.lr_scheduler, name)(ours, **options)
    reference = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    for _ in range(30):
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-9, abs=1e-12)
        assert mine.get_last_lr() == pytest.approx(reference.get_last_lr())
        theirs.step()
        mine.step()
        reference.step()
    assert rates(ours) == pytest.approx(rates(theirs), rel=1e-9, abs=1e-12)


def test_one_cycle_ends() -> None:
    ours, _ = pair()
    schedule = optim.lr_scheduler.OneCycleLR(ours, max_lr=0.5, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match=r"step 4 of a cycle of 3 steps"):
        schedule.step()


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {"patience": 0, "mode": "max", "threshold": 0.5, "threshold_mode": "abs"},
        {"patience": 0, "cooldown": 2, "min_lr": 0.05, "factor": 0.5},
    ],
    ids=str,
)
def test_reduce_on_plateau(options: dict[str, Any]) -> None:
    ours, theirs = pair()
    mine = optim.lr_scheduler.ReduceLROnPlateau(ours, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for epoch in range(30):
        metric = 1 / (1 + epoch // 4) + 0.1 * (epoch % 3)
        mine.step(metric)
        reference.step(metric)
        assert rates(ours) == pytest.approx(rates(theirs))


def combined(library: Any, optimizer: Any) -> tuple[Any, Any]:
    schedules = library.lr_scheduler
    sequence = schedules.SequentialLR(
        optimizer,
        [
            schedules.LinearLR(optimizer, 0.1, total_iters=4),
            schedules.CosineAnnealingLR(optimizer, T_max=10),
            schedules.ExponentialLR(optimizer, gamma=0.9),
        ],
        milestones=[4, 12],
    )
    return sequence, schedules


def test_schedules_in_sequence() -> None:
    ours, theirs = pair()
    mine, _ = combined(optim, ours)
    reference, _ = combined(torch.optim, theirs)
    for _ in range(30):
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-9)
        theirs.step()
        mine.step()
        reference.step()


def test_schedules_in_a_chain() -> None:
    ours, theirs = pair()
    chains = []
    for library, optimizer in ((optim, ours), (torch.optim, theirs)):
        schedules = library.lr_scheduler
        parts = [
            schedules.ConstantLR(optimizer, factor=0.1, total_iters=3),
            schedules.ExponentialLR(optimizer, gamma=0.9),
            schedules.CosineAnnealingLR(optimizer, T_max=9),
        ]
        chains.append(schedules.ChainedScheduler(parts, optimizer=optimizer))
    for _ in range(30):
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-9)
        theirs.step()
        for chain in chains:
            chain.step()
