"""``tetragrad.amp`` for GPUs, where PyTorch had it first."""

from __future__ import annotations

import functools
from typing import Any

from tetragrad import amp
from tetragrad.core.errors import missing

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]

custom_bwd = functools.partial(amp.custom_bwd, device_type="cuda")
custom_fwd = functools.partial(amp.custom_fwd, device_type="cuda")


class autocast(amp.autocast):
    """Products on GPUs in half width; see ``tetragrad.autocast``.

    >>> with tetragrad.cuda.amp.autocast(enabled=False):
    ...     (Tensor([[1.0]]) @ Tensor([[2.0]])).dtype
    float32
    """

    def __init__(
        self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True
    ) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """Scales losses on GPUs; see ``tetragrad.amp.GradScaler``.

    >>> tetragrad.cuda.amp.GradScaler(enabled=False).get_scale()
    1.0
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__("cuda", *args, **options)


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.cuda.amp", __all__)
