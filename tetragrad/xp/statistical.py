"""Sums, products, means and extremes.

Source: "Statistical functions" of the Python array API standard 2025.12. ``axis`` is
one axis, several, or None for all; ``keepdims`` leaves those with size 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor, joining
from tetragrad.tensor.promotion import normal_dim
from tetragrad.xp.array import Array
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.kinds import FLOATING, NUMERIC, REAL, REAL_FLOATING, Kinds
from tetragrad.xp.manipulation import Axes, axes_of


def _reduce(
    name: str,
    x: Array,
    on: Kinds,
    axis: Axes | None,
    function: Callable[[Tensor, tuple[int, ...]], Tensor],
) -> Array:
    """Reduce along axes; along none, each element is its own group."""
    tensor = tensor_of(x, name)
    on.check(tensor.dtype, name)
    axes = axes_of(axis, tensor.ndim)
    if axes or not tensor.ndim:
        return wrap(function(tensor, axes))
    return wrap(function(tensor.unsqueeze(-1), (tensor.ndim,)).reshape(tensor.shape))


def _total_dtype(dtype: DType, wanted: DType | None) -> DType:
    """Narrow integers are summed in 64 bits of their own signedness."""
    if wanted is not None:
        return wanted
    if not dtype.is_integer:
        return dtype
    return dtypes.int64 if dtype.is_signed else dtypes.uint64


def sum(
    x: Array,
    /,
    *,
    axis: Axes | None = None,
    dtype: DType | None = None,
    keepdims: bool = False,
) -> Array:
    """The sum; numeric dtypes. Integers give int64 or uint64, or ``dtype``.

    >>> xp.sum(xp.asarray([[1, 2], [3, 4]]), axis=0)
    Array([4, 6])
    """

    def total(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
        kept = _total_dtype(tensor.dtype, dtype)
        return tensor.sum(axes, keepdims, dtype=kept)

    return _reduce("sum", x, NUMERIC, axis, total)


def prod(
    x: Array,
    /,
    *,
    axis: Axes | None = None,
    dtype: DType | None = None,
    keepdims: bool = False,
) -> Array:
    """The product; numeric dtypes. Integers give int64 or uint64, as in ``sum``.

    >>> xp.prod(xp.asarray([2, 3, 4]))
    Array(24)
    """

    def product(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
        kept = _total_dtype(tensor.dtype, dtype)
        return tensor.prod(axes, keepdims, dtype=kept)

    return _reduce("prod", x, NUMERIC, axis, product)


def mean(x: Array, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """The mean; floating-point dtypes. NaN of nothing.

    >>> xp.mean(xp.asarray([1.0, 2.0]))
    Array(1.5000)
    """
    return _reduce("mean", x, FLOATING, axis, lambda t, axes: t.mean(axes, keepdims))


def var(
    x: Array,
    /,
    *,
    axis: Axes | None = None,
    correction: int | float = 0.0,
    keepdims: bool = False,
) -> Array:
    """The variance, of the count less ``correction``; real floating-point dtypes.

    >>> xp.var(xp.asarray([1.0, 3.0]))
    Array(1.)
    """

    def variance(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
        return tensor.var(axes, keepdim=keepdims, correction=correction)

    return _reduce("var", x, REAL_FLOATING, axis, variance)


def std(
    x: Array,
    /,
    *,
    axis: Axes | None = None,
    correction: int | float = 0.0,
    keepdims: bool = False,
) -> Array:
    """The square root of the variance; real floating-point dtypes.

    >>> xp.std(xp.asarray([1.0, 3.0]))
    Array(1.)
    """

    def deviation(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
        return tensor.std(axes, keepdim=keepdims, correction=correction)

    return _reduce("std", x, REAL_FLOATING, axis, deviation)


def max(x: Array, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """The largest element; real-valued dtypes. NaN if there is one.

    >>> xp.max(xp.asarray([1, 5, 3]))
    Array(5)

    Raises:
        ShapeError: there are no elements.
    """
    return _reduce("max", x, REAL, axis, lambda t, axes: t.amax(axes, keepdims))


def min(x: Array, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """The smallest element; real-valued dtypes. NaN if there is one.

    >>> xp.min(xp.asarray([5, 1, 3]))
    Array(1)

    Raises:
        ShapeError: there are no elements.
    """
    return _reduce("min", x, REAL, axis, lambda t, axes: t.amin(axes, keepdims))


def cumulative_sum(
    x: Array,
    /,
    *,
    axis: int | None = None,
    dtype: DType | None = None,
    include_initial: bool = False,
) -> Array:
    """Each element and all before it, summed; numeric dtypes, as in ``sum``.

    ``axis`` may be left out for an array with one axis. ``include_initial`` puts a 0
    in front.

    >>> xp.cumulative_sum(xp.asarray([1, 2, 3]))
    Array([1, 3, 6])
    """
    return _running("cumulative_sum", x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: Array,
    /,
    *,
    axis: int | None = None,
    dtype: DType | None = None,
    include_initial: bool = False,
) -> Array:
    """Each element and all before it, multiplied; numeric dtypes, as in ``sum``.

    ``axis`` may be left out for an array with one axis. ``include_initial`` puts a 1
    in front.

    >>> xp.cumulative_prod(xp.asarray([1, 2, 3]))
    Array([1, 2, 6])
    """
    return _running("cumulative_prod", x, axis, dtype, 1 if include_initial else None)


def _running(
    name: str, x: Array, axis: int | None, dtype: DType | None, initial: int | None
) -> Array:
    tensor = tensor_of(x, name)
    NUMERIC.check(tensor.dtype, name)
    if not tensor.ndim or (axis is None and tensor.ndim != 1):
        raise ShapeError(
            f"{name}() of shape {tensor.shape} along axis {axis}",
            hint="name the axis of an array with several",
        )
    axis = normal_dim(axis or 0, tensor.ndim)
    kept = _total_dtype(tensor.dtype, dtype)
    running: Any = Tensor.cumsum if name == "cumulative_sum" else Tensor.cumprod
    found = running(tensor, axis, dtype=kept)
    if initial is None:
        return wrap(found)
    shape = [1 if place == axis else size for place, size in enumerate(found.shape)]
    first = Tensor.full(shape, initial, dtype=kept, device=found.device)
    return wrap(joining.cat([first, found], axis))
