"""Padding, resizing and rearranging images, and attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor


def pad(
    input: Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """Pad the last dimensions: two numbers for each, the last dimension first.

    ``mode`` is 'constant', 'reflect', 'replicate' or 'circular'.
    """
    return input.pad(tuple(pad), mode, 0.0 if value is None else value)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the last dimensions to ``size``, or by ``scale_factor``."""
    return input.interpolate(
        size, scale_factor, mode, align_corners, recompute_scale_factor, antialias
    )


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C·r², H, W) to (*, C, H·r, W·r)."""
    factor = upscale_factor
    if input.ndim < 3 or input.shape[-3] % factor**2:
        raise ShapeError(
            f"pixel_shuffle by {factor} of shape {input.shape}: the channels must be "
            f"a multiple of {factor**2}"
        )
    *batch, channels, height, width = input.shape
    split = input.reshape(-1, channels // factor**2, factor, factor, height, width)
    moved = split.permute(0, 1, 4, 2, 5, 3)
    return moved.reshape(*batch, channels // factor**2, height * factor, width * factor)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H·r, W·r) to (*, C·r², H, W)."""
    factor = downscale_factor
    *batch, channels, height, width = input.shape
    if height % factor or width % factor:
        raise ShapeError(
            f"pixel_unshuffle by {factor} of shape {input.shape}: height and width "
            f"must be multiples of {factor}"
        )
    rows, columns = height // factor, width // factor
    split = input.reshape(-1, channels, rows, factor, columns, factor)
    moved = split.permute(0, 1, 3, 5, 2, 4)
    return moved.reshape(*batch, channels * factor**2, rows, columns)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` groups of channels (dimension 1)."""
    batch, channels, *rest = input.shape
    if channels % groups:
        raise ShapeError(f"{channels} channels cannot be split into {groups} groups")
    split = input.reshape(batch, groups, channels // groups, *rest)
    return split.transpose(1, 2).reshape(input.shape)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(Q Kᵀ·scale + mask) V over the last two dimensions.

    ``scale`` is 1/√features unless given; a boolean mask is True where attention is
    allowed; ``is_causal`` allows keys up to the query's own position; ``enable_gqa``
    lets several query heads share one key head.
    """
    if enable_gqa:
        shared = query.shape[-3] // key.shape[-3]
        key = key.repeat_interleave(shared, -3)
        value = value.repeat_interleave(shared, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        if attn_mask is not None:
            raise ValueError("give attn_mask or is_causal, not both")
        rows = Tensor.arange(query.shape[-2], device=query.device).unsqueeze(1)
        attn_mask = rows >= Tensor.arange(key.shape[-2], device=query.device)
    if attn_mask is not None and attn_mask.dtype.is_bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    if dropout_p:
        from tetragrad.nn.functional.regularization import dropout

        weights = dropout(weights, dropout_p)
    return weights @ value
