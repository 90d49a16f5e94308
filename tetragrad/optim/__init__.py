"""Optimisers and learning-rate schedules, with PyTorch's names and arguments."""

from __future__ import annotations

import importlib
from typing import Any

from tetragrad.core.errors import missing
from tetragrad.optim import lr_scheduler
from tetragrad.optim.adam import LAMB, Adam, Adamax, AdamW, Lion, NAdam, RAdam
from tetragrad.optim.adaptive import Adadelta, Adafactor, Adagrad, RMSprop, Rprop
from tetragrad.optim.averaged import ASGD
from tetragrad.optim.lbfgs import LBFGS
from tetragrad.optim.muon import Muon
from tetragrad.optim.optimizer import Optimizer, OptimizerStateError
from tetragrad.optim.sgd import LARS, SGD

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "OptimizerStateError",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "swa_utils",
]


def __getattr__(name: str) -> Any:
    # It needs modules, which optimisers do not.
    if name == "swa_utils":
        return importlib.import_module("tetragrad.optim.swa_utils")
    raise missing(name, "tetragrad.optim", __all__)
