"""Multi-head attention (Vaswani et al., "Attention is all you need", 2017)."""

from __future__ import annotations

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
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        weights = [getattr(self, name) for name in names]
        for weight in [entry for entry in weights if entry is not None]:
            init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for added in (self.bias_k, self.bias_v):
            if added is not None:
                init.xavier_normal_(added)

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
        swap = self.batch_first and query.ndim == 3
        if swap:
            query, key, value = (entry.transpose(0, 1) for entry in (query, key, value))
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=self.in_proj_weight is None,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return output.transpose(0, 1) if swap else output, weights

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"
