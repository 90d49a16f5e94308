"""The inverse of max pooling, and pooling with windows of random places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.autograd import Function
from tetragrad.tensor.joining import cat

Sizes = int | Sequence[int]


def _spread(sizes: Any, dims: int) -> tuple[Any, ...]:
    return (sizes,) * dims if isinstance(sizes, int | float) else tuple(sizes)


# --- unpooling ------------------------------------------------------------------------


def _max_unpool(
    dims: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    """Values at the places that max pooling found them; zeros elsewhere."""
    if input.shape != indices.shape:
        raise ShapeError(
            f"unpooling of shape {input.shape} with indices of {indices.shape}"
        )
    kernel, around = _spread(kernel_size, dims), _spread(padding, dims)
    step = kernel if stride is None else _spread(stride, dims)
    first = input.ndim - dims
    if output_size is None:
        sizes = tuple(
            (count - 1) * by - 2 * edge + width
            for count, by, edge, width in zip(
                input.shape[first:], step, around, kernel, strict=True
            )
        )
    else:
        sizes = tuple(output_size)[-dims:]
    before = input.shape[:first]
    image = input.zeros(*before, math.prod(sizes), dtype=input.dtype)
    places = indices.flatten(first)
    flat = _Placed.apply(image, places, input.flatten(first), first)
    return flat.reshape(*before, *sizes)


class _Placed(Function):
    """A scatter in which every element gets the gradient of its place.

    Windows that overlap may have found one element, which then is placed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, places: Tensor, values: Tensor, dim: int
    ) -> Any:
        ctx.save_for_backward(places)
        ctx.dim = dim
        return image.scatter(dim, places, values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (places,) = ctx.saved_tensors
        return None, None, upstream.gather(ctx.dim, places), None


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put the values of ``max_pool1d`` back where its indices say; zeros elsewhere."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put the values of ``max_pool2d`` back where its indices say; zeros elsewhere."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put the values of ``max_pool3d`` back where its indices say; zeros elsewhere."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# --- fractional pooling ---------------------------------------------------------------


def _starts(size: int, wanted: int, width: int, sample: Tensor) -> Tensor:
    """Where each window begins: steps of size / wanted, from a random place on.

    B. Graham, "Fractional Max-Pooling" (2014), with pseudo-random sequences.
    """
    last = sample.full((*sample.shape, 1), float(size - width), dtype=sample.dtype)
    if wanted == 1:
        return last.long()
    step = (size - width) / (wanted - 1)
    place = sample.arange(wanted - 1, dtype=sample.dtype)
    offset = sample.unsqueeze(-1)
    inner = ((place + offset) * step).trunc() - (offset * step).trunc()
    return cat([inner, last], -1).long()


def _fractional_max_pool(
    dims: int,
    input: Tensor,
    kernel_size: Sizes,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Tensor | None,
) -> Any:
    if (output_size is None) == (output_ratio is None):
        raise ShapeError("fractional pooling needs either output_size or output_ratio")
    image = input if input.ndim == dims + 2 else input.unsqueeze(0)
    batch, channels, *sizes = image.shape
    kernel = _spread(kernel_size, dims)
    if output_size is None:
        ratios = _spread(output_ratio, dims)
        wanted = tuple(int(size * by) for size, by in zip(sizes, ratios, strict=True))
    else:
        wanted = _spread(output_size, dims)
    if samples is None:
        samples = image.rand(batch, channels, dims, dtype=image.dtype)
    place = _window_places(samples, sizes, wanted, kernel)
    windows = image.flatten(2).gather(2, place.flatten(2)).reshape(place.shape)
    found = windows.max(-1)
    values = found.values
    indices = place.gather(-1, found.indices.unsqueeze(-1)).squeeze(-1)
    if image is not input:
        values, indices = values.squeeze(0), indices.squeeze(0)
    return (values, indices) if return_indices else values


def _window_places(
    samples: Tensor, sizes: Sequence[int], wanted: Any, kernel: Any
) -> Tensor:
    """(batch, channels, *wanted, elements): row-major places of the windows."""
    dims = len(sizes)
    total: Any = 0
    for axis, size in enumerate(sizes):
        # The samples come in the order x, y, z: the last dimension first.
        sample = samples[..., dims - 1 - axis]
        starts = _starts(size, wanted[axis], kernel[axis], sample)
        inside = samples.arange(kernel[axis])
        shape = [1] * (2 * dims)
        shape[axis] = wanted[axis]
        begin = starts.reshape(*starts.shape[:2], *shape)
        shape = [1] * (2 * dims)
        shape[dims + axis] = kernel[axis]
        total = total * size + begin + inside.reshape(shape)
    return total.flatten(2 + dims)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest element of ``output_size`` windows at random places of an image.

    Their number may be given as a share of the input's sizes, ``output_ratio``.
    """
    sizes = output_size, output_ratio
    return _fractional_max_pool(
        2, input, kernel_size, *sizes, return_indices, _random_samples
    )


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """``fractional_max_pool2d``, always with the places of the elements."""
    sizes = output_size, output_ratio
    return _fractional_max_pool(2, input, kernel_size, *sizes, True, _random_samples)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The largest element of ``output_size`` windows at random places of a volume.

    Their number may be given as a share of the input's sizes, ``output_ratio``.
    """
    sizes = output_size, output_ratio
    return _fractional_max_pool(
        3, input, kernel_size, *sizes, return_indices, _random_samples
    )


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Sizes,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """``fractional_max_pool3d``, always with the places of the elements."""
    sizes = output_size, output_ratio
    return _fractional_max_pool(3, input, kernel_size, *sizes, True, _random_samples)
