"""Copies to and from a GPU, on a driver that copies at once, without a GPU."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_void_p
from typing import Any

import numpy as np
import pytest

from tetragrad.backends.cuda import copies, driver
from tetragrad.backends.cuda.copies import Copies

SIZES = (0, 1, 255, 4096, 100_000, 1_000_003)


class Gpu:
    """Stands for the driver, and for a context: streams are numbers."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.stream = c_void_p(1)
        self.calls: list[str] = []
        self._kept: list[Any] = []

    def use(self) -> None:
        """There is one context."""

    def new_stream(self) -> c_void_p:
        return c_void_p(2)

    def call(self, name: str, *arguments: Any, doing: str) -> None:
        self.calls.append(name)
        if name == "cuMemHostAlloc":
            block = ctypes.create_string_buffer(arguments[1].value)
            self._kept.append(block)
            arguments[0]._obj.value = ctypes.addressof(block)
        elif name.startswith("cuMemcpy"):
            target, source, size, stream = arguments
            assert stream.value == 2
            ctypes.memmove(target.value, source.value, size.value)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found = Gpu()
    monkeypatch.setattr(driver, "call", found.call)
    # So that the staging goes round several times, in parts of all sizes.
    monkeypatch.setattr(copies, "STAGING_BYTES", 1 << 18)
    monkeypatch.setattr(copies, "PART_BYTES", 1 << 16)
    monkeypatch.setattr(copies, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(copies, "THREADS", 3)
    return found


def test_bytes_arrive_in_both_directions(gpu: Gpu) -> None:
    between = Copies(gpu)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for nbytes in SIZES:
        sent = rng.integers(0, 256, nbytes, np.uint8)
        memory = np.zeros(nbytes, np.uint8)
        between.to_device(memory.ctypes.data, sent, behind=False)
        np.testing.assert_array_equal(memory, sent)
        found = between.to_host(memory.ctypes.data, nbytes)
        np.testing.assert_array_equal(found, sent)


def test_rows_that_are_not_next_to_one_another(gpu: Gpu) -> None:
    between = Copies(gpu)  # type: ignore[arg-type]
    sent = np.arange(600, dtype=np.float32).reshape(20, 30)[::2, 1::3]
    memory = np.zeros(100, np.float32)
    between.to_device(memory.ctypes.data, sent, behind=False)
    np.testing.assert_array_equal(memory.reshape(10, 10), sent)


def test_a_copy_waits_for_kernels_only_where_they_use_the_memory(gpu: Gpu) -> None:
    between = Copies(gpu)  # type: ignore[arg-type]
    memory, sent = np.zeros(8, np.uint8), np.ones(8, np.uint8)
    for behind, waits in ((False, 1), (True, 2)):
        gpu.calls.clear()
        between.to_device(memory.ctypes.data, sent, behind=behind)
        # Kernels that come later wait for the copy in any case.
        assert gpu.calls.count("cuStreamWaitEvent") == waits
        assert "cuEventSynchronize" not in gpu.calls
        assert gpu.calls[-1] == "cuStreamWaitEvent"


def test_the_host_waits_for_staging_that_is_still_used(gpu: Gpu) -> None:
    between = Copies(gpu)  # type: ignore[arg-type]
    memory = np.zeros(1 << 16, np.uint8)
    for _ in range(4):
        between.to_device(memory.ctypes.data, memory, behind=False)
    assert "cuEventSynchronize" not in gpu.calls
    between.to_device(memory.ctypes.data, memory, behind=False)
    assert gpu.calls.count("cuEventSynchronize") == 1
