"""Transformers for the benchmarks, written once for both libraries.

``library`` is ``tetragrad`` or ``torch``: the words are those that both share. In half
width, linear layers and attention read and write that dtype beside float32 parameters,
as under PyTorch's autocast; what lies between layers stays float32.

Sources: Radford et al., "Language models are unsupervised multitask learners", 2019
(GPT-2); Dosovitskiy et al., "An image is worth 16x16 words", 2021 (ViT); Grattafiori et
al., "The Llama 3 herd of models", 2024.
"""

from __future__ import annotations

from typing import Any

from tetragrad.core.frozen import frozen


@frozen
class Transformer:
    """How large a transformer is. ``words`` are classes where it looks at images."""

    layers: int
    width: int
    heads: int
    words: int
    #: Tokens, or places of a cache, at most.
    length: int


@frozen
class Decoder(Transformer):
    """Also the heads of keys and values, and the numbers inside a gated layer."""

    key_heads: int
    hidden: int


#: GPT-2's vocabulary is rounded up to a multiple of 64, as its trainers do.
GPT2 = Transformer(12, 768, 12, 50304, 1024)
VIT_B16 = Transformer(12, 768, 12, 1000, 224)
LLAMA3_8B = Decoder(32, 4096, 32, 128256, 1024, 8, 14336)
PATCH = 16
#: The base of Llama 3's angles, and what its norms add.
ROTATION, NORM_EPS = 500_000.0, 1e-5


def linear_layer(nn: Any, half: Any) -> Any:
    """The linear layer as it is, or one that computes in half width."""
    if half is None:
        return nn.Linear

    class Linear(nn.Linear):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            weight, bias = self.weight.to(half), self.bias
            bias = None if bias is None else bias.to(half)
            return nn.functional.linear(x.to(half), weight, bias)

    return Linear


def encoder_block(library: Any, size: Transformer, half: Any, *, causal: bool) -> Any:
    """A block that normalises first: attention, then a layer on each token."""
    nn, width, heads = library.nn, size.width, size.heads
    linear = linear_layer(nn, half)
    attention = nn.functional.scaled_dot_product_attention

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = linear(width, 3 * width), linear(width, width)
            self.up, self.down = linear(width, 4 * width), linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            q, k, v = (
                part.reshape(batch, length, heads, -1).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).chunk(3, -1)
            )
            mixed = attention(q, k, v, is_causal=causal).transpose(1, 2)
            x = x + self.out(mixed.reshape(batch, length, width))
            hidden = nn.functional.gelu(self.up(self.norm2(x)), approximate="tanh")
            return x + self.down(hidden)

    return Block()


