"""Learning-rate schedules: functions of the number of ``step()`` calls.

A schedule writes the new rate into each group's "lr"; groups hand it to the step as
a 0-d tensor, so a captured training step follows without being captured again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tetragrad.optim.optimizer import Optimizer, ParameterGroup


class LRScheduler:
    """Base class: a subclass gives the next rate of a group in ``next_rate``.

    ``last_epoch`` counts the calls of ``step()``; -1 starts anew, anything else
    continues a run whose groups have "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    "a schedule that continues needs 'initial_lr' in every group\n"
                    "hint: load the optimiser's state_dict first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        """The rate for ``last_epoch``, given the current one and the initial one."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Go to the next rate, or to that of a given epoch."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.next_rate(group, base)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The current rate of every group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, and functions that cannot be saved."""
        return {
            name: value
            for name, value in self.__dict__.items()
            if name != "optimizer" and not callable(value)
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """lr = base·f(epoch), with one function, or one for each group.

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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

    >>> from tetragrad import nn, optim
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


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing that starts again after T_0 epochs, then T_0·T_mult, and so on.

    ``step(epoch)`` takes fractions of an epoch too.

    Source: Loshchilov and Hutter, 2016.

    >>> from tetragrad import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=1)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 <= 0 or T_mult < 1:
            raise ValueError(f"T_0 and T_mult must be 1 or more, got {T_0}, {T_mult}")
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        start, length = 0.0, float(self.T_0)
        if self.T_mult == 1:
            start = self.last_epoch // self.T_0 * length
        while self.last_epoch >= start + length:
            start, length = start + length, length * self.T_mult
        angle = math.pi * (self.last_epoch - start) / length
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(angle)) / 2


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr, then down far below the start.

    The rise takes ``pct_start`` of the steps; the end is the start divided by
    ``final_div_factor``. ``cycle_momentum`` moves momentum (or β₁) the other way.

    Source: Smith and Topin, "Super-convergence", 2017.

    >>> from tetragrad import nn, optim
    >>> optimizer = optim.AdamW(nn.Linear(2, 1).parameters())
    >>> schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=9)
    >>> schedule.get_last_lr()
    [0.02]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}"
            )
        if not 0 <= pct_start <= 1:
            raise ValueError(f"pct_start lies in [0, 1], got {pct_start}")
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.phases = _one_cycle_phases(total_steps, pct_start, three_phase)
        groups = optimizer.param_groups
        peaks = [max_lr] * len(groups) if isinstance(max_lr, int | float) else max_lr
        for group, peak in zip(groups, peaks, strict=True):
            if last_epoch == -1:
                start = peak / div_factor
                group.update(
                    max_lr=peak, initial_lr=start, min_lr=start / final_div_factor,
                    base_momentum=base_momentum, max_momentum=max_momentum,
                )  # fmt: skip
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        if self.last_epoch >= self.total_steps:
            raise ValueError(
                f"step {self.last_epoch} of a cycle of {self.total_steps} steps"
            )
        start, end, first, last = next(
            phase for phase in self.phases if self.last_epoch <= phase[1]
        )
        share = (self.last_epoch - start) / (end - start)
        if self.cycle_momentum:
            momenta = {
                "max_lr": group["base_momentum"], "initial_lr": group["max_momentum"],
                "min_lr": group["max_momentum"],
            }  # fmt: skip
            momentum = self._between(momenta[first], momenta[last], share)
            _set_momentum(group, momentum)
        return self._between(group[first], group[last], share)

    def _between(self, first: float, last: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return first + (last - first) * share
        return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


def _one_cycle_phases(
    total_steps: int, pct_start: float, three_phase: bool
) -> list[tuple[float, float, str, str]]:
    """Each phase: its first and last step, the rates at its two ends."""
    top = pct_start * total_steps - 1
    last = total_steps - 1
    if not three_phase:
        return [(0, top, "initial_lr", "max_lr"), (top, last, "max_lr", "min_lr")]
    down = 2 * pct_start * total_steps - 2
    return [
        (0, top, "initial_lr", "max_lr"),
        (top, down, "max_lr", "initial_lr"),
        (down, last, "initial_lr", "min_lr"),
    ]


def _set_momentum(group: ParameterGroup, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    elif "momentum" in group:
        group["momentum"] = momentum
    else:
        raise ValueError(
            "this optimiser has no momentum to cycle\nhint: pass cycle_momentum=False"
        )


class CyclicLR(LRScheduler):
    """Back and forth between base_lr and max_lr in straight lines.

    ``mode`` 'triangular2' halves the range every cycle, 'exp_range' scales it by
    gamma^step; ``scale_fn`` overrides both, as a function of the cycle or (with
    ``scale_mode='iterations'``) of the step.

    Source: Smith, "Cyclical learning rates for training neural networks", 2015.

    >>> from tetragrad import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1, momentum=0.9)
    >>> schedule = optim.lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, step_size_up=4)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float,
        max_lr: float,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(f"no mode {mode!r}: triangular, triangular2 or exp_range")
        self.max_lr = max_lr
        self.step_size_up = step_size_up
        self.step_size_down = step_size_up if step_size_down is None else step_size_down
        self.mode = mode
        self.gamma = gamma
        self.scale_fn = scale_fn
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        self.base_momentum = base_momentum
        self.max_momentum = max_momentum
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.update(lr=base_lr, initial_lr=base_lr)
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        length = self.step_size_up + self.step_size_down
        cycle, position = divmod(self.last_epoch, length)
        if position <= self.step_size_up:
            height = position / self.step_size_up
        else:
            height = (length - position) / self.step_size_down
        height *= self._scale(cycle + 1)
        if self.cycle_momentum:
            span = self.max_momentum - self.base_momentum
            _set_momentum(group, self.max_momentum - span * height)
        return base + (self.max_lr - base) * height

    def _scale(self, cycle: int) -> float:
        if self.scale_fn is not None:
            by_cycle = self.scale_mode == "cycle"
            return self.scale_fn(cycle if by_cycle else self.last_epoch)
        if self.mode == "triangular2":
            return 2.0 ** (1 - cycle)
        return self.gamma**self.last_epoch if self.mode == "exp_range" else 1.0


class SequentialLR:
    """One schedule after another, changing over at the ``milestones``.

    >>> from tetragrad import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> warmup = optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
    >>> decay = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=95)
    >>> schedule = optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], [5])
    >>> schedule.get_last_lr()
    [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[Any],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if len(schedulers) != len(milestones) + 1:
            raise ValueError(
                f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones, "
                f"got {len(milestones)}"
            )
        if any(schedule.optimizer is not optimizer for schedule in schedulers):
            raise ValueError("all schedules must belong to the optimiser")
        self.optimizer = optimizer
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Every schedule took its first step when it was made; only the first one's
        # may stay.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for schedule in self._schedulers:
            schedule.last_epoch -= 1
        self._schedulers[0].step()
        self._last_lr = self._schedulers[0].get_last_lr()

    def step(self) -> None:
        """Go to the next rate."""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            schedule.step(0)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()

    def get_last_lr(self) -> list[float]:
        """The current rate of every group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """The position, and the state of every schedule."""
        return {
            "last_epoch": self.last_epoch,
            "_milestones": self._milestones,
            "_last_lr": self._last_lr,
            "_schedulers": [schedule.state_dict() for schedule in self._schedulers],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        own = dict(state_dict)
        saved = own.pop("_schedulers")
        self.__dict__.update(own)
        for schedule, state in zip(self._schedulers, saved, strict=True):
            schedule.load_state_dict(state)


class ChainedScheduler:
    """Several schedules at once: each changes the rate the one before left.

    >>> from tetragrad import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> first = optim.lr_scheduler.ConstantLR(optimizer, factor=0.5)
    >>> second = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = optim.lr_scheduler.ChainedScheduler([first, second])
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(
        self, schedulers: Sequence[Any], optimizer: Optimizer | None = None
    ) -> None:
        self._schedulers = list(schedulers)
        if not self._schedulers:
            raise ValueError("ChainedScheduler needs at least one schedule")
        self.optimizer = optimizer or self._schedulers[0].optimizer
        if any(s.optimizer is not self.optimizer for s in self._schedulers):
            raise ValueError("all schedules must belong to one optimiser")
        self._remember()

    def _remember(self) -> None:
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Go to the next rate."""
        for schedule in self._schedulers:
            schedule.step()
        self._remember()

    def get_last_lr(self) -> list[float]:
        """The current rate of every group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """The state of every schedule."""
        states = [schedule.state_dict() for schedule in self._schedulers]
        return {"_last_lr": self._last_lr, "_schedulers": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self._last_lr = state_dict["_last_lr"]
        saved = state_dict["_schedulers"]
        for schedule, state in zip(self._schedulers, saved, strict=True):
            schedule.load_state_dict(state)


class ReduceLROnPlateau:
    """lr ← lr·factor when a metric has not improved for ``patience`` epochs.

    >>> from tetragrad import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    >>> for loss in (1.0, 1.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= factor < 1:
            raise ValueError(f"factor lies in [0, 1), got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                "mode is 'min' or 'max' and threshold_mode 'rel' or 'abs', not "
                f"{mode!r} and {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        count = len(optimizer.param_groups)
        is_number = isinstance(min_lr, int | float)
        self.min_lrs = [min_lr] * count if is_number else list(min_lr)
        self.eps = eps
        self.last_epoch = 0
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.best = math.inf if mode == "min" else -math.inf
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: Any) -> None:
        """Report the metric of an epoch: a number or a tensor of one element."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, current: float) -> bool:
        # As "larger is better", with the bar a little above the best so far.
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "abs":
            return sign * current > sign * self.best + self.threshold
        return sign * current > sign * self.best * (1 + sign * self.threshold)

    def _reduce(self) -> None:
        for group, low in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            rate = max(group["lr"] * self.factor, low)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate

    def get_last_lr(self) -> list[float]:
        """The current rate of every group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {
            name: value for name, value in self.__dict__.items() if name != "optimizer"
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.__dict__.update(state_dict)
