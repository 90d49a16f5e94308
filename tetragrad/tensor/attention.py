"""Attention, and resizing of images: the last families of methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.core.dtypes import accumulation
from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.markers import Detached
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, Shape
from tetragrad.tensor.gradient_rules import with_gradient
from tetragrad.tensor.promotion import broadcast_shapes, common_dtype, do_broadcast
from tetragrad.tensor.randomness import RandomMethods
from tetragrad.tensor.reductions import positions

if TYPE_CHECKING:
    from tetragrad.tensor.attention_gradient import Dropped
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
            _check_heads(self, key, value)
            key = key.repeat_interleave(self.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(self.shape[-3] // value.shape[-3], -3)
        if scale is None:
            scale = 1.0 / math.sqrt(self.shape[-1])
        # Most programs start without it.
        from tetragrad.tensor.attention_gradient import Attention

        _check_sizes(self, key, value)
        query, key, value = _alike(self, key, value, attn_mask)
        wide = accumulation(query.dtype)
        scores = query.to(wide).matmul(key.to(wide).mT) * scale
        allowed, bias = _mask_parts(scores, attn_mask, is_causal)
        if bias is not None:
            scores = scores + bias
        if allowed is not None:
            scores = scores.where(allowed, float("-inf"))
        dropped = _dropped(scores, dropout_p)
        mixed = _weights(scores, dropped).to(query.dtype).matmul(value)
        if not query.dtype.is_floating_point:
            return mixed
        rule = Attention(
            query.node,
            key.node,
            value.node,
            scores.node,
            mixed.node,
            scale,
            None if allowed is None else allowed.node,
            None if bias is None else bias.node,
            dropped,
        )
        node = with_gradient(Detached(mixed.node), rule.inputs, rule)
        return mixed.result(node, query, key, value, *([] if bias is None else [bias]))

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


def _mask_parts(
    scores: Tensor, attn_mask: Tensor | None, is_causal: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Which scores are allowed, and what is added to them: at most one of the two."""
    if is_causal and attn_mask is not None:
        raise TetragradError(
            "attention with attn_mask and is_causal", hint="use one of them"
        )
    if is_causal:
        return scores.result(_not_later(scores.node)), None
    if attn_mask is None:
        return None, None
    if attn_mask.dtype.is_bool:
        return _spread_mask(attn_mask, scores.shape), None
    return None, _spread_mask(attn_mask, scores.shape).to(scores.dtype)


def _spread_mask(mask: Tensor, shape: Shape) -> Tensor:
    if not do_broadcast(mask.shape, shape):
        raise ShapeError(
            f"attention with attn_mask of shape {mask.shape}: scores have shape "
            f"{shape}",
            hint="a mask is (queries, keys), or that with heads and batch in front",
        )
    return mask.expand(shape)


def _check_heads(query: AttentionMethods, key: Tensor, value: Tensor) -> None:
    """Raise unless a number of query heads share each head of keys and values."""
    heads = [entry.shape[-3] if entry.ndim > 2 else 0 for entry in (query, key, value)]
    if not all(heads) or heads[0] % heads[1] or heads[0] % heads[2]:
        raise ShapeError(
            f"attention with enable_gqa of {heads[0]} query heads, {heads[1]} key "
            f"heads and {heads[2]} value heads",
            hint="shapes are (batch, heads, sequence, features); the query's heads are "
            "a multiple of the others'",
        )


def _not_later(scores: Node) -> Node:
    """Whether a key stands no later than a query, by a comparison of positions."""
    query = positions(scores.shape[-2], scores.ndim - 2, scores.ndim)
    key = positions(scores.shape[-1], scores.ndim - 1, scores.ndim)
    later = ops.Lt(broadcast_to(query, scores.shape), broadcast_to(key, scores.shape))
    return ops.Not(later)


def _check_sizes(query: AttentionMethods, key: Tensor, value: Tensor) -> None:
    """Refuse queries, keys and values that do not belong together."""
    given = query, key, value
    is_fitting = all(entry.ndim > 1 for entry in given) and (
        query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    )
    if not is_fitting:
        shapes = ", ".join(str(entry.shape) for entry in given)
        raise ShapeError(
            f"attention of query, key and value of shapes {shapes}",
            hint="they are (…, sequence, features): queries and keys have as many "
            "features, keys and values as many positions",
        )


def _alike(
    query: AttentionMethods, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The three in one dtype, with equal dimensions before the last two."""
    dtype = common_dtype(query, key, value)
    given = [query, key, value] if mask is None else [query, key, value, mask]
    batch = broadcast_shapes(*(entry.shape[:-2] for entry in given))
    found = (
        entry.to(dtype).expand((*batch, *entry.shape[-2:]))
        for entry in (query, key, value)
    )
    first, second, third = found
    return first, second, third


def _weights(scores: Tensor, dropped: Dropped | None) -> Tensor:
    """The softmax of each row, some of it dropped before all is divided by the sum."""
    if dropped is None:
        return scores.softmax(-1)
    powers = (scores - scores.amax(-1, keepdim=True).detach()).exp()
    total = powers.sum(-1, keepdim=True)
    return powers.result(dropped.apply(powers.node)) / total


def _dropped(scores: Tensor, probability: float) -> Dropped | None:
    """Which weights are not dropped at random."""
    if not 0 <= probability <= 1:
        raise TetragradError(
            f"attention with dropout_p {probability}",
            hint="a probability is between 0 and 1",
        )
    if not probability:
        return None
    from tetragrad.tensor.attention_gradient import Dropped

    factor = 1.0 / (1.0 - probability) if probability < 1 else 0.0
    kept = RandomMethods.rand(scores.shape) >= probability
    return Dropped(kept.node, factor)
