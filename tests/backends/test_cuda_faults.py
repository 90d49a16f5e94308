"""A fault of the GPU names the kernel and the user's line; none of this needs a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from ctypes import addressof, c_uint32, c_void_p
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tetragrad.backends.cuda import driver, faults
from tetragrad.backends.cuda.device import CudaDevice
from tetragrad.backends.cuda.faults import MARKED, Marks, Progress, Repeated


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


# --- sequences that are repeated -----------------------------------------------------


class Gpu:
    """A driver that records copies, and does as many of them as it is told to."""

    def __init__(self) -> None:
        self.stream, self.beside = c_void_p(1), c_void_p(2)
        self.copies: list[int] = []
        self.cell, self.numbers = c_uint32(99), np.zeros(0)
        #: What waits for what, as pairs of streams.
        self.order: list[tuple[object, object]] = []

    def use(self) -> None:
        """There is one context."""

    def new_stream(self) -> c_void_p:
        return self.beside

    def upload(self, numbers: np.ndarray) -> Any:
        self.numbers = numbers
        return SimpleNamespace(address=1000)

    def call(self, name: str, *arguments: Any, doing: str) -> None:
        if name == "cuMemHostAlloc":
            arguments[0]._obj.value = addressof(self.cell)
        elif name == "cuMemcpyDtoHAsync_v2":
            assert arguments[3] is self.beside
            self.copies.append((arguments[1].value - 1000) // 4)

    def run(self, count: int) -> None:
        """Do so many copies."""
        for place in self.copies[:count]:
            self.cell.value = int(self.numbers[place])


class Event:
    """Notes which stream waits for which."""

    def __init__(self, gpu: Gpu, *, timed: bool) -> None:
        self._gpu, self._after = gpu, None

    def record(self, stream: Any) -> None:
        self._after = stream.value

    def hold(self, stream: Any) -> None:
        self._gpu.order.append((stream.value, self._after))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found = Gpu()
    monkeypatch.setattr(driver, "call", found.call)
    monkeypatch.setattr(driver, "Event", Event)
    return found


def recorded(gpu: Gpu, count: int) -> Repeated:
    """A sequence of so many kernels."""
    marks = Marks(gpu, gpu.upload)  # type: ignore[arg-type]
    marks.prepare()
    for number in range(count):
        marks.before(number)
    marks.end(count)
    return Repeated(tuple(f"k{number}" for number in range(count)), marks)


def test_what_may_be_running_of_a_sequence_is_named(gpu: Gpu) -> None:
    sequence = recorded(gpu, 2 * MARKED + 3)
    assert str(sequence).startswith("k0 or k1 or ")
    gpu.run(1)
    assert str(sequence).startswith(f"k{MARKED} or ")
    gpu.run(2)
    last = " or ".join(f"k{2 * MARKED + number}" for number in range(3))
    count = 2 * MARKED + 3
    wanted = f"{last} ({2 * MARKED + 1} to {count} of {count} that are repeated)"
    assert str(sequence) == wanted
    # At its end the sequence begins anew.
    gpu.run(3)
    assert str(sequence).startswith("k0 or k1 or ")


def test_no_kernel_waits_for_the_count(gpu: Gpu) -> None:
    recorded(gpu, 2 * MARKED + 3)
    *before, last = gpu.order
    assert before == [(2, 1)] * 3
    assert last == (1, 2), "the end waits"


def test_short_sequences_are_not_counted(gpu: Gpu) -> None:
    sequence = recorded(gpu, MARKED)
    assert gpu.copies == gpu.order == []
    assert str(sequence).endswith(f"(1 to {MARKED} of {MARKED} that are repeated)")


def test_a_sequence_that_stopped_names_its_kernels(device: CudaDevice) -> None:
    marks: Any = SimpleNamespace(done=0)
    device.progress._counter.value = 3  # type: ignore[misc]
    device.progress.launched(Repeated(("gather_4", "sum_4", "gather_4"), marks))
    with (
        pytest.raises(driver.GpuFault, match=r"gather_4 or sum_4 \(1 to 3 of 3"),
        device.blaming(),
    ):
        raise driver.GpuFault("waiting for the GPU")
