"""Convolutions, their transposes, and what is made of their windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.onnx.operators.shape import listed, padded
from tetragrad.onnx.operators.windows import Placement, Windows, place_windows
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.convolution import convolve, transposed_convolve
from tetragrad.tensor.joining import cat

Sizes = Sequence[int]


@operator("Conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    group: int = 1,
    kernel_shape: Sizes | None = None,
    **placement: Unpack[Placement],
) -> Tensor:
    place = place_windows(x.shape[2:], weight.shape[2:], **placement)
    return with_bias(convolved(x, weight, place, group), bias)


def convolved(x: Tensor, weight: Tensor, place: Windows, group: int) -> Tensor:
    """A convolution whose windows have been placed."""
    if group < 1 or x.shape[1] != weight.shape[1] * group or weight.shape[0] % group:
        raise ShapeError(
            f"Conv of shape {x.shape} with a weight of shape {weight.shape} in "
            f"{group} groups: the channels do not fit"
        )
    node = convolve(
        x.node, weight.node, place.strides, place.pads, place.dilations, group
    )
    return x.result(node, weight)


def with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    """Add one number a channel."""
    if bias is None:
        return x
    return x + bias.reshape(1, -1, *(1,) * (x.ndim - 2))


@operator("ConvTranspose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sizes | None = None,
    group: int = 1,
    kernel_shape: Sizes | None = None,
    output_padding: Sizes | None = None,
    output_shape: Sizes | None = None,
    pads: Sizes | None = None,
    strides: Sizes | None = None,
) -> Tensor:
    """Everything that the kernel reaches, then the edges are cut off."""
    count = x.ndim - 2
    by = tuple(strides or (1,) * count)
    apart = tuple(dilations or (1,) * count)
    more = tuple(output_padding or (0,) * count)
    zeros = (0,) * count
    whole = x.result(
        transposed_convolve(x.node, weight.node, by, zeros, zeros, apart, group), weight
    )
    given = tuple(pads or (0,) * (2 * count))
    edges = [(0, 0), (0, 0)]
    for dim, size in enumerate(whole.shape[2:]):
        before, after = given[dim], given[dim + count] - more[dim]
        wanted = None
        if output_shape:
            wanted = output_shape[dim - count]
        elif auto_pad.startswith("SAME"):
            wanted = x.shape[2 + dim] * by[dim]
        elif auto_pad == "VALID":
            before, after = 0, -more[dim]
        if wanted is not None:
            before, after = _cut_to(size, wanted, more[dim], auto_pad == "SAME_UPPER")
        edges.append((-before, -after))
    return with_bias(padded(whole, edges, "constant"), bias)


def _cut_to(size: int, wanted: int, more: int, is_upper: bool) -> tuple[int, int]:
    """What to cut off both ends; an odd element comes off one of them."""
    total = size + more - wanted
    less, larger = total // 2, total - total // 2
    before, after = (less, larger) if is_upper else (larger, less)
    return before, after - more


@operator("Col2Im")
def col2im(
    x: Tensor,
    image_shape: Host,
    block_shape: Host,
    **placement: Unpack[Placement],
) -> Tensor:
    """Add overlapping blocks up: a transposed convolution with a kernel of units."""
    sizes, block = listed(image_shape), listed(block_shape)
    place = place_windows(sizes, block, **placement)
    counts = [
        (size + sum(edge) - step * (length - 1) - 1) // by + 1
        for size, edge, step, length, by in zip(
            sizes, place.pads, place.dilations, block, place.strides, strict=True
        )
    ]
    area = math.prod(block)
    batch, rows, _ = x.shape
    channels = rows // area
    columns = x.reshape(batch * channels, area, *counts)
    units = Tensor.eye(area, dtype=x.dtype).reshape(area, 1, *block)
    zeros = (0,) * len(block)
    whole = x.result(
        transposed_convolve(
            columns.node, units.node, place.strides, zeros, zeros, place.dilations, 1
        )
    )
    edges = [(0, 0), (0, 0)]
    for size, edge, found in zip(sizes, place.pads, whole.shape[2:], strict=True):
        edges.append((-edge[0], size + edge[0] - found))
    return padded(whole, edges, "constant").reshape(batch, channels, *sizes)


@operator("DeformConv")
def deformable_convolution(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    group: int = 1,
    kernel_shape: Sizes | None = None,
    offset_group: int = 1,
    **placement: Unpack[Placement],
) -> Tensor:
    """A convolution that moves each place of its kernel by an offset of its own.

    J. Dai et al., "Deformable Convolutional Networks", 2017; with ``mask`` as in
    X. Zhu et al., "Deformable ConvNets v2", 2018.
    """
    place = place_windows(x.shape[2:], weight.shape[2:], **placement)
    batch, channels, height, width = x.shape
    area = math.prod(place.kernel)
    rows, columns = offset.shape[-2:]
    shape = (batch, offset_group, area, rows, columns)
    moved = offset.reshape(batch, offset_group, area, 2, rows, columns)
    y = moved[:, :, :, 0] + _kernel_places(place, 0, rows, x)
    x_place = moved[:, :, :, 1] + _kernel_places(place, 1, columns, x)
    images = x.reshape(batch, offset_group, channels // offset_group, height, width)
    taken = _blended(images, y, x_place)
    if mask is not None:
        taken = taken * mask.reshape(shape).unsqueeze(2)
    inner = channels // group
    outputs = weight.shape[0]
    taken = taken.reshape(batch, group, inner * area, rows * columns)
    kernels = weight.reshape(1, group, outputs // group, inner * area)
    result = kernels.matmul(taken).reshape(batch, outputs, rows, columns)
    return with_bias(result, bias)


def _kernel_places(place: Windows, dim: int, count: int, like: Tensor) -> Tensor:
    """Where each place of the kernel lies without an offset: (area, rows, columns)."""
    starts = np.arange(count) * place.strides[dim] - place.pads[dim][0]
    within = np.arange(place.kernel[dim]) * place.dilations[dim]
    other = place.kernel[1 - dim]
    within = np.repeat(within, other) if dim == 0 else np.tile(within, other)
    inner = (-1, 1) if dim == 0 else (1, -1)
    grid = within.reshape(-1, 1, 1) + starts.reshape(inner)
    return Tensor(grid.astype(like.dtype.numpy))


def _blended(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear values at places; outside of the image is zero."""
    height, width = images.shape[-2:]
    top, left = y.floor(), x.floor()
    result: Tensor | None = None
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = top + down, left + right
        weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
        inside = (row >= 0).logical_and(row < height)
        inside = inside.logical_and(column >= 0).logical_and(column < width)
        flat = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        values = _taken(images, flat.to(dtypes.int64))
        weight = where(inside, weight, weight.zeros_like()).unsqueeze(2)
        part = values * weight
        result = part if result is None else result + part
    assert result is not None
    return result


def _taken(images: Tensor, places: Tensor) -> Tensor:
    """The pixels at flat places, for every channel: (batch, groups, channels, …)."""
    batch, groups, channels, height, width = images.shape
    flat = images.reshape(batch, groups, channels, height * width)
    index = places.reshape(batch, groups, 1, -1).expand(batch, groups, channels, -1)
    return flat.gather(3, index).reshape(batch, groups, channels, *places.shape[2:])


@operator("CausalConvWithState")
def causal_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """Each channel by itself, over steps of which the first ones are remembered."""
    kept = weight.shape[-1] - 1
    if past_state is None:
        past_state = Tensor.zeros(*x.shape[:2], kept, dtype=x.dtype)
    known = cat([past_state, x], 2)
    place = place_windows(known.shape[2:], weight.shape[2:])
    result = with_bias(convolved(known, weight, place, x.shape[1]), bias)
    if activation in ("silu", "swish"):
        result = result * result.sigmoid()
    length = known.shape[2]
    return result, known.cut(2, length - kept, length)
