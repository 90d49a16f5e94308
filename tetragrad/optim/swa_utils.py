"""Averages of a model's weights over training, with PyTorch's names and arguments.

    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    ...                                             # after each optimizer.step():
    averaged.update_parameters(model)

Sources: Izmailov et al., "Averaging weights leads to wider optima and better
generalization", 2018 (SWA); Polyak and Juditsky, "Acceleration of stochastic
approximation by averaging", 1992.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tetragrad import nn
from tetragrad.core.errors import SettingError
from tetragrad.optim.groups import ParameterGroup
from tetragrad.optim.lr_scheduler import LRScheduler
from tetragrad.optim.optimizer import Optimizer
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.creation import tensor
from tetragrad.tensor.modes import no_grad

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

#: From an average, a model's value and how many there were before, the next average.
Average = Callable[[Tensor, Tensor, Tensor], Tensor]
#: The same for lists, in place.
AverageOfAll = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]


# --- ways to average ------------------------------------------------------------------


def get_swa_avg_fn() -> Average:
    """The mean of all values: avg + (value - avg) / (count + 1).

    >>> from tetragrad.optim import swa_utils
    >>> swa_utils.get_swa_avg_fn()(Tensor([4.0]), Tensor([7.0]), Tensor(2))
    tensor([5.])
    """

    def average(averaged: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return averaged + (value - averaged) / (count + 1)

    return average


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """A mean that forgets: decay * avg + (1 - decay) * value.

    Raises:
        SettingError: a decay outside of [0, 1].

    >>> from tetragrad.optim import swa_utils
    >>> swa_utils.get_ema_avg_fn(0.5)(Tensor([4.0]), Tensor([6.0]), Tensor(2))
    tensor([5.])
    """
    _check_decay(decay)

    def average(averaged: Tensor, value: Tensor, count: Tensor) -> Tensor:
        return decay * averaged + (1 - decay) * value

    return average


def get_swa_multi_avg_fn() -> AverageOfAll:
    """As ``get_swa_avg_fn``, of all tensors at once.

    >>> from tetragrad.optim import swa_utils
    >>> model = nn.Linear(2, 2)
    >>> average = swa_utils.get_swa_multi_avg_fn()
    >>> averaged = swa_utils.AveragedModel(model, multi_avg_fn=average)
    >>> averaged.update_parameters(model)
    """
    return _of_all(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageOfAll:
    """As ``get_ema_avg_fn``, of all tensors at once.

    >>> from tetragrad.optim import swa_utils
    >>> model = nn.Linear(2, 2)
    >>> average = swa_utils.get_ema_multi_avg_fn(0.999)
    >>> averaged = swa_utils.AveragedModel(model, multi_avg_fn=average)
    >>> averaged.update_parameters(model)
    """
    return _of_all(get_ema_avg_fn(decay))


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise SettingError(
            f"decay is {decay}, and lies in [0, 1]",
            hint="0.999 keeps about the last thousand values",
        )


def _of_all(average: Average) -> AverageOfAll:
    def average_all(
        averaged: Sequence[Tensor], values: Sequence[Tensor], count: Tensor
    ) -> None:
        for mean, value in zip(averaged, values, strict=True):
            mean.copy_(average(mean, value, count))

    return average_all


# --- averaged models ------------------------------------------------------------------


class AveragedModel(nn.Module):
    """A copy of a model whose weights are averages of the model's.

    Args:
        model: what is copied; it goes on learning by itself.
        device: where the copy lives; the model's device if left out.
        avg_fn: how one tensor is averaged; the mean of all values if left out.
        multi_avg_fn: how all of them are, in place; instead of ``avg_fn``.
        use_buffers: average buffers (running statistics), too, and not only copy them.

    Raises:
        SettingError: both functions are given.

    >>> from tetragrad.optim import swa_utils
    >>> model = nn.Linear(1, 1)
    >>> averaged = swa_utils.AveragedModel(model)
    >>> for value in (1.0, 3.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item(), averaged.n_averaged.item()
    (2.0, 2)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: nn.Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: AverageOfAll | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise SettingError(
                "avg_fn and multi_avg_fn are both given, and only one can be used",
                hint="leave one of them out",
            )
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(0))
        if device is not None:
            self.to(device)
        self.avg_fn, self.multi_avg_fn = avg_fn, multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged weights give."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the model's weights as they are now; the first are taken as such."""
        averaged: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(model.parameters())
        buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        if self.use_buffers:
            averaged += [mine for mine, _ in buffers]
            values += [value for _, value in buffers]
        else:
            for mine, value in buffers:
                mine.copy_(value)
        self._average(averaged, [value.detach().to(self._home()) for value in values])
        self.n_averaged += 1

    def _home(self) -> Any:
        return self.n_averaged.device

    def _average(self, averaged: list[Tensor], values: list[Tensor]) -> None:
        # The count is not read: a captured step may average, too.
        is_first = self.n_averaged == 0
        if self.multi_avg_fn is not None:
            self.multi_avg_fn(averaged, values, self.n_averaged)
            means = averaged
        else:
            average = self.avg_fn or get_swa_avg_fn()
            means = [
                average(mean, value, self.n_averaged)
                for mean, value in zip(averaged, values, strict=True)
            ]
        for place, mean, value in zip(averaged, means, values, strict=True):
            place.copy_(where(is_first, value, mean).to(place.dtype))


