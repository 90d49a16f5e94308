"""Schedules that go up and down again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.lr_scheduler.base import LRScheduler
from tetragrad.optim.optimizer import Optimizer


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing that starts again after T_0 epochs, then T_0·T_mult, and so on.

    ``step(epoch)`` takes fractions of an epoch too.

    Source: Loshchilov and Hutter, 2016.

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

    >>> optimizer = optim.AdamW(nn.Linear(2, 1).parameters())
    >>> schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=9)
    >>> round(schedule.get_last_lr()[0], 6)
    0.02
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
        # A loop that steps after every batch asks once more than there are rates:
        # the last phase is continued for it, as in PyTorch.
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"step {self.last_epoch} of a cycle of {self.total_steps} steps\n"
                "hint: give OneCycleLR the total_steps of the whole training"
            )
        start, end, first, last = next(
            (phase for phase in self.phases if self.last_epoch <= phase[1]),
            self.phases[-1],
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
