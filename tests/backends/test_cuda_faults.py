"""A fault of the GPU names the kernel and the user's line; none of this needs a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from tetragrad.backends.cuda import driver, faults
from tetragrad.backends.cuda.device import CudaDevice
from tetragrad.backends.cuda.faults import Progress


class Counted:
    """A counter that a GPU has written to."""

    def __init__(self, context: object) -> None:
        self.value = 0
        self.asked: list[int] = []

    def follow(self, number: int) -> None:
        self.asked.append(number)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> CudaDevice:
    """A device that has launched three kernels, of which one has run."""
    monkeypatch.setattr(faults, "Counter", Counted)
    found = object.__new__(CudaDevice)
    found.name = "cuda"
    found.progress = Progress(object())  # type: ignore[arg-type]
    for name in ("first", "second", "third"):
        found.progress.launched(name)
    found.progress._counter.value = 1  # type: ignore[misc]
    return found


def test_the_first_kernel_that_was_not_counted_is_to_blame(device: CudaDevice) -> None:
    culprit = device.progress.culprit()
    assert culprit is not None
    assert (culprit.number, culprit.name, culprit.file) == (2, "second", __file__)


def test_faults_name_it_once(device: CudaDevice) -> None:
    with (
        pytest.raises(driver.GpuFault, match=r"cuda stopped in kernel second, .*\.py:"),
        device.blaming(),
        device.blaming(),
    ):
        raise driver.GpuFault("waiting for the GPU")


def test_nothing_is_blamed_when_all_have_run(device: CudaDevice) -> None:
    device.progress._counter.value = 3  # type: ignore[misc]
    assert device.progress.culprit() is None


def test_a_launch_or_an_allocation_that_fails_names_it(device: CudaDevice) -> None:
    def fail(*arguments: object) -> None:
        raise driver.GpuFault("asking the driver")

    device.context = SimpleNamespace(lock=nullcontext(), use=list, stream=None)  # type: ignore[assignment]
    device.pool = SimpleNamespace(allocate=fail)  # type: ignore[assignment]
    with pytest.raises(driver.GpuFault, match="cuda stopped in kernel second"):
        device.allocate(100)
    with pytest.raises(driver.GpuFault, match="cuda stopped in kernel second"):
        device.start(SimpleNamespace(launch=fail))  # type: ignore[arg-type]
