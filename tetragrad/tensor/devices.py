"""Names of devices, as users write them, and how many threads they use."""

from __future__ import annotations

import os

from tetragrad.core.settings import configure, settings
from tetragrad.engine import realize as engine


def device_name(device: object) -> str:
    """The full name of a device; None means the default.

    Raises:
        DeviceError: the device is not one that this process can use.
    """
    if device is None:
        return settings().device
    name = str(device).removesuffix(":0")
    if name != settings().device:
        engine.device(name)  # Raises for a device that cannot be opened.
    return name


def set_num_threads(count: int) -> None:
    """Use so many CPU threads from now on; 0 means all cores.

    >>> count = tetragrad.get_num_threads()
    >>> tetragrad.set_num_threads(count)
    """
    configure(threads=count)


def get_num_threads() -> int:
    """The number of CPU threads in use.

    >>> tetragrad.get_num_threads() >= 1
    True
    """
    return settings().threads or os.cpu_count() or 1