def gpt2(library: Any, size: Transformer, half: Any = None) -> Any:
    """GPT-2: scores of the next word for each; the last layer is the first one."""
    nn = library.nn

    class Gpt2(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(size.words, size.width)
            self.places = nn.Embedding(size.length, size.width)
            self.blocks = nn.Sequential(
                *(
                    encoder_block(library, size, half, causal=True)
                    for _ in range(size.layers)
                )
            )
            self.norm = nn.LayerNorm(size.width)

        def forward(self, words: Any) -> Any:
            x = self.words(words) + self.places.weight[: words.shape[1]]
            x, weight = self.norm(self.blocks(x)), self.words.weight
            if half is not None:
                x, weight = x.to(half), weight.to(half)
            return nn.functional.linear(x, weight)

    return Gpt2()


def vision_transformer(library: Any, size: Transformer, half: Any = None) -> Any:
    """ViT: scores of each class, from a word of its own beside those of patches."""
    nn, width = library.nn, size.width
    linear = linear_layer(nn, half)
    patches = (size.length // PATCH) ** 2

    class VisionTransformer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, PATCH, PATCH)
            self.first = nn.Parameter(library.zeros(1, 1, width))
            self.places = nn.Parameter(library.zeros(1, patches + 1, width))
            self.blocks = nn.Sequential(
                *(
                    encoder_block(library, size, half, causal=False)
                    for _ in range(size.layers)
                )
            )
            self.norm, self.head = nn.LayerNorm(width), linear(width, size.words)

        def forward(self, x: Any) -> Any:
            weight, bias = self.patches.weight, self.patches.bias
            if half is not None:
                x, weight, bias = x.to(half), weight.to(half), bias.to(half)
            words = nn.functional.conv2d(x, weight, bias, PATCH)
            words = words.flatten(2).transpose(1, 2)
            first = self.first.expand(x.shape[0], 1, width)
            words = library.cat((first, words), 1) + self.places
            return self.head(self.norm(self.blocks(words))[:, 0])

    return VisionTransformer()


def llama(library: Any, size: Decoder, batch: int) -> Any:
    """Llama 3: scores of the next token; keys and values are kept."""
    nn = library.nn

    class Llama(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(size.words, size.width)
            self.layers = nn.ModuleList(
                [_decoder_block(library, size, batch) for _ in range(size.layers)]
            )
            self.norm = nn.RMSNorm(size.width, NORM_EPS)
            self.head = nn.Linear(size.width, size.words, bias=False)

        def forward(self, tokens: Any, positions: Any) -> Any:
            x = self.words(tokens)
            seen = library.arange(size.length, device=tokens.device)
            allowed = seen <= positions[:, None]
            turn = _turn(library, size, positions)
            for layer in self.layers:
                x = layer(x, positions, turn, allowed)
            return self.head(self.norm(x[:, -1:]))

    return Llama()


def _turn(library: Any, size: Decoder, positions: Any) -> tuple[Any, Any]:
    """Cosine and sine of each position's angles: Su et al., "RoFormer", 2021."""
    half_width = size.width // size.heads // 2
    features = library.arange(half_width, device=positions.device).float()
    angles = positions[:, None] * ROTATION ** (-features / half_width)
    return angles.cos(), angles.sin()


def _decoder_block(library: Any, size: Decoder, batch: int) -> Any:
    """Attention to all that came before, then a gated layer on each token."""
    nn, width = library.nn, size.width
    head_width = width // size.heads
    keys_width = size.key_heads * head_width
    attention = nn.functional.scaled_dot_product_attention

    def rotated(x: Any, turn: tuple[Any, Any]) -> Any:
        first, second = x.float().chunk(2, -1)
        cosine, sine = turn
        pair = (first * cosine - second * sine, second * cosine + first * sine)
        return library.cat(pair, -1).to(x.dtype)

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.RMSNorm(width, NORM_EPS)
            self.norm2 = nn.RMSNorm(width, NORM_EPS)
            self.qkv = nn.Linear(width, width + 2 * keys_width, bias=False)
            self.out = nn.Linear(width, width, bias=False)
            self.up = nn.Linear(width, 2 * size.hidden, bias=False)
            self.down = nn.Linear(size.hidden, width, bias=False)
            shape = (batch, size.key_heads, size.length, head_width)
            for name in ("keys", "values"):
                self.register_buffer(name, library.zeros(shape), persistent=False)

        def forward(self, x: Any, positions: Any, turn: Any, allowed: Any) -> Any:
            count, length, _ = x.shape
            heads = self.qkv(self.norm1(x)).reshape(count, length, -1, head_width)
            heads = heads.transpose(1, 2)
            last = size.heads + size.key_heads
            query, key = heads[:, : size.heads], heads[:, size.heads : last]
            self.keys[:, :, positions] = rotated(key, turn)
            self.values[:, :, positions] = heads[:, last:]
            mixed = attention(
                rotated(query, turn), self.keys, self.values, allowed, enable_gqa=True
            )
            x = x + self.out(mixed.transpose(1, 2).reshape(count, length, width))
            gate, value = self.up(self.norm2(x)).chunk(2, -1)
            return x + self.down(nn.functional.silu(gate) * value)

    return Block()
