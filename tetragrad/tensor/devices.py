"""Names of devices, as users write them, and how many threads they use."""

from __future__ import annotations

import os

from tetragrad.core.errors import DeviceError
from tetragrad.core.settings import configure, settings


def device_name(device: object) -> str:
    """The full name of a device; None means the default.

    Raises:
        DeviceError: the device is not one that this process can use.
    """
    if device is None:
        return settings().device
    name = str(device).removesuffix(":0")
    known = dict.fromkeys(["cpu", settings().device])
    if name not in known:
        raise DeviceError(
            f"there is no device {name!r}",
            hint=f"use one of: {', '.join(known)}",
        )
    return name


def set_num_threads(count: int) -> None:
    """Use so many CPU threads from now on; 0 means all cores."""
    configure(threads=count)


def get_num_threads() -> int:
    """The number of CPU threads in use."""
    return settings().threads or os.cpu_count() or 1
