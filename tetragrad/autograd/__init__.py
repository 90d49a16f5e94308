"""Gradients, with the names of ``torch.autograd``.

>>> x = Tensor([3.0], requires_grad=True)
>>> tetragrad.autograd.grad((x * x).sum(), x)
(tensor([6.]),)
"""

from __future__ import annotations

from typing import Any

from tetragrad.autograd import functional
from tetragrad.autograd.checking import GradcheckError, gradcheck, gradgradcheck
from tetragrad.autograd.gradients import backward, grad
from tetragrad.core.errors import missing
from tetragrad.tensor.anomalies import detect_anomaly, set_detect_anomaly
from tetragrad.tensor.autograd import Function
from tetragrad.tensor.early_names import Variable
from tetragrad.tensor.modes import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.autograd", __all__)
