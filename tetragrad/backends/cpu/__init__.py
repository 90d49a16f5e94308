"""The CPU backend: LLVM IR text, assembled in process and run on native threads."""

from __future__ import annotations

from tetragrad.backends.backend import Device


def open_device(name: str) -> Device:
    """The processor of this machine; loads LLVM at the first call."""
    from tetragrad.backends.cpu.device import CpuDevice

    return CpuDevice(name)
