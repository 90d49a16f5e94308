"""Multi-head attention with all weights given, which ``nn.MultiheadAttention`` calls.

Source: Vaswani et al., "Attention is all you need", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """softmax(Q Kᵀ / √head size) V for each head, with projections before and after.

    Args:
        query: (queries, batch, features), or without a batch; ``key`` and ``value``
            are (keys, batch, features).
        in_proj_weight: (3·features, features), or None for ``q_proj_weight`` and so
            on; ``in_proj_bias`` is (3·features).
        bias_k: a key that is appended, and ``bias_v`` its value.
        static_k: keys of each head that are projected already, (batch·heads, keys,
            head size), and ``static_v`` their values.

    Returns:
        The output, and the attention weights if ``need_weights``: averaged over the
        heads, unless ``average_attn_weights`` is False.

    >>> x, weight = Tensor.ones(3, 1, 2), Tensor.eye(2)
    >>> output, weights = nn.functional.multi_head_attention_forward(
    ...     x, x, x, 2, 1, Tensor.ones(6, 2), None, None, None, False, 0.0, weight, None
    ... )
    >>> output.shape, weights.shape
    ((3, 1, 2), (1, 3, 3))

    Raises:
        ShapeError: the features are not ``embed_dim_to_check``, or cannot be split
            into so many heads.
    """
    _check_features(query, embed_dim_to_check, num_heads)
    if is_causal and attn_mask is None:
        raise ValueError(
            "is_causal=True says that attn_mask is causal, but there is none\n"
            "hint: pass attn_mask=nn.Transformer.generate_square_subsequent_mask(n)"
        )
    unbatched = query.ndim == 2
    inputs = [_batch_first(entry) for entry in (query, key, value)]
    if unbatched and key_padding_mask is not None:
        key_padding_mask = key_padding_mask.unsqueeze(0)
    weights_in: Sequence[Any] = (q_proj_weight, k_proj_weight, v_proj_weight)
    if in_proj_weight is not None:
        weights_in = in_proj_weight.chunk(3)
    queries, keys, values = _projected(inputs, weights_in, in_proj_bias)
    keys, values, extra = _extended(keys, values, bias_k, bias_v, add_zero_attn)
    mask = _joined_mask(queries, num_heads, attn_mask, key_padding_mask, extra)
    heads = [_split_heads(entry, num_heads) for entry in (queries, keys, values)]
    for place, given in ((1, static_k), (2, static_v)):
        if given is not None:
            heads[place] = given.unflatten(0, (-1, num_heads))
    dropout = dropout_p if training else 0.0
    queries, keys, values = heads
    mixed, weights = _attend(queries, keys, values, mask, dropout, need_weights)
    output = mixed.transpose(1, 2).flatten(2).linear(out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(dim=1)
    if unbatched:
        return output.squeeze(0), None if weights is None else weights.squeeze(0)
    return output.transpose(0, 1), weights


def _check_features(query: Tensor, features: int, num_heads: int) -> None:
    if query.shape[-1] != features:
        raise ShapeError(
            f"attention over {features} features of a query of shape {query.shape}",
            hint="the last size is the layer's embed_dim",
        )
    if features % num_heads:
        raise ShapeError(f"{features} features cannot be split into {num_heads} heads")


def _batch_first(input: Tensor) -> Tensor:
    if input.ndim == 2:
        return input.unsqueeze(0)
    if input.ndim != 3:
        raise ShapeError(f"attention takes 2-d or 3-d input, got {input.shape}")
    return input.transpose(0, 1)


def _projected(
    inputs: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None
) -> list[Tensor]:
    biases = [None] * 3 if bias is None else bias.chunk(3)
    return [
        input.linear(weight, bias)
        for input, weight, bias in zip(inputs, weights, biases, strict=True)
    ]


def _extended(
    keys: Tensor,
    values: Tensor,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
) -> tuple[Tensor, Tensor, int]:
    """Keys and values with a learned one and zeros after them, and how many more."""
    extra = 0
    if bias_k is not None and bias_v is not None:
        shape = keys.shape[0], 1, keys.shape[2]
        keys = cat([keys, bias_k.expand(*shape)], dim=1)
        values = cat([values, bias_v.expand(*shape)], dim=1)
        extra += 1
    if add_zero_attn:
        keys, values = keys.pad((0, 0, 0, 1)), values.pad((0, 0, 0, 1))
        extra += 1
    return keys, values, extra


def _joined_mask(
    queries: Tensor,
    num_heads: int,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    extra: int,
) -> Tensor | None:
    """What to add to the scores, broadcast to (batch, heads, queries, keys)."""
    mask = None
    if attn_mask is not None:
        mask = _additive(attn_mask, queries.dtype)
        if mask.ndim == 3:
            mask = mask.unflatten(0, (queries.shape[0], num_heads))
    if key_padding_mask is not None:
        padding = _additive(key_padding_mask, queries.dtype)
        padding = padding.unsqueeze(1).unsqueeze(1)
        mask = padding if mask is None else mask + padding
    # The appended keys may always be attended to.
    return mask if mask is None or not extra else mask.pad((0, extra))


def _additive(mask: Tensor, dtype: Any) -> Tensor:
    """A boolean mask (True: forbidden) as numbers to add to scores."""
    if not mask.dtype.is_bool:
        return mask.to(dtype)
    zeros = Tensor.zeros(*mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill(mask, -math.inf)


def _split_heads(input: Tensor, num_heads: int) -> Tensor:
    return input.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    dropout: float,
    need_weights: bool,
) -> tuple[Tensor, Tensor | None]:
    if not need_weights:
        mixed = queries.scaled_dot_product_attention(
            keys, values, attn_mask=mask, dropout_p=dropout
        )
        return mixed, None
    scores = (queries / math.sqrt(queries.shape[-1])) @ keys.transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    if dropout:
        weights = weights.dropout(dropout)
    return weights @ values, weights
