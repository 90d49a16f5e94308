"""The CUDA backend: PTX text, assembled by the driver and run on NVIDIA GPUs.

Nothing is loaded when this module is imported; the driver's library is opened with
the first device.

``device.py`` is what the engine sees, ``driver.py`` the few calls that it makes.
``emit`` writes the text, ``programs.py`` loads it with what a launch needs to know,
``launches.py`` records launches as one, and ``faults.py`` says whose fault it was.
"""

from __future__ import annotations

from tetragrad.backends.backend import Device


def open_device(name: str) -> Device:
    """The GPU called ``cuda`` or ``cuda:number``.

    Raises:
        DeviceError: if there is no driver, or no GPU of that number.
    """
    from tetragrad.backends.cuda.device import CudaDevice

    return CudaDevice(name)


def is_available() -> bool:
    """Whether a driver and at least one GPU are present."""
    from tetragrad.backends.cuda import driver

    return driver.count_devices() > 0
