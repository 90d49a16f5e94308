"""The inverse of max pooling, and pooling with windows of random places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.autograd import Function
from tetragrad.tensor.derived import with_dims
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
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Values at the places that max pooling found them; zeros elsewhere."""
    if input.shape != indices.shape:
        raise ShapeError(
            f"unpooling of shape {input.shape} with indices of {indices.shape}",
            hint="pass the indices that pooling gave with return_indices=True",
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


_UNPOOL = """Put the values of ``max_pool{0}d`` back where its indices say; zeros else.

>>> pool = nn.MaxPool{0}d(2, return_indices=True)
>>> value, place = pool(Tensor.ones(1, 1, {1}))
>>> nn.functional.max_unpool{0}d(value, place, 2).sum()
tensor(1.)
"""

max_unpool1d = with_dims("max_unpool1d", 1, _max_unpool, _UNPOOL.format(1, "2"))
max_unpool2d = with_dims("max_unpool2d", 2, _max_unpool, _UNPOOL.format(2, "2, 2"))
max_unpool3d = with_dims("max_unpool3d", 3, _max_unpool, _UNPOOL.format(3, "2, 2, 2"))


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
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    if (output_size is None) == (output_ratio is None):
        raise ShapeError(
            "fractional pooling needs either output_size or output_ratio",
            hint="pass one of them",
        )
    image = input if input.ndim == dims + 2 else input.unsqueeze(0)
    batch, channels, *sizes = image.shape
    kernel = _spread(kernel_size, dims)
    if output_size is None:
        ratios = _spread(output_ratio, dims)
        wanted = tuple(int(size * by) for size, by in zip(sizes, ratios, strict=True))
    else:
        wanted = _spread(output_size, dims)
    samples = _random_samples
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


def _with_indices(
    dims: int,
    input: Tensor,
    kernel_size: Sizes,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    return _fractional_max_pool(
        dims, input, kernel_size, output_size, output_ratio, True, _random_samples
    )


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


_FRACTIONAL = """The largest element of ``output_size`` windows at random places of {0}.

Their number may be given as a share of the input's sizes, ``output_ratio``.

>>> values = Tensor.ones(1, {2})
>>> nn.functional.fractional_max_pool{1}d(values, 2, output_size=2).shape
(1, {3})
"""
_INDICES = """``fractional_max_pool{0}d``, always with the places of the elements.

>>> values = Tensor.ones(1, {1})
>>> pool = nn.functional.fractional_max_pool{0}d_with_indices
>>> len(pool(values, 2, output_size=2))
2
"""

fractional_max_pool2d = with_dims(
    "fractional_max_pool2d",
    2,
    _fractional_max_pool,
    _FRACTIONAL.format("an image", 2, "4, 4", "2, 2"),
)
fractional_max_pool3d = with_dims(
    "fractional_max_pool3d",
    3,
    _fractional_max_pool,
    _FRACTIONAL.format("a volume", 3, "4, 4, 4", "2, 2, 2"),
)
fractional_max_pool2d_with_indices = with_dims(
    "fractional_max_pool2d_with_indices", 2, _with_indices, _INDICES.format(2, "4, 4")
)
fractional_max_pool3d_with_indices = with_dims(
    "fractional_max_pool3d_with_indices",
    3,
    _with_indices,
    _INDICES.format(3, "4, 4, 4"),
)
