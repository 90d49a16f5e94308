"""Which frequency is where in a transform, and another order for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.promotion import normal_dim

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Dims = Sequence[int] | None


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequency of each value of ``fft``, for samples that are ``d`` apart.

    >>> tetragrad.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    cls = TensorBase.tensor_class
    places = cls.arange(n, device=device)
    signed = places.where(places < (n + 1) // 2, places - n)
    return signed.to(dtype or dtypes.float32) / (n * d)


def rfftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """The frequency of each value of ``rfft``.

    >>> tetragrad.fft.rfftfreq(4)
    tensor([0.0000, 0.2500, 0.5000])
    """
    places = TensorBase.tensor_class.arange(n // 2 + 1, device=device)
    return places.to(dtype or dtypes.float32) / (n * d)


def fftshift(input: Tensor, dim: int | Dims = None) -> Tensor:
    """Frequency 0 to the middle of each dimension.

    >>> tetragrad.fft.fftshift(Tensor([0, 1, -2, -1]))
    tensor([-2, -1,  0,  1])
    """
    dims = _listed(input, dim)
    return input.roll([input.shape[entry] // 2 for entry in dims], dims)


def ifftshift(input: Tensor, dim: int | Dims = None) -> Tensor:
    """The inverse of ``fftshift``.

    >>> tetragrad.fft.ifftshift(Tensor([-2, -1, 0, 1]))
    tensor([ 0,  1, -2, -1])
    """
    dims = _listed(input, dim)
    return input.roll([-(input.shape[entry] // 2) for entry in dims], dims)


def _listed(input: Tensor, dim: int | Dims) -> list[int]:
    if dim is None:
        return list(range(input.ndim))
    named = [dim] if isinstance(dim, int) else dim
    return [normal_dim(entry, input.ndim) for entry in named]
