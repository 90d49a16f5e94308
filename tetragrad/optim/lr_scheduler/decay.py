"""Schedules that warm up or decay, one way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.lr_scheduler.base import LRScheduler
from tetragrad.optim.optimizer import Optimizer


class LambdaLR(LRScheduler):
    """lr = base·f(epoch), with one function, or one for each group.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        count = len(optimizer.param_groups)
        functions = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(functions) != count:
            raise ValueError(f"{len(functions)} functions for {count} groups")
        self.lr_lambdas = functions
        super().__init__(optimizer, last_epoch)

    def step(self, epoch: int | None = None) -> None:
        self._rates = iter(self.lr_lambdas)
        super().step(epoch)
        del self._rates

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        return base * next(self._rates)(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        del state["lr_lambdas"]
        return state


class MultiplicativeLR(LambdaLR):
    """lr ← lr·f(epoch) at every step.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        function = next(self._rates)
        return group["lr"] * function(self.last_epoch) if self.last_epoch > 0 else base


class StepLR(LRScheduler):
    """lr ← lr·gamma every ``step_size`` epochs.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        step_size: int,
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        is_milestone = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return group["lr"] * self.gamma if is_milestone else group["lr"]


class MultiStepLR(LRScheduler):
    """lr ← lr·gamma at each of the ``milestones``.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiStepLR(optimizer, [1, 5], gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        # A milestone that is listed twice counts twice.
        return group["lr"] * self.gamma ** self.milestones[self.last_epoch]


class ExponentialLR(LRScheduler):
    """lr ← lr·gamma every epoch.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, gamma: float, last_epoch: int = -1
    ) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        return group["lr"] * self.gamma if self.last_epoch > 0 else group["lr"]


class ConstantLR(LRScheduler):
    """lr = base·factor for ``total_iters`` epochs, then base.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> optim.lr_scheduler.ConstantLR(optimizer, factor=0.5).get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"factor lies in [0, 1], got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        if self.last_epoch == 0:
            return group["lr"] * self.factor
        if self.last_epoch == self.total_iters:
            return group["lr"] / self.factor
        return group["lr"]


class LinearLR(LRScheduler):
    """lr = base·f, with f going from start_factor to end_factor in total_iters.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.LinearLR(optimizer, 0.5, total_iters=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor lies in (0, 1], got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"end_factor lies in [0, 1], got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        if self.last_epoch == 0:
            return group["lr"] * self.start_factor
        if self.last_epoch > self.total_iters:
            return group["lr"]
        # As a ratio of neighbours, so that schedules can be chained.
        return (
            group["lr"]
            * self._factor(self.last_epoch)
            / self._factor(self.last_epoch - 1)
        )

    def _factor(self, epoch: int) -> float:
        slope = (self.end_factor - self.start_factor) / self.total_iters
        return self.start_factor + slope * epoch


class PolynomialLR(LRScheduler):
    """lr = base·(1 - epoch / total_iters)^power, then 0.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        epoch = self.last_epoch
        if epoch == 0 or epoch > self.total_iters:
            return group["lr"]
        remaining = self.total_iters - epoch
        return group["lr"] * (remaining / (remaining + 1)) ** self.power


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min)·(1 + cos(π·epoch / T_max)) / 2.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
    restarts", 2016.

    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        if self.last_epoch == 0:
            return group["lr"]
        before = 1 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        if (self.last_epoch - 1 - self.T_max) % (2 * self.T_max) == 0:
            # At the bottom the rate is eta_min and says nothing about its scale.
            rise = 1 - math.cos(math.pi / self.T_max)
            return group["lr"] + (base - self.eta_min) * rise / 2
        now = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return now / before * (group["lr"] - self.eta_min) + self.eta_min
