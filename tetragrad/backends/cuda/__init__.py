"""The CUDA backend: PTX text, assembled by the driver and run on NVIDIA GPUs.

Nothing is loaded when this module is imported; the driver's library is opened with
the first device.

``device.py`` is what the engine sees; ``driver.py`` and ``calls.py``, which launches,
are the few calls of the driver's that it makes.
``emit`` writes the text, ``programs.py`` loads it with what a launch needs to know,
``launches.py`` records launches as one, and ``faults.py`` says whose fault it was.
"""

from __future__ import annotations

from tetragrad.backends.backend import Device
from tetragrad.backends.switches import matmul

__all__ = ["device_count", "is_built", "is_usable", "matmul", "open_device"]


def open_device(name: str) -> Device:
    """The GPU called ``cuda`` or ``cuda:number``.

    Raises:
        DeviceError: if there is no driver, or no GPU of that number.
    """
    from tetragrad.backends.cuda.device import CudaDevice

    return CudaDevice(name)


def device_count() -> int:
    """How many GPUs the driver offers; 0 without a driver."""
    from tetragrad.backends.cuda import driver

    return driver.count_devices()


def is_built() -> bool:
    """Whether this package can use GPUs: always."""
    return True


def is_usable(number: int = 0) -> bool:
    """Whether there is a GPU of that number for which this backend writes code."""
    from tetragrad.backends.cuda import driver
    from tetragrad.backends.cuda.target import target_for

    if number >= device_count():
        return False
    return target_for(*driver.capability_of(number), units=1) is not None
