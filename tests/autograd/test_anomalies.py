"""NaN in gradients is an error where that is asked for, and names the operation."""

from __future__ import annotations

import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.autograd import detect_anomaly, set_detect_anomaly
from tetragrad.core.errors import GradientError


def bad(values: list[float]) -> Tensor:
    x = Tensor(values, requires_grad=True)
    return tetragrad.where(x > 0, x.sqrt() * x.abs().sqrt(), 0.0).sum()


def test_the_operation_is_named() -> None:
    x = Tensor([[4.0, 0.0]], requires_grad=True)
    with detect_anomaly(), pytest.raises(GradientError, match=r"sqrt.*\(1, 2\)"):
        (x.sqrt() * 0.0).sum().backward()
    assert x.grad is None
    with detect_anomaly(), pytest.raises(GradientError, match="NaN"):
        tetragrad.grad((x.sqrt() * 0.0).sum(), x)


def test_what_is_masked_later_is_found_too() -> None:
    with detect_anomaly(), pytest.raises(GradientError):
        bad([1.0, -1.0]).backward()


def test_good_gradients_are_the_same() -> None:
    x = Tensor([1.0, 4.0], requires_grad=True)
    with detect_anomaly():
        (x.sqrt() * 3.0).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.5, 0.75]


def test_modes_end() -> None:
    with set_detect_anomaly(True):
        with detect_anomaly(check_nan=False):
            bad([0.0]).backward()
        with pytest.raises(GradientError):
            bad([0.0]).backward()
    bad([0.0]).backward()
    set_detect_anomaly(True)
    with pytest.raises(GradientError):
        bad([0.0]).backward()
    set_detect_anomaly(False)
    bad([0.0]).backward()


def test_a_mode_that_is_not_entered_changes_nothing() -> None:
    detect_anomaly()
    x = Tensor([0.0], requires_grad=True)
    (x.sqrt() * 0).sum().backward()
    assert x.grad is not None
    assert x.grad.isnan().all().item()
