"""What optimisers have in common besides their steps: options within bounds."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tetragrad.core.errors import UnsupportedError
from tetragrad.optim.optimizer import HINTS, Optimizer
from tetragrad.tensor import Tensor

#: An option is at least the first number and less than the second.
Bounds = tuple[float, float]

NOT_NEGATIVE: Bounds = (0, math.inf)
SHARE: Bounds = (0, 1)
AT_LEAST_ONE: Bounds = (1, math.inf)


class CheckedOptimizer(Optimizer):
    """An optimiser that refuses options which are out of bounds or unknown.

    Args:
        hints: PyTorch's options on how to run a step, which change nothing here.
        options: the others, which groups may have for themselves.
    """

    #: What options may be; of a pair, both of its numbers.
    bounds: ClassVar[Mapping[str, Bounds]] = {}

    def __init__(
        self, params: Iterable[Any], hints: Mapping[str, Any], **options: Any
    ) -> None:
        _check_hints(type(self).__name__, hints, options)
        for name, bounds in self.bounds.items():
            value = options[name]
            if isinstance(value, tuple):
                for index, entry in enumerate(value):
                    check_bounds(f"{name}[{index}]", entry, bounds)
            else:
                check_bounds(name, value, bounds)
        super().__init__(params, options)


def nonnegative(*names: str) -> dict[str, Bounds]:
    """The bounds of options that are 0 or more."""
    return dict.fromkeys(names, NOT_NEGATIVE)


def check_bounds(name: str, value: Any, bounds: Bounds) -> None:
    """Refuse an option that is out of bounds; a tensor's value is not looked at."""
    low, high = bounds
    if not isinstance(value, Tensor | numbers.Real):
        raise TypeError(f"{name} is a number, not the {type(value).__name__} {value!r}")
    if isinstance(value, Tensor) or low <= float(value) < high:
        return
    limit = "" if high == math.inf else f" and below {high}"
    raise ValueError(f"{name} must be at least {low}{limit}, got {value}")


def _check_hints(
    optimizer: str, hints: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Accept the options that change nothing here, and refuse unknown ones."""
    for name, value in hints.items():
        if name not in HINTS:
            raise TypeError(
                f"{optimizer} has no option {name!r}\n"
                f"hint: its options are {', '.join(options)}"
            )
        if name == "differentiable" and value:
            raise UnsupportedError(
                "gradients do not flow through optimiser steps",
                hint="write a step to differentiate through as p = p - lr * g",
            )
