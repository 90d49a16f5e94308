"""NVIDIA GPUs: whether there are any, how much memory they have, and waiting for them.

>>> device = "cuda" if tetragrad.cuda.is_available() else "cpu"
>>> Tensor([1.0], device=device).sum().item()
1.0

GPUs are counted from 0; ``"cuda"`` is the first one. A GPU counts if the CUDA backend
writes code for it: compute capability 8.0 or newer.
"""

from __future__ import annotations

from typing import Any, cast

from tetragrad.backends import cuda as backend
from tetragrad.backends.cuda.device import CudaDevice
from tetragrad.core.errors import DeviceError, missing
from tetragrad.core.settings import settings
from tetragrad.engine import realize as engine
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.early_names import TYPED_CUDA
from tetragrad.tensor.generator import manual_seed

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "is_available",
    "is_bf16_supported",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "synchronize",
]

#: Every generator's state is on the device of what it draws: one seed does for all.
manual_seed_all = manual_seed


def is_available() -> bool:
    """Whether a driver and a GPU are there that this package writes code for.

    >>> tetragrad.cuda.is_available() == (tetragrad.cuda.device_count() > 0)
    True
    """
    return device_count() > 0


def device_count() -> int:
    """How many GPUs there are, of compute capability 8.0 or newer.

    >>> tetragrad.cuda.device_count() >= 0
    True
    """
    return sum(map(backend.is_usable, range(backend.device_count())))


def is_bf16_supported() -> bool:
    """Whether GPUs compute with bfloat16: all that count do.

    >>> tetragrad.cuda.is_bf16_supported() == tetragrad.cuda.is_available()
    True
    """
    return is_available()


def current_device() -> int:
    """The number of the GPU where new tensors live, or would live: 0 by default.

    >>> tetragrad.cuda.current_device()
    0
    """
    kind, _, number = settings().device.partition(":")
    return int(number or 0) if kind == "cuda" else 0


def get_device_name(device: Any = None) -> str:
    """What the driver calls a GPU.

    Args:
        device: a number or a name such as ``"cuda:1"``; None is the current one.

    Raises:
        DeviceError: there is no such GPU.

    >>> if tetragrad.cuda.is_available():
    ...     assert tetragrad.cuda.get_device_name(0)
    """
    return _opened(device).context.facts().name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """A GPU's compute capability, as (9, 0); arguments as in ``get_device_name``.

    >>> if tetragrad.cuda.is_available():
    ...     assert tetragrad.cuda.get_device_capability() >= (8, 0)
    """
    return _opened(device).context.facts().capability


def synchronize(device: Any = None) -> None:
    """Wait until a GPU has done all that it was given; arguments as above.

    Values that nobody read yet have not been given to it: ``x.realize()`` does.

    >>> if tetragrad.cuda.is_available():
    ...     tetragrad.cuda.synchronize()
    """
    _opened(device).synchronize()


def memory_allocated(device: Any = None) -> int:
    """Bytes of a GPU's memory that tensors and captured functions hold.

    >>> if tetragrad.cuda.is_available():
    ...     assert tetragrad.cuda.memory_allocated() >= 0
    """
    return _opened(device).pool.used_bytes


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were held at once, since the last reset.

    >>> if tetragrad.cuda.is_available():
    ...     assert tetragrad.cuda.max_memory_allocated() >= 0
    """
    return _opened(device).pool.peak_bytes


def reset_peak_memory_stats(device: Any = None) -> None:
    """Begin to look for the most bytes anew.

    >>> if tetragrad.cuda.is_available():
    ...     tetragrad.cuda.reset_peak_memory_stats()
    """
    _opened(device).pool.reset_peak()


def memory_reserved(device: Any = None) -> int:
    """Bytes of a GPU's memory that this process has, held or kept for later.

    >>> if tetragrad.cuda.is_available():
    ...     assert tetragrad.cuda.memory_reserved() >= 0
    """
    pool = _opened(device).pool
    return pool.used_bytes + pool.idle_bytes


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of a GPU's memory that are free, and all that it has.

    >>> if tetragrad.cuda.is_available():
    ...     free, total = tetragrad.cuda.mem_get_info()
    """
    return _opened(device).context.free_bytes()


def empty_cache() -> None:
    """Give memory that nobody holds back to the GPU, for other programs.

    >>> tetragrad.cuda.empty_cache()
    """
    if is_available():
        _opened(None).pool.clear()


def _opened(device: Any) -> CudaDevice:
    """A GPU by its number or name."""
    name = device_name(current_device() if device is None else device)
    if name.partition(":")[0] != "cuda":
        raise DeviceError(
            f"tetragrad.cuda was asked about the device {name!r}",
            hint='give a number, or a name such as "cuda:0"',
        )
    return cast(CudaDevice, engine.device(name))


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib

        return importlib.import_module("tetragrad.cuda.amp")
    if name in TYPED_CUDA:
        return TYPED_CUDA[name]
    raise missing(name, "tetragrad.cuda", [*__all__, *TYPED_CUDA])
