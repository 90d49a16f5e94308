"""Tell a story, letter by letter, with a network of 0.9 million weights.

python examples/tell_story.py "Once upon a time" --temperature 0.8 --seed 1
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from sentencepiece import SentencePieceProcessor

from tetragrad import Tensor, cat, jit, manual_seed, nn, no_grad
from tetragrad.data import DataFile, read_data_file
from tetragrad.nn import functional as F
from tetragrad.state import load_safetensors

WEIGHTS = DataFile(
    "llm/babyllama.hf.safetensors",
    sha256="0bacbb6fdefc3a474e186e8dd97ffa1f3e168bf61c24955ad9199949cdd4a3d9",
    nbytes=3_750_768,
)
TOKENIZER = DataFile(
    "llm/babyllama_tok105.model",
    sha256="eed6827c1b4d876b982b9b628626dba444960a041857085e0d88c4a92aa8d3c6",
    nbytes=1_181,
)
WIDTH, HIDDEN, LAYERS, VOCABULARY, NORM_EPS = 128, 352, 5, 105, 1e-5
QUERY_HEADS, KEY_HEADS, HEAD_WIDTH, MAX_LENGTH = 8, 4, 16, 256
linear = partial(nn.Linear, bias=False)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turn pairs of features by angles that grow with the position."""
    first, second = x.chunk(2, dim=-1)
    speeds = 10_000 ** (-Tensor.arange(HEAD_WIDTH // 2) / (HEAD_WIDTH // 2))
    angles = positions.unsqueeze(-1) * speeds
    cosine, sine = angles.cos(), angles.sin()
    return cat((first * cosine - second * sine, second * cosine + first * sine), -1)


class Attention(nn.Module):
    """Each token gathers values from itself and the tokens before it."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = linear(WIDTH, QUERY_HEADS * HEAD_WIDTH)
        self.k_proj = linear(WIDTH, KEY_HEADS * HEAD_WIDTH)
        self.v_proj = linear(WIDTH, KEY_HEADS * HEAD_WIDTH)
        self.o_proj = linear(QUERY_HEADS * HEAD_WIDTH, WIDTH)
        for name in ("known_keys", "known_values"):
            memory = Tensor.zeros(KEY_HEADS, MAX_LENGTH, HEAD_WIDTH)
            self.register_buffer(name, memory, persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        queries, keys, values = (
            layer(x).unflatten(-1, (-1, HEAD_WIDTH)).transpose(0, 1)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        self.known_keys[:, positions] = rotate(keys, positions)
        self.known_values[:, positions] = values
        mixed = F.scaled_dot_product_attention(
            rotate(queries, positions), self.known_keys, self.known_values,
            Tensor.arange(MAX_LENGTH) <= positions.unsqueeze(-1), enable_gqa=True,
        )  # fmt: skip
        return self.o_proj(mixed.transpose(0, 1).flatten(1))


class Block(nn.Module):
    """Attention, then a gated layer on each token by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(WIDTH, NORM_EPS)
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, NORM_EPS)
        self.mlp = nn.Module()
        self.mlp.gate_proj = linear(WIDTH, HIDDEN)
        self.mlp.up_proj = linear(WIDTH, HIDDEN)
        self.mlp.down_proj = linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), positions)
        normed = self.post_attention_layernorm(x)
        gates = F.silu(self.mlp.gate_proj(normed))
        return x + self.mlp.down_proj(gates * self.mlp.up_proj(normed))


class Llama(nn.Module):
    """Llama (Touvron et al., 2023): tokens and positions to scores for what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.RMSNorm(WIDTH, NORM_EPS)

    @jit
    @no_grad()
    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, positions)
        return F.linear(self.norm(x[-1]), self.embed_tokens.weight)


def continue_from(model: Llama, tokens: list[int], temperature: float) -> Iterator[int]:
    """One token after the other, until the memory is full."""
    start = 0
    while (stop := start + len(tokens)) <= MAX_LENGTH:
        scores = model(Tensor(tokens), Tensor(list(range(start, stop))))
        start, tokens = stop, [choose(scores, temperature)]
        yield tokens[0]


def choose(scores: Tensor, temperature: float) -> int:
    """The likeliest token at temperature 0, and bolder choices above."""
    if temperature == 0:
        return int(scores.argmax().item())
    return int((scores / temperature).softmax(dim=-1).multinomial(1).item())


def load_llama() -> Llama:
    weights = load_safetensors(read_data_file(WEIGHTS))
    model = Llama().eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in weights.items()})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("beginning", nargs="?", default="Once upon a time")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    manual_seed(options.seed)
    tokenizer = SentencePieceProcessor(model_proto=read_data_file(TOKENIZER))
    start = tokenizer.encode(options.beginning, add_bos=True)
    print(options.beginning, end="", flush=True)
    for token in continue_from(load_llama(), start, options.temperature):
        if token in (tokenizer.bos_id(), tokenizer.eos_id()):
            break
        print(tokenizer.id_to_piece(token).replace("▁", " "), end="", flush=True)
    print()


if __name__ == "__main__":
    main()
