"""Convolution, pooling and other functions of sliding windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.derived import function_of, with_dims

Sizes = int | Sequence[int]


linear = function_of(Tensor.linear)
conv1d = function_of(Tensor.conv1d)
conv2d = function_of(Tensor.conv2d)
conv3d = function_of(Tensor.conv3d)
conv_transpose1d = function_of(Tensor.conv_transpose1d)
conv_transpose2d = function_of(Tensor.conv_transpose2d)
conv_transpose3d = function_of(Tensor.conv_transpose3d)
max_pool1d = function_of(Tensor.max_pool1d)
max_pool2d = function_of(Tensor.max_pool2d)
max_pool3d = function_of(Tensor.max_pool3d)
avg_pool1d = function_of(Tensor.avg_pool1d)
avg_pool2d = function_of(Tensor.avg_pool2d)
avg_pool3d = function_of(Tensor.avg_pool3d)
adaptive_avg_pool1d = function_of(Tensor.adaptive_avg_pool1d)
adaptive_avg_pool2d = function_of(Tensor.adaptive_avg_pool2d)
adaptive_avg_pool3d = function_of(Tensor.adaptive_avg_pool3d)
adaptive_max_pool1d = function_of(Tensor.adaptive_max_pool1d)
adaptive_max_pool2d = function_of(Tensor.adaptive_max_pool2d)
adaptive_max_pool3d = function_of(Tensor.adaptive_max_pool3d)


def _lp_pool(
    dims: int,
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    average = (avg_pool1d, avg_pool2d, avg_pool3d)[dims - 1]
    mean = average(input**norm_type, kernel_size, stride, 0, ceil_mode)
    return _root(mean * _product(kernel_size, dims), norm_type)


_LP = """(Σ x^p)^(1/p) over each window of the last {what}.

>>> values = Tensor([3.0, 4.0]).reshape({shape}2)
>>> nn.functional.lp_pool{dims}d(values, 2, {window}).ravel()
tensor([5.])
"""

lp_pool1d = with_dims(
    "lp_pool1d",
    1,
    _lp_pool,
    _LP.format(what="dimension", dims=1, shape="1, 1, ", window=2),
)
lp_pool2d = with_dims(
    "lp_pool2d",
    2,
    _lp_pool,
    _LP.format(what="two dimensions", dims=2, shape="1, 1, 1, ", window="(1, 2)"),
)
lp_pool3d = with_dims(
    "lp_pool3d",
    3,
    _lp_pool,
    _LP.format(
        what="three dimensions", dims=3, shape="1, 1, 1, 1, ", window="(1, 1, 2)"
    ),
)


def _root(total: Tensor, order: float) -> Tensor:
    """total^(1/p) of a sum that is negative only for odd p; then 0, as in PyTorch."""
    return (total.sign() * total.abs()).clamp(min=0) ** (1 / order)


def _product(sizes: Sizes, dims: int) -> int:
    return sizes**dims if isinstance(sizes, int) else math.prod(sizes)


def _pair(sizes: Sizes) -> tuple[int, int]:
    if isinstance(sizes, int):
        return sizes, sizes
    first, second = sizes
    return first, second


def unfold(
    input: Tensor,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Sliding windows of (batch, channels, height, width) as columns.

    Result: (batch, channels·Πkernel, windows).

    >>> nn.functional.unfold(Tensor.ones(1, 1, 3, 3), 2).shape
    (1, 4, 4)
    """
    if input.ndim not in (3, 4):
        raise ShapeError(
            f"unfold takes 3-d or 4-d input, got {input.shape}",
            hint="pass (batch, channels, height, width); batch may be left out",
        )
    unbatched = input.ndim == 3
    image = input.unsqueeze(0) if unbatched else input
    (rows, columns), (down, right) = _pair(kernel_size), _pair(dilation)
    (above, left), (step_down, step_right) = _pair(padding), _pair(stride)
    image = image.pad((left, left, above, above))
    image = image.unfold(2, down * (rows - 1) + 1, step_down)
    image = image.unfold(3, right * (columns - 1) + 1, step_right)
    # (batch, channels, windows down, windows right, rows, columns)
    windows = image[..., ::down, ::right].permute(0, 1, 4, 5, 2, 3)
    columns_of = windows.flatten(1, 3).flatten(2)
    return columns_of.squeeze(0) if unbatched else columns_of


def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Sum sliding windows into an image: the adjoint of :func:`unfold`.

    It is the transposed convolution whose weight puts each element of a window at
    its place.

    >>> nn.functional.fold(Tensor.ones(1, 2, 2), (1, 3), (1, 2))
    tensor([[[[1., 2., 1.]]]])
    """
    unbatched = input.ndim == 2
    windows = input.unsqueeze(0) if unbatched else input
    kernel, output = _pair(kernel_size), _pair(output_size)
    area = kernel[0] * kernel[1]
    counts, extra = _fold_sizes(output, kernel, dilation, padding, stride)
    if windows.ndim != 3 or windows.shape[1] % area:
        raise ShapeError(
            f"fold with windows of {kernel} takes (batch, channels·{area}, windows), "
            f"got {input.shape}"
        )
    if windows.shape[2] != math.prod(counts):
        raise ShapeError(
            f"fold to {output} has {counts[0]}·{counts[1]} windows, got shape "
            f"{input.shape}"
        )
    batch, channels = windows.shape[0], windows.shape[1] // area
    places = Tensor.eye(area, dtype=input.dtype, device=input.device)
    image = conv_transpose2d(
        windows.reshape(batch * channels, area, *counts),
        places.reshape(area, 1, *kernel),
        None, stride, padding, extra, 1, dilation,
    )  # fmt: skip
    image = image.reshape(batch, channels, *output)
    return image.squeeze(0) if unbatched else image


def _fold_sizes(
    output: tuple[int, int],
    kernel: tuple[int, int],
    dilation: Sizes,
    padding: Sizes,
    stride: Sizes,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """How many windows fit, and what is left over behind the last one."""
    counts, extra = [], []
    options = zip(
        output, kernel, _pair(dilation), _pair(padding), _pair(stride), strict=True
    )
    for size, width, spread, around, step in options:
        room = size + 2 * around - spread * (width - 1) - 1
        counts.append(room // step + 1)
        extra.append(room % step)
    return (counts[0], counts[1]), (extra[0], extra[1])
