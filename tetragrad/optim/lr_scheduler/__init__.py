"""Learning-rate schedules: functions of the number of ``step()`` calls.

A schedule writes the new rate into each group's "lr"; groups hand it to the step as
a 0-d tensor, so a captured training step follows without being captured again.
"""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import missing
from tetragrad.optim.lr_scheduler.base import (
    LRScheduler,
)
from tetragrad.optim.lr_scheduler.combined import (
    ChainedScheduler,
    ReduceLROnPlateau,
    SequentialLR,
)
from tetragrad.optim.lr_scheduler.cycles import (
    CosineAnnealingWarmRestarts,
    CyclicLR,
    OneCycleLR,
)
from tetragrad.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.optim.lr_scheduler", __all__)
