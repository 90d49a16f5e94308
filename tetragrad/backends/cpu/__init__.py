"""The CPU backend: LLVM IR text, assembled in process and run on native threads.

``device.py`` is what the engine sees. ``emit`` writes the text, ``compiler.py`` makes
machine code of it, ``pool.py`` and ``sequence.py`` run that, and ``host.py`` says which
processor this is.
"""

from __future__ import annotations

from tetragrad.backends.backend import Device


def open_device(name: str) -> Device:
    """The processor of this machine; loads LLVM at the first call."""
    from tetragrad.backends.cpu.device import CpuDevice

    return CpuDevice(name)
