"""Padding, resizing and rearranging images, and attention."""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.derived import function_of

interpolate = function_of(Tensor.interpolate)
pad = function_of(Tensor.pad)
pixel_shuffle = function_of(Tensor.pixel_shuffle)
pixel_unshuffle = function_of(Tensor.pixel_unshuffle)


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """``interpolate`` under its old name.

    >>> nn.functional.upsample(Tensor([[[1.0, 2.0]]]), size=3, mode="linear")
    tensor([[[1.0000, 1.5000, 2.0000]]])
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor, size: Any = None, scale_factor: Any = None
) -> Tensor:
    """Repeat the nearest pixel.

    >>> nn.functional.upsample_nearest(Tensor([[[1.0, 2.0]]]), size=4)
    tensor([[[1., 1., 2., 2.]]])
    """
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Tensor, size: Any = None, scale_factor: Any = None
) -> Tensor:
    """Mix the four nearest pixels; the corners keep their values.

    >>> nn.functional.upsample_bilinear(Tensor([[[[0.0, 2.0]]]]), size=(1, 3))
    tensor([[[[0., 1., 2.]]]])
    """
    return interpolate(input, size, scale_factor, "bilinear", True)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave ``groups`` groups of channels (dimension 1).

    >>> nn.functional.channel_shuffle(Tensor([[1, 2, 3, 4]]), 2)
    tensor([[1, 3, 2, 4]])
    """
    batch, channels, *rest = input.shape
    if channels % groups:
        raise ShapeError(
            f"{channels} channels cannot be split into {groups} groups",
            hint="groups must divide the channels",
        )
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

    >>> query = Tensor.ones(1, 2, 4)
    >>> nn.functional.scaled_dot_product_attention(query, query, query).shape
    (1, 2, 4)
    """
    return query.scaled_dot_product_attention(
        key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )
