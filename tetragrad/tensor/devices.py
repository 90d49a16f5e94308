"""Names of devices, as users write them."""

from __future__ import annotations

from tetragrad.core.errors import DeviceError
from tetragrad.core.settings import settings


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
