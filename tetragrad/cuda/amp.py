"""``tetragrad.amp`` for GPUs, where PyTorch had it first."""

from __future__ import annotations

from typing import Any

from tetragrad import amp
from tetragrad.core.errors import missing

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]


def custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
    """``tetragrad.amp.custom_fwd`` for GPUs.

    >>> tetragrad.cuda.amp.custom_fwd(lambda ctx, x: x * 2)(None, 3)
    6
    """
    return amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def custom_bwd(bwd: Any = None) -> Any:
    """``tetragrad.amp.custom_bwd`` for GPUs.

    >>> tetragrad.cuda.amp.custom_bwd(lambda ctx, upstream: upstream * 2)(None, 3)
    6
    """
    return amp.custom_bwd(bwd, device_type="cuda")


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