@no_grad()
def update_bn(loader: Iterable[Any], model: nn.Module, device: Any = None) -> None:
    """Compute the running statistics of batch norms anew, for averaged weights.

    Args:
        loader: batches for the model, or tuples that begin with one.
        model: is left in the mode that it was in.
        device: where batches go first, if given.

    >>> from tetragrad.optim import swa_utils
    >>> model = nn.BatchNorm1d(1)
    >>> swa_utils.update_bn([Tensor([[1.0], [3.0]]), Tensor([[5.0], [7.0]])], model)
    >>> model.running_mean
    tensor([4.])
    """
    norms = [entry for entry in model.modules() if _has_running_statistics(entry)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        # The mean of all batches.
        norm.momentum = None
    for entry in loader:
        batch = entry[0] if isinstance(entry, list | tuple) else entry
        model(batch if device is None else batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


def _has_running_statistics(module: Any) -> bool:
    return hasattr(module, "momentum") and hasattr(module, "reset_running_stats")


# --- the schedule of averaging --------------------------------------------------------


class SWALR(LRScheduler):
    """From a group's rate to ``swa_lr`` in ``anneal_epochs`` steps, and no further.

    Args:
        optimizer: whose groups get "swa_lr".
        swa_lr: one rate, or one for each group.
        anneal_epochs: steps on the way; 0 goes there at once.
        anneal_strategy: "cos" or "linear".
        last_epoch: -1 starts anew.

    Raises:
        SettingError: another strategy, or another number of rates than of groups.

    >>> from tetragrad.optim import swa_utils
    >>> optimizer = optim.SGD(nn.Linear(2, 1).parameters(), lr=1.0)
    >>> schedule = swa_utils.SWALR(optimizer, 0.5, 2, anneal_strategy="linear")
    >>> for _ in range(3):
    ...     schedule.step()
    ...     print(schedule.get_last_lr())
    [0.75]
    [0.5]
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        if anneal_strategy not in ("cos", "linear"):
            raise SettingError(
                f"anneal_strategy is {anneal_strategy!r}",
                hint="it is 'cos' or 'linear'",
            )
        groups = optimizer.param_groups
        rates = [swa_lr] * len(groups) if isinstance(swa_lr, int | float) else swa_lr
        if len(rates) != len(groups):
            raise SettingError(
                f"{len(rates)} rates for {len(groups)} groups of parameters",
                hint="give one number, or one for each group",
            )
        for group, rate in zip(groups, rates, strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs, self.anneal_strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def next_rate(self, group: ParameterGroup, base: float) -> float:
        step = max(1, self.last_epoch) if self.anneal_epochs == 0 else self.last_epoch
        before, now = self._way(step - 1), self._way(step)
        rate, goal = group["lr"], group["swa_lr"]
        # Where the way began, so that others may change the rate on it.
        begin = goal if before == 1.0 else (rate - before * goal) / (1.0 - before)
        return float(goal * now + begin * (1.0 - now))

    def _way(self, step: int) -> float:
        """How much of the way to the last rate is behind after so many steps."""
        part = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        if self.anneal_strategy == "linear":
            return part
        return (1.0 - math.cos(math.pi * part)) / 2.0
