"""Reading images at places that a grid gives: spatial transformers.

M. Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.joining import stack

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


def affine_grid(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The places that affine maps of a batch send the pixels of an image to.

    Args:
        theta: (batch, 2, 3), or (batch, 3, 4) for volumes.
        size: of the image: (batch, channels, height, width) or with a depth.

    Returns:
        (batch, height, width, 2): x and y between -1 and 1, for ``grid_sample``.

    >>> theta = Tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> tetragrad.nn.functional.affine_grid(theta, (1, 1, 1, 2)).shape
    (1, 1, 2, 2)
    """
    sizes = tuple(size)[2:]
    dims = len(sizes)
    if theta.shape[1:] != (dims, dims + 1):
        raise ShapeError(
            f"affine_grid() of theta {theta.shape} for an image of {dims} dimensions",
            hint=f"theta has shape (batch, {dims}, {dims + 1})",
        )
    axes = [_middles(theta, count, bool(align_corners)) for count in sizes]
    shapes = [
        [-1 if place == axis else 1 for place in range(dims)] for axis in range(dims)
    ]
    spread = [
        axis.reshape(shape).expand(sizes)
        for axis, shape in zip(axes, shapes, strict=True)
    ]
    # Coordinates are in the order x, y, z: the last dimension first.
    points = stack([*reversed(spread), theta.ones(sizes, dtype=theta.dtype)], -1)
    flat = points.reshape(1, -1, dims + 1)
    return flat.matmul(theta.mT).reshape(theta.shape[0], *sizes, dims)


def _middles(like: Tensor, count: int, align_corners: bool) -> Tensor:
    """The middles of pixels on the interval from -1 to 1."""
    if count == 1:
        return like.zeros(1, dtype=like.dtype)
    edge = 1.0 if align_corners else 1 - 1 / count
    return like.linspace(-edge, edge, count, dtype=like.dtype)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The image's values at the places of a grid.

    Args:
        input: (batch, channels, height, width), or with a depth.
        grid: (batch, …, 2): x and y, where -1 and 1 are the image's edges (the
            middles of its corner pixels with ``align_corners``). Three coordinates
            for volumes.
        mode: 'bilinear', 'nearest', or 'bicubic' (of images).
        padding_mode: what stands beyond the edges: 'zeros', 'border' or 'reflection'.

    Returns:
        (batch, channels, …) with the grid's sizes.

    >>> image = Tensor([[[[1.0, 3.0]]]])
    >>> places = Tensor([[[[0.0, 0.0]]]])
    >>> nn.functional.grid_sample(image, places, align_corners=True)
    tensor([[[[2.]]]])
    """
    dims = input.ndim - 2
    _check_grid(input, grid, mode, padding_mode)
    sizes = input.shape[2:]
    aligned = bool(align_corners)
    places = [
        _pixels(grid[..., dims - 1 - axis], size, aligned)
        for axis, size in enumerate(sizes)
    ]
    if mode != "bicubic":
        places = [
            _inside(place, size, padding_mode, aligned)
            for place, size in zip(places, sizes, strict=True)
        ]
    taps = [_taps(place, mode) for place in places]
    total: Any = None
    for corner in itertools.product(*taps):
        index = [place for place, _ in corner]
        weight = _product([share for _, share in corner])
        if mode == "bicubic":
            index = [
                _inside(place, size, padding_mode, aligned)
                for place, size in zip(index, sizes, strict=True)
            ]
        values = _read(input, index)
        if isinstance(weight, Tensor):
            values = values * weight.unsqueeze(1)
        total = values if total is None else total + values
    return total


def _product(factors: Sequence[Any]) -> Any:
    """The weight of one pixel, from those of its coordinates."""
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result


def _check_grid(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    dims = input.ndim - 2
    fits = dims in (2, 3) and grid.ndim == input.ndim and grid.shape[-1] == dims
    if not fits or grid.shape[0] != input.shape[0]:
        raise ShapeError(
            f"grid_sample() of an image {input.shape} with a grid {grid.shape}",
            hint="the grid is (batch, height, width, 2), or with a depth and 3",
        )
    if mode not in _MODES or (mode == "bicubic" and dims != 2):
        raise TetragradError(
            f"grid_sample() with mode {mode!r} in {dims} dimensions",
            hint="use 'bilinear', 'nearest', or of images 'bicubic'",
        )
    if padding_mode not in _PADDINGS:
        raise TetragradError(
            f"grid_sample() with padding_mode {padding_mode!r}",
            hint=f"use one of {', '.join(_PADDINGS)}",
        )


def _pixels(coordinate: Tensor, size: int, align_corners: bool) -> Tensor:
    """Places from -1 to 1 as numbers of pixels."""
    if align_corners:
        return (coordinate + 1) * ((size - 1) / 2)
    return ((coordinate + 1) * size - 1) / 2


def _inside(place: Tensor, size: int, padding_mode: str, align_corners: bool) -> Tensor:
    """Places beyond the edges as the padding mode has them."""
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        place = _reflected(place, size, align_corners)
    return place.clamp(0, size - 1)


def _reflected(place: Tensor, size: int, align_corners: bool) -> Tensor:
    """Places mirrored at the edges, or at the middles of the outermost pixels."""
    low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
    if span == 0:
        return place * 0
    distance = (place - low).abs()
    turns = (distance / span).floor().detach()
    rest = distance - turns * span
    is_even = turns.remainder(2) == 0
    return where(is_even, rest, span - rest) + low


def _taps(place: Tensor, mode: str) -> list[tuple[Tensor, Any]]:
    """The pixels that one coordinate reads, and their weights."""
    if mode == "nearest":
        return [(place.round(), 1.0)]
    first = place.floor().detach()
    rest = place - first
    if mode == "bilinear":
        return [(first, 1 - rest), (first + 1, rest)]
    return [(first + tap, _cubic(rest - tap)) for tap in range(-1, 3)]


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a slope of -3/4 at distance 1."""
    slope = -0.75
    size = distance.abs()
    near = ((slope + 2) * size - (slope + 3)) * size * size + 1
    far = ((slope * size - 5 * slope) * size + 8 * slope) * size - 4 * slope
    return where(size <= 1, near, far)


def _read(input: Tensor, index: list[Tensor]) -> Tensor:
    """The pixels at whole places; 0 beyond the edges."""
    batch, channels, *sizes = input.shape
    inside: Any = None
    flat: Any = 0
    for place, size in zip(index, sizes, strict=True):
        within = (place >= 0) & (place <= size - 1)
        inside = within if inside is None else inside & within
        flat = flat * size + place.clamp(0, max(size - 1, 0))
    # NaN is nowhere.
    flat = flat.masked_fill(inside.logical_not(), 0).detach().long()
    shape = (batch, channels, *flat.shape[1:])
    where_to = flat.reshape(batch, 1, -1).expand(batch, channels, -1)
    values = input.reshape(batch, channels, -1).gather(2, where_to).reshape(shape)
    return values.masked_fill(inside.logical_not().unsqueeze(1), 0)
