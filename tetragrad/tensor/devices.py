"""Names of devices, as users write them, and how many threads they use."""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Self

from tetragrad.backends.backend import usual_device
from tetragrad.core.settings import configure, override, settings
from tetragrad.engine import realize as engine

_entered: ContextVar[tuple[AbstractContextManager[Any], ...]] = ContextVar(
    "tetragrad_devices", default=()
)


class DeviceName(str):
    """The name of a device: a text that knows its parts.

    In a ``with`` block, new tensors live there.

    Args:
        kind: "cpu", "cuda", "cuda:1", or a GPU's number.
        number: the number, where the kind has none.

    >>> place = tetragrad.device("cuda", 1)
    >>> place.type, place.index, place == "cuda:1"
    ('cuda', 1, True)
    >>> with tetragrad.device("cpu"):
    ...     Tensor([1.0]).device
    'cpu'
    """

    __slots__ = ()

    def __new__(cls, kind: Any, number: int | None = None) -> Self:
        return super().__new__(cls, _text(kind) + (f":{number}" if number else ""))

    @property
    def type(self) -> str:
        """The kind of the device.

        >>> tetragrad.device("cuda:1").type
        'cuda'
        """
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """Its number, or None for the first.

        >>> tetragrad.device("cpu").index
        """
        number = self.partition(":")[2]
        return int(number) if number else None

    def __enter__(self) -> Self:
        manager = override(device=device_name(self))
        manager.__enter__()
        _entered.set((*_entered.get(), manager))
        return self

    def __exit__(self, *failure: Any) -> None:
        *rest, manager = _entered.get()
        _entered.set(tuple(rest))
        manager.__exit__(*failure)


#: The device of a name; there are few of them.
named = functools.cache(DeviceName)


def _text(name: Any) -> str:
    """A device's full name: 1 is ``cuda:1``, and the first has no number."""
    return (f"cuda:{name}" if type(name) is int else str(name)).removesuffix(":0")


def device_name(name: object) -> str:
    """The full name of a device; None means the default.

    Raises:
        DeviceError: the device is not one that this process can use.
    """
    if name is None:
        return settings().device
    full = _text(name)
    if full != settings().device:
        engine.device(full)  # Raises for a device that cannot be opened.
    return full


def get_default_device() -> DeviceName:
    """Where new tensors live: a GPU if there is one, unless told otherwise.

    >>> tetragrad.get_default_device() == Tensor([1.0]).device
    True
    """
    return named(settings().device)


def set_default_device(name: Any) -> None:
    """Say where new tensors live from now on; None for what is usual here.

    Raises:
        DeviceError: the device is not one that this process can use.

    >>> before = tetragrad.get_default_device()
    >>> tetragrad.set_default_device("cpu")
    >>> Tensor([1.0]).device
    'cpu'
    >>> tetragrad.set_default_device(before)
    """
    configure(device=usual_device() if name is None else device_name(name))


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
