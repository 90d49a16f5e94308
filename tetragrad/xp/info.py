"""What the namespace offers: devices, dtypes and defaults.

Source: "Inspection API" of the Python array API standard 2025.12.
"""

from __future__ import annotations

from typing import Final

from tetragrad.backends.backend import BACKENDS
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DeviceError
from tetragrad.tensor.devices import device_name
from tetragrad.xp.data_types import isdtype

#: The dtypes of the standard, under its names.
DTYPES: Final = {
    dtype.name: dtype
    for dtype in dtypes.ALL
    if not (dtype.is_floating_point and dtype.bits < 32)
    and dtype is not dtypes.bfloat16
}


class Info:
    """What ``__array_namespace_info__()`` returns."""

    __slots__ = ()

    def capabilities(self) -> dict[str, bool | int | None]:
        """Which optional features there are.

        >>> xp.__array_namespace_info__().capabilities()["boolean indexing"]
        True
        """
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": None,
        }

    def default_device(self) -> str:
        """The device of arrays that are made without one."""
        return device_name(None)

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        """The dtypes of arrays that are made of Python numbers.

        >>> xp.__array_namespace_info__().default_dtypes()["real floating"]
        float32
        """
        return {
            "real floating": dtypes.float32,
            "complex floating": dtypes.complex64,
            "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(
        self,
        *,
        device: str | None = None,
        kind: str | tuple[str, ...] | None = None,
    ) -> dict[str, DType]:
        """The dtypes of the standard, or those of a kind.

        >>> list(xp.__array_namespace_info__().dtypes(kind="complex floating"))
        ['complex64', 'complex128']
        """
        return {
            name: dtype
            for name, dtype in DTYPES.items()
            if kind is None or isdtype(dtype, kind)
        }

    def devices(self) -> tuple[str, ...]:
        """The devices that this process can use.

        >>> "cpu" in xp.__array_namespace_info__().devices()
        True
        """
        return tuple(name for name in BACKENDS if _can_open(name))


def _can_open(name: str) -> bool:
    try:
        device_name(name)
    except DeviceError:
        return False
    return True


def __array_namespace_info__() -> Info:
    """The namespace's devices, dtypes and defaults.

    >>> xp.__array_namespace_info__().default_device()
    'cpu'
    """
    return Info()
