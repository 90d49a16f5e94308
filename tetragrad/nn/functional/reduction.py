"""What becomes of the losses of single elements: their mean, their sum, or nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

from tetragrad.tensor import Tensor
from tetragrad.tensor.losses import reduced

_REDUCTIONS = ("mean", "sum", "none")

P = ParamSpec("P")


def check_reduction(reduction: str) -> str:
    """The reduction, if there is one of this name."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction is one of {_REDUCTIONS}, not {reduction!r}")
    return reduction


def weighted_loss(loss: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """The losses times their weights; the mean divides by the weights' sum."""
    weighted = loss * weight
    if reduction == "mean":
        return weighted.sum() / weight.expand(weighted.shape).sum()
    return reduced(weighted, reduction)


def obeys_old_options(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """A loss for which ``size_average`` and ``reduce`` may say the reduction.

    PyTorch had them before ``reduction``, which they overrule.
    """
    signature = inspect.signature(loss)
    reduced_loss: Callable[..., Tensor] = loss
    first_old = list(signature.parameters).index("size_average")

    @functools.wraps(loss)
    def obeying(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if len(args) <= first_old and not {"size_average", "reduce"} & kwargs.keys():
            return loss(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        averages = given.arguments.pop("size_average", None)
        reduces = given.arguments.pop("reduce", None)
        if reduces is False:
            given.arguments["reduction"] = "none"
        elif averages is not None or reduces is not None:
            given.arguments["reduction"] = "sum" if averages is False else "mean"
        return reduced_loss(**given.arguments)

    return obeying
