"""Attention, and resizing of images: the last families of methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.core import dtypes
from tetragrad.core.errors import TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import broadcast_to
from tetragrad.tensor.randomness import RandomMethods
from tetragrad.tensor.reductions import positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class AttentionMethods(RandomMethods):
    """Methods of whole layers that need everything below."""

    __slots__ = ()

    def scaled_dot_product_attention(
        self,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """softmax(query @ key.mT * scale + mask) @ value; self is the query.

        Args:
            key, value: (…, sequence, features); heads broadcast, or repeat with
                ``enable_gqa``.
            attn_mask: bools (False: not attended to) or numbers to add.
            is_causal: attend to no position after the query's own.
            scale: 1 / sqrt(features) if left out.

        Scores of half-width floats are float32, as they are summed; the weights are
        rounded to the values' dtype before they are multiplied by them.

        >>> query = Tensor.ones(1, 2, 4)
        >>> query.scaled_dot_product_attention(query, query).shape
        (1, 2, 4)
        """
        if enable_gqa:
            key = key.repeat_interleave(self.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(self.shape[-3] // value.shape[-3], -3)
        if scale is None:
            scale = 1.0 / math.sqrt(self.shape[-1])
        query = self
        if self.dtype.is_floating_point and self.dtype.bits == 16:
            query, key = self.to(dtypes.float32), key.to(dtypes.float32)
        scores = query.matmul(key.mT) * scale
        if is_causal:
            if attn_mask is not None:
                raise TetragradError(
                    "attention with attn_mask and is_causal", hint="use one of them"
                )
            scores = _causal(scores)
        elif attn_mask is not None and attn_mask.dtype.is_bool:
            scores = scores.where(attn_mask, float("-inf"))
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = scores.softmax(-1).to(self.dtype)
        if dropout_p:
            weights = weights.dropout(dropout_p)
        return weights.matmul(value)

    def interpolate(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        antialias: bool = False,
    ) -> Tensor:
        """Resize the dimensions after batch and channels.

        Args:
            size, scale_factor: the new sizes, or what to multiply the old ones by.
            mode: 'nearest', 'nearest-exact', 'linear' / 'bilinear' / 'trilinear',
                'bicubic', or 'area' (the means of nearly equal cells).
            align_corners: whether corner pixels keep their values.
            recompute_scale_factor: derive the factor from the rounded sizes again.
            antialias: when an image shrinks, mix all pixels that a new one covers.

        >>> Tensor([[[1.0, 2.0]]]).interpolate(scale_factor=2)
        tensor([[[1., 1., 2., 2.]]])
        """
        from tetragrad.tensor.resizing import new_sizes, resize

        if recompute_scale_factor and scale_factor is not None:
            size, _ = new_sizes(self.shape[2:], None, scale_factor)
            scale_factor = None
        aligned = bool(align_corners)
        return resize(self, size, scale_factor, mode, aligned, antialias)


def _causal(scores: Tensor) -> Tensor:
    """-inf after the query's own position, by a comparison of positions."""
    node = scores.node
    query = positions(node.shape[-2], node.ndim - 2, node.ndim)
    key = positions(node.shape[-1], node.ndim - 1, node.ndim)
    is_later = ops.Lt(broadcast_to(query, node.shape), broadcast_to(key, node.shape))
    return scores.result(
        ops.Where(is_later, full_like(node, float("-inf")), node), scores
    )
