"""Attention, and resizing of images: the last families of methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core.errors import ShapeError, TetragradError
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
        """
        if enable_gqa:
            key = key.repeat_interleave(self.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(self.shape[-3] // value.shape[-3], -3)
        if scale is None:
            scale = 1.0 / math.sqrt(self.shape[-1])
        scores = self.matmul(key.mT) * scale
        if is_causal:
            if attn_mask is not None:
                raise TetragradError(
                    "attention with attn_mask and is_causal", hint="use one of them"
                )
            scores = _causal(scores)
        elif attn_mask is not None and attn_mask.dtype.is_bool:
            scores = scores.masked_fill(attn_mask.logical_not(), float("-inf"))
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = scores.softmax(-1)
        if dropout_p:
            weights = weights.dropout(dropout_p)
        return weights.matmul(value)

    def interpolate(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> Tensor:
        """Resize the dimensions after batch and channels.

        Args:
            size, scale_factor: the new sizes, or what to multiply the old ones by.
            mode: 'nearest', 'nearest-exact', or 'linear' / 'bilinear' / 'trilinear'.
            align_corners: for linear modes, whether corner pixels keep their values.

        >>> Tensor([[[1.0, 2.0]]]).interpolate(scale_factor=2)
        tensor([[[1., 1., 2., 2.]]])
        """
        old = self.shape[2:]
        sizes, scales = _new_sizes(old, size, scale_factor)
        modes = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear")
        if mode not in modes:
            raise TetragradError(
                f"there is no interpolation mode {mode!r}",
                hint=f"use one of {', '.join(modes)}",
            )
        result: Any = self
        for number, (count, wanted) in enumerate(zip(old, sizes, strict=True)):
            step = scales[number]
            if mode.startswith("nearest"):
                places = _nearest(count, wanted, step, mode == "nearest-exact")
                result = result.index_select(2 + number, self.tensor_class(places))
            else:
                places = _between(count, wanted, step, bool(align_corners))
                result = _blended(result, 2 + number, places)
        return result


def _new_sizes(
    old: Sequence[int], size: Any, scale_factor: Any
) -> tuple[list[int], list[float]]:
    """The sizes asked for, and how far apart output pixels are in the input."""
    if (size is None) == (scale_factor is None):
        raise ShapeError("interpolate() needs either size or scale_factor")
    if size is not None:
        sizes = [size] * len(old) if isinstance(size, int) else list(size)
        return sizes, [
            have / max(want, 1) for have, want in zip(old, sizes, strict=True)
        ]
    is_number = isinstance(scale_factor, int | float)
    factors = [scale_factor] * len(old) if is_number else list(scale_factor)
    sizes = [math.floor(have * by) for have, by in zip(old, factors, strict=True)]
    return sizes, [1 / by for by in factors]


def _nearest(count: int, wanted: int, step: float, exact: bool) -> np.ndarray:
    """The input pixel of each output pixel."""
    shift = 0.5 if exact else 0.0
    places = np.floor((np.arange(wanted) + shift) * step).astype(np.int64)
    return np.clip(places, 0, count - 1)


def _between(count: int, wanted: int, step: float, align_corners: bool) -> np.ndarray:
    """Where each output pixel lies in the input, as a fraction."""
    if align_corners:
        step = (count - 1) / (wanted - 1) if wanted > 1 else 0.0
        return np.arange(wanted) * step
    return np.clip((np.arange(wanted) + 0.5) * step - 0.5, 0, count - 1)


def _blended(source: Any, dim: int, places: np.ndarray) -> Any:
    """A mixture of the two pixels beside each place."""
    cls = source.tensor_class
    last = source.shape[dim] - 1
    low = np.minimum(np.floor(places).astype(np.int64), last)
    high = np.minimum(low + 1, last)
    shape = [-1 if axis == dim else 1 for axis in range(source.ndim)]
    weight = cls(places - low, source.dtype).reshape(shape)
    below = source.index_select(dim, cls(low))
    above = source.index_select(dim, cls(high))
    return below * (1 - weight) + above * weight


def _causal(scores: Tensor) -> Tensor:
    """-inf after the query's own position, by a comparison of positions."""
    node = scores.node
    query = positions(node.shape[-2], node.ndim - 2, node.ndim)
    key = positions(node.shape[-1], node.ndim - 1, node.ndim)
    is_later = ops.Lt(broadcast_to(query, node.shape), broadcast_to(key, node.shape))
    return scores.result(
        ops.Where(is_later, full_like(node, float("-inf")), node), scores
    )
