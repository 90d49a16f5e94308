"""Parts of a block on a GPU: shared where aligned, else copied; without a GPU."""

from __future__ import annotations

import ctypes
import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.device import CudaDevice
from tetragrad.backends.cuda.memory import MemoryAlias


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device whose memory is the host's, with a list of what it launched."""
    made: Any = object.__new__(CudaDevice)
    launched: list[str] = []
    made.context = SimpleNamespace(
        use=lambda: None, lock=threading.RLock(), stream=ctypes.c_void_p(1)
    )
    made.progress = SimpleNamespace(launched=launched.append)
    monkeypatch.setattr(CudaDevice, "blaming", lambda self: nullcontext())
    monkeypatch.setattr(CudaDevice, "allocate", lambda self, nbytes: _block(nbytes))
    monkeypatch.setattr(driver, "call", _call)
    return made, launched


def _block(nbytes: int) -> Any:
    """Memory at an address that is a multiple of 256."""
    raw = ctypes.create_string_buffer(nbytes + 256)
    return SimpleNamespace(
        raw=raw, nbytes=nbytes, address=-(-ctypes.addressof(raw) // 256) * 256
    )


def _call(name: str, *arguments: Any, doing: str) -> None:
    target, source, size, stream = (entry.value for entry in arguments)
    assert name == "cuMemcpyDtoDAsync_v2" and stream == 1
    ctypes.memmove(target, source, size)


def test_an_aligned_part_is_shared(device: Any) -> None:
    gpu, launched = device
    block = _block(1024)
    part = gpu.part(block, 512, 100)
    assert isinstance(part, MemoryAlias) and part.owner is block
    assert part.address == block.address + 512
    assert not launched


def test_a_part_that_begins_anywhere_is_copied_in_the_stream(device: Any) -> None:
    gpu, launched = device
    block = _block(1024)
    ctypes.memmove(block.address + 12, b"twelve", 6)
    part = gpu.part(block, 12, 6)
    assert ctypes.string_at(part.address, 6) == b"twelve"
    assert part.address != block.address + 12
    assert len(launched) == 1
