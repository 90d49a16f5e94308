"""Transformer layers and stacks (Vaswani et al. 2017), with PyTorch's names."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from tetragrad.nn import functional as F
from tetragrad.nn import init
from tetragrad.nn.attention import MultiheadAttention
from tetragrad.nn.containers import ModuleList
from tetragrad.nn.dropout import Dropout
from tetragrad.nn.linear import Linear
from tetragrad.nn.module import Module
from tetragrad.nn.normalization import LayerNorm
from tetragrad.tensor import Tensor

Activation = Callable[[Tensor], Tensor]


def _activation(activation: str | Activation) -> Activation:
    if not isinstance(activation, str):
        return activation
    known: dict[str, Activation] = {"relu": F.relu, "gelu": F.gelu}
    if activation not in known:
        raise ValueError(
            f"activation is 'relu', 'gelu' or a function, not {activation!r}"
        )
    return known[activation]


class _TransformerLayer(Module):
    """Self-attention and the two-layer network that both kinds of layer have."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place
        )
        self._add_cross_attention(d_model, nhead, dropout, bias, batch_first, place)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **place)
        self.norm_first = norm_first
        for number in range(1, self.blocks + 1):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            self.register_module(f"norm{number}", norm)
        for number in range(1, self.blocks + 1):
            self.register_module(f"dropout{number}", Dropout(dropout))
        self.activation = _activation(activation)

    blocks: int

    def _add_cross_attention(self, *arguments: Any) -> None:
        """Encoder layers have none."""

    def _residual(
        self, x: Tensor, number: int, block: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """x + dropout(block(x)), normalised before the block or after the sum."""
        norm = self._modules[f"norm{number}"]
        dropout = self._modules[f"dropout{number}"]
        if self.norm_first:
            return x + dropout(block(norm(x)))
        return norm(x + dropout(block(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention, then a two-layer network; each with a residual and a norm.

    Input: (time, batch, d_model), or (batch, time, d_model) if ``batch_first``.
    ``norm_first`` normalises before each block instead of after.

    >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    >>> layer(Tensor.ones(5, 1, 8)).shape
    (5, 1, 8)
    """

    blocks = 2

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, attn_mask=src_mask, key_padding_mask=src_key_padding_mask,
                need_weights=False, is_causal=is_causal,
            )[0]  # fmt: skip

        return self._residual(self._residual(src, 1, attend), 2, self._feed_forward)


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention, attention to ``memory``, then a two-layer network.

    >>> layer = nn.TransformerDecoderLayer(8, 2, dim_feedforward=16)
    >>> layer(Tensor.ones(3, 1, 8), Tensor.ones(5, 1, 8)).shape
    (3, 1, 8)
    """

    blocks = 3

    def _add_cross_attention(
        self,
        d_model: int,
        nhead: int,
        dropout: float,
        bias: bool,
        batch_first: bool,
        place: dict[str, Any],
    ) -> None:
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place
        )

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, attn_mask=tgt_mask, key_padding_mask=tgt_key_padding_mask,
                need_weights=False, is_causal=tgt_is_causal,
            )[0]  # fmt: skip

        def attend_to_memory(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x, memory, memory, attn_mask=memory_mask,
                key_padding_mask=memory_key_padding_mask, need_weights=False,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip

        x = self._residual(tgt, 1, attend)
        x = self._residual(x, 2, attend_to_memory)
        return self._residual(x, 3, self._feed_forward)


def _copies(layer: Module, count: int) -> ModuleList:
    """Independent copies; the layer itself is not among them."""
    return ModuleList(copy.deepcopy(layer) for _ in range(count))


class TransformerEncoder(Module):
    """``num_layers`` copies of an encoder layer, one after another.

    ``enable_nested_tensor`` and ``mask_check`` are accepted and change nothing.

    >>> layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    >>> nn.TransformerEncoder(layer, 2)(Tensor.ones(5, 1, 8)).shape
    (5, 1, 8)
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """``num_layers`` copies of a decoder layer, one after another.

    >>> layer = nn.TransformerDecoderLayer(8, 2, dim_feedforward=16)
    >>> decoder = nn.TransformerDecoder(layer, 2)
    >>> decoder(Tensor.ones(3, 1, 8), Tensor.ones(5, 1, 8)).shape
    (3, 1, 8)
    """

    def __init__(
        self, decoder_layer: Module, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
                memory_key_padding_mask,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder, all matrices initialised Xavier-uniform.

    >>> model = nn.Transformer(8, 2, 1, 1, dim_feedforward=16)
    >>> model(Tensor.ones(5, 1, 8), Tensor.ones(3, 1, 8)).shape
    (3, 1, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        layer_arguments = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
            batch_first, norm_first, bias,
        )  # fmt: skip

        def final_norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **place)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*layer_arguments, **place),
            num_encoder_layers,
            final_norm(),
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*layer_arguments, **place),
            num_decoder_layers,
            final_norm(),
        )
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
            memory_key_padding_mask,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: str | None = None, dtype: Any = None
    ) -> Tensor:
        """The causal mask: -inf above the diagonal, 0 elsewhere.

        >>> nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        full = Tensor.full((sz, sz), -math.inf, device=device, dtype=dtype)
        return full.triu(1)
