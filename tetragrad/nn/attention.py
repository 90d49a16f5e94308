"""Multi-head attention (Vaswani et al., "Attention is all you need", 2017)."""

from __future__ import annotations

import math
from typing import Any

from tetragrad.core.errors import ShapeError
from tetragrad.nn import functional as F
from tetragrad.nn import init
from tetragrad.nn.linear import Linear, empty_parameter
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor


class MultiheadAttention(Module):
    """softmax(Q Kᵀ / √head size) V for each head, with learned projections.

    Inputs are (time, batch, features), or (batch, time, features) if
    ``batch_first``, or (time, features). ``key_padding_mask`` (batch, keys) and
    ``attn_mask`` (queries, keys) or (batch·heads, queries, keys) are boolean, True
    where attention is forbidden, or floating point and added to the scores.

    Returns the output and, if ``need_weights``, the attention weights (averaged over
    the heads unless ``average_attn_weights=False``), else None.

    >>> from tetragrad import Tensor, nn
    >>> attention = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> output, weights = attention(*[Tensor.ones(1, 5, 8)] * 3)
    >>> output.shape, weights.shape
    ((1, 5, 8), (1, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ShapeError(
                f"embed_dim {embed_dim} cannot be split into {num_heads} heads",
                hint="num_heads must divide embed_dim",
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        place = {"device": device, "dtype": dtype}
        self._add_projections(place)
        if bias:
            self.in_proj_bias = empty_parameter(3 * embed_dim, **place)
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **place)
        for name in ("bias_k", "bias_v"):
            added = empty_parameter(1, 1, embed_dim, **place) if add_bias_kv else None
            self.register_parameter(name, added)
        self.reset_parameters()

    def _add_projections(self, place: dict[str, Any]) -> None:
        """One weight for all three projections, or three if sizes differ."""
        size = self.embed_dim
        if (self.kdim, self.vdim) == (size, size):
            self.in_proj_weight = empty_parameter(3 * size, size, **place)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
            return
        self.q_proj_weight = empty_parameter(size, size, **place)
        self.k_proj_weight = empty_parameter(size, self.kdim, **place)
        self.v_proj_weight = empty_parameter(size, self.vdim, **place)
        self.register_parameter("in_proj_weight", None)

    def reset_parameters(self) -> None:
        """Xavier-uniform input projections, zero biases."""
        for weight in self._projection_weights(split=False):
            init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for added in (self.bias_k, self.bias_v):
            if added is not None:
                init.xavier_normal_(added)

    def _projection_weights(self, split: bool = True) -> list[Tensor]:
        """The weights that make queries, keys and values."""
        if self.in_proj_weight is None:
            return [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        whole = self.in_proj_weight
        return list(whole.chunk(3)) if split else [whole]

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise ValueError(
                "is_causal=True says that attn_mask is causal, but there is none\n"
                "hint: pass attn_mask=nn.Transformer.generate_square_subsequent_mask(n)"
            )
        unbatched = query.ndim == 2
        inputs = [self._batch_first(entry) for entry in (query, key, value)]
        if unbatched and key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
        queries, keys, values = self._project(*inputs)
        keys, values, extra = self._extend(keys, values)
        mask = self._joined_mask(queries, attn_mask, key_padding_mask, extra)
        heads = (self._split_heads(entry) for entry in (queries, keys, values))
        query, key, value = heads
        mixed, weights = self._attend(query, key, value, mask, need_weights)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if unbatched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _batch_first(self, input: Tensor) -> Tensor:
        if input.ndim == 2:
            return input.unsqueeze(0)
        if input.ndim != 3:
            raise ShapeError(
                f"attention takes 2-d or 3-d input, got {input.shape}",
                hint="pass (time, batch, features), or (time, features)",
            )
        return input if self.batch_first else input.transpose(0, 1)

    def _project(self, *inputs: Tensor) -> list[Tensor]:
        biases: list[Tensor | None] = [None] * 3
        if self.in_proj_bias is not None:
            biases = list(self.in_proj_bias.chunk(3))
        weights = self._projection_weights()
        return [
            F.linear(input, weight, bias)
            for input, weight, bias in zip(inputs, weights, biases, strict=True)
        ]

    def _extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Append the learned key and value, and zeros, if there are any."""
        extra = 0
        if self.bias_k is not None:
            shape = keys.shape[0], 1, self.embed_dim
            keys = F.cat([keys, self.bias_k.expand(*shape)], dim=1)
            values = F.cat([values, self.bias_v.expand(*shape)], dim=1)
            extra += 1
        if self.add_zero_attn:
            keys = F.pad(keys, (0, 0, 0, 1))
            values = F.pad(values, (0, 0, 0, 1))
            extra += 1
        return keys, values, extra

    def _joined_mask(
        self,
        queries: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        extra: int,
    ) -> Tensor | None:
        """What to add to the scores, broadcast to (batch, heads, queries, keys)."""
        mask = None
        if attn_mask is not None:
            mask = _additive(attn_mask, queries.dtype)
            if mask.ndim == 3:
                mask = mask.unflatten(0, (queries.shape[0], self.num_heads))
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, queries.dtype)
            padding = padding.unsqueeze(1).unsqueeze(1)
            mask = padding if mask is None else mask + padding
        # The appended keys may always be attended to.
        return mask if mask is None or not extra else F.pad(mask, (0, extra))

    def _split_heads(self, input: Tensor) -> Tensor:
        return input.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            mixed = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, dropout_p=dropout
            )
            return mixed, None
        scores = (queries / math.sqrt(self.head_dim)) @ keys.transpose(-2, -1)
        weights = F.softmax(scores if mask is None else scores + mask, -1)
        if dropout:
            weights = F.dropout(weights, dropout)
        return weights @ values, weights

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"


def _additive(mask: Tensor, dtype: Any) -> Tensor:
    """A boolean mask (True: forbidden) as numbers to add to scores."""
    if not mask.dtype.is_bool:
        return mask.to(dtype)
    zeros = Tensor.zeros(*mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill(mask, -math.inf)
