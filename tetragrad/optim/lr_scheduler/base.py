"""What all schedules share: counting steps, writing rates, saving."""

from __future__ import annotations

from typing import Any

from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: a subclass gives the next rate of a group in ``next_rate``, or those
    of all groups in ``get_lr``.

    ``last_epoch`` counts the calls of ``step()``; -1 starts anew, anything else
    continues a run whose groups have "initial_lr".

    >>> from tetragrad.optim import lr_scheduler
    >>> issubclass(lr_scheduler.StepLR, lr_scheduler.LRScheduler)
    True
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not hasattr(optimizer, "param_groups"):
            raise TypeError(
                f"a schedule is for an optimiser, not for: {type(optimizer).__name__}"
                "\nhint: pass the optimiser first, and then the schedule's numbers"
            )
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
        raise NotImplementedError(
            f"{type(self).__name__} has no next_rate(group, base) and no get_lr()"
        )

    def get_lr(self) -> list[float]:
        """The rates of all groups for ``last_epoch``."""
        groups = zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        return [self.next_rate(group, base) for group, base in groups]

    def step(self, epoch: int | None = None) -> None:
        """Go to the next rate, or to that of a given epoch."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        rates = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
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
