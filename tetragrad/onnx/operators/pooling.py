"""Pooling: one value for each window, or for a whole image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from tetragrad.core import dtypes
from tetragrad.onnx.graph import Node
from tetragrad.onnx.operators.shape import listed, padded
from tetragrad.onnx.operators.windows import Placement, Windows, place_windows
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where

Sizes = Sequence[int]


@operator("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sizes,
    ceil_mode: int = 0,
    storage_order: int = 0,
    node: Node,
    **placement: Unpack[Placement],
) -> Any:
    place = place_windows(x.shape[2:], kernel_shape, ceil_mode=ceil_mode, **placement)
    cut = place.cut(padded(x, place.edges, "constant", dtypes.lowest(x.dtype)))
    values = cut.amax(place.inner_dims)
    if len(node.outputs) < 2:
        return values
    return values, _places(x, cut, place, bool(storage_order))


def _places(x: Tensor, cut: Tensor, place: Windows, by_column: bool) -> Tensor:
    """The flat place of each window's first largest element in the whole input."""
    numbers = np.arange(math.prod(x.shape[2:]))
    grid = numbers.reshape(x.shape[2:], order="F" if by_column else "C")
    images = math.prod(x.shape[:2])
    inner = Tensor(grid.reshape(1, 1, *x.shape[2:]))
    spread = place.cut(padded(inner, place.edges, "constant", grid.size))
    largest = cut.amax(place.inner_dims, keepdim=True)
    nowhere = spread.full_like(grid.size)
    found = where(cut.eq(largest), spread, nowhere).amin(place.inner_dims)
    first = Tensor(np.arange(images).reshape(*x.shape[:2], *(1,) * grid.ndim))
    return found + first * grid.size


@operator("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sizes,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    **placement: Unpack[Placement],
) -> Tensor:
    """The mean of each window, whose divisor leaves out what is beyond the input."""
    place = place_windows(x.shape[2:], kernel_shape, ceil_mode=ceil_mode, **placement)
    sums = place.cut(padded(x, place.edges, "constant")).sum(place.inner_dims)
    has_edges = any(any(edge) for edge in place.pads)
    if any(place.extra) or (has_edges and not count_include_pad):
        return sums / Tensor(_counts(x, place, bool(count_include_pad)))
    return sums / math.prod(place.kernel)


def _counts(x: Tensor, place: Windows, counts_pads: bool) -> np.ndarray:
    """How many elements each window counts; of shape (1, 1, *windows)."""
    counts = np.ones((1, 1), x.dtype.numpy)
    for dim, size in enumerate(x.shape[2:]):
        before, after = place.pads[dim]
        line = np.ones(before + size + after + place.extra[dim])
        line[before + size + after :] = 0
        if not counts_pads:
            line[:before] = line[before + size :] = 0
        reach = place.dilations[dim] * (place.kernel[dim] - 1) + 1
        cut = np.lib.stride_tricks.sliding_window_view(line, reach)
        sums = cut[:: place.strides[dim], :: place.dilations[dim]].sum(-1)
        counts = counts[..., None] * sums.astype(x.dtype.numpy)
    return counts


@operator("LpPool")
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sizes,
    ceil_mode: int = 0,
    p: int = 2,
    **placement: Unpack[Placement],
) -> Tensor:
    place = place_windows(x.shape[2:], kernel_shape, ceil_mode=ceil_mode, **placement)
    powers = padded(x.abs().pow(p), place.edges, "constant")
    return place.cut(powers).sum(place.inner_dims).pow(1 / p)


def _inner(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@operator("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(_inner(x), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(_inner(x), keepdim=True)


@operator("GlobalLpPool")
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    return x.abs().pow(p).sum(_inner(x), keepdim=True).pow(1 / p)


@operator("MaxUnpool")
def max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Host | None = None,
    *,
    kernel_shape: Sizes,
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Tensor:
    """Put each value back where a MaxPool found it; zero elsewhere."""
    count = len(kernel_shape)
    by, edges = strides or (1,) * count, pads or (0,) * (2 * count)
    sizes = [
        (have - 1) * by[dim] - edges[dim] - edges[dim + count] + kernel_shape[dim]
        for dim, have in enumerate(x.shape[2:])
    ]
    pooled_from = [*x.shape[:2], *sizes]
    shape = pooled_from if output_shape is None else listed(output_shape)
    places = _moved_places(indices, pooled_from, shape)
    flat = Tensor.zeros(math.prod(shape), dtype=x.dtype)
    return flat.scatter(0, places.reshape(-1), x.reshape(-1)).reshape(shape)


def _moved_places(indices: Tensor, old: Sizes, new: Sizes) -> Tensor:
    """Flat places of one shape as flat places of a larger one."""
    if list(old) == list(new):
        return indices
    result = indices.zeros_like()
    for dim in range(len(old)):
        inner = math.prod(old[dim + 1 :])
        coordinate = indices.floor_divide(inner).remainder(old[dim])
        result = result + coordinate * math.prod(new[dim + 1 :])
    return result
