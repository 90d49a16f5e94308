"""Modules on another device or in another dtype: every parameter and buffer, in place.

The tensors stay the same objects, so an optimiser that holds them sees the new values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError
from tetragrad.nn.parameter import Parameter, replace_value
from tetragrad.tensor import Tensor


class ModuleConversions:
    """The part of :class:`Module` that moves and converts values."""

    if TYPE_CHECKING:

        def parameters(self, recurse: bool = True) -> Iterator[Parameter]: ...

        def buffers(self, recurse: bool = True) -> Iterator[Tensor]: ...

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device, or convert the floating-point values; returns self.

        Takes a device, a dtype, both, or a tensor that is like what is wanted.

        >>> nn.Linear(2, 3).to("float64").weight.dtype
        float64
        """
        device, dtype = _device_and_dtype(*args, **kwargs)
        if dtype is not None and not _is_inexact(dtype):
            raise DTypeError(
                f"Module.to() converts parameters, and {dtype} cannot be trained",
                hint="use a floating-point dtype, such as float32 or bfloat16",
            )
        return self._convert(device, dtype)

    def float(self) -> Self:
        """Convert floating-point parameters and buffers to float32; returns self."""
        return self._convert(None, dtypes.float32)

    def double(self) -> Self:
        """Convert floating-point parameters and buffers to float64; returns self."""
        return self._convert(None, dtypes.float64)

    def half(self) -> Self:
        """Convert floating-point parameters and buffers to float16; returns self."""
        return self._convert(None, dtypes.float16)

    def bfloat16(self) -> Self:
        """Convert floating-point parameters and buffers to bfloat16; returns self."""
        return self._convert(None, dtypes.bfloat16)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers, integers too, to a dtype; returns self.

        >>> nn.BatchNorm1d(2).type("float64").num_batches_tracked.dtype
        float64
        """
        dtype = dtypes.to_dtype(dst_type)
        for tensor in [*self.parameters(), *self.buffers()]:
            replace_value(tensor, tensor.detach().to(dtype))
        return self

    def cuda(self, device: int | str | None = None) -> Self:
        """Move parameters and buffers to a GPU; returns self."""
        number = f":{device}" if isinstance(device, int) else ""
        return self._convert(
            device if isinstance(device, str) else f"cuda{number}", None
        )

    def cpu(self) -> Self:
        """Move parameters and buffers to the CPU; returns self."""
        return self._convert("cpu", None)

    def to_empty(self, *, device: str | None, recurse: bool = True) -> Self:
        """Move to a device without copying: the values are zeros; returns self.

        >>> nn.Linear(1, 1).to_empty(device="cpu").weight.item()
        0.0
        """
        for tensor in [*self.parameters(recurse), *self.buffers(recurse)]:
            replace_value(tensor, tensor.detach().zeros_like(device=device))
        return self

    def _convert(self, device: str | None, dtype: dtypes.DType | None) -> Self:
        tensors = [*self.parameters(), *self.buffers()]
        for tensor in tensors:
            value = tensor.detach()
            if device is not None:
                value = value.to(device)
            if dtype is not None and _is_inexact(tensor.dtype):
                value = value.to(dtype)
            replace_value(tensor, value)
        return self


def _is_inexact(dtype: dtypes.DType) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _device_and_dtype(
    *args: Any,
    device: str | None = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> tuple[str | None, dtypes.DType | None]:
    """Read the arguments of ``to``: a device, a dtype, both, or a tensor like it.

    Copies never block here, and a conversion never shares: both wishes are met.
    """
    for argument in args:
        if isinstance(argument, bool):
            continue
        if isinstance(argument, Tensor):
            device, dtype = argument.device, argument.dtype
        elif isinstance(argument, str) and not _is_dtype_name(argument):
            device = argument
        else:
            dtype = argument
    return device, None if dtype is None else dtypes.to_dtype(dtype)


def _is_dtype_name(text: str) -> bool:
    try:
        dtypes.by_name(text)
    except DTypeError:
        return False
    return True
