"""Sort six letters with a tiny GPT: 85,000 weights that learned nothing else.

    python examples/sort_letters.py CBABBC

The network is a GPT-2 (Radford et al., 2019) of three layers. It reads the letters,
then writes them in order, one at a time, each time reading what it has written so far.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
from typing import Any

import numpy as np

from tetragrad import Tensor, nn, no_grad
from tetragrad.data import DataFile, read_data_file

SOURCE = "https://raw.githubusercontent.com/bbycroft/llm-viz/main/public/"
WEIGHTS = DataFile(
    "llm/gpt-nano-sort-model.json",
    sha256="a38d5f450e0c808305973c587cdd389ca4de92bbf60fa6a4482bf9a03f0a6051",
    nbytes=466_124,
    urls=(SOURCE + "gpt-nano-sort-model.json",),
)
LETTERS, COUNT = "ABC", 6


class Attention(nn.Module):
    """Each position gathers values from itself and the positions before it."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.register_buffer("bias", Tensor.ones(1, 1, length, length).tril())

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.split(self.c_attn(x))
        mixed = self.scores(queries, keys).softmax(dim=-1) @ values
        return self.c_proj(mixed.transpose(1, 2).flatten(2))

    def split(self, projected: Tensor) -> list[Tensor]:
        """Queries, keys and values as (batch, head, position, feature)."""
        parts = projected.chunk(3, dim=-1)
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """How much each position attends to each; never to a later one."""
        length, features = queries.shape[-2:]
        products = queries @ keys.transpose(-2, -1) / math.sqrt(features)
        return products.masked_fill(self.bias[:, :, :length, :length] == 0, -math.inf)


class Block(nn.Module):
    """Attention, then two layers on each position by itself."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, length)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.c_fc = nn.Linear(width, 4 * width)
        self.mlp.gelu = nn.GELU(approximate="tanh")
        self.mlp.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Letters and their places as vectors, through all blocks."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, length = config["n_embd"], config["block_size"]
        self.wte = nn.Embedding(config["vocab_size"], width)
        self.wpe = nn.Embedding(length, width)
        numbers = range(config["n_layer"])
        self.h = nn.ModuleList(Block(width, config["n_head"], length) for _ in numbers)
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(Tensor.arange(tokens.shape[-1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class GPT(nn.Module):
    """Tokens (batch, length) to a score for each next token."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.length = config["block_size"]
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config["n_embd"], config["vocab_size"], bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.transformer(tokens))

    def sort(self, tokens: list[int]) -> list[int]:
        """The tokens in order, in the network's opinion."""
        known = list(tokens)
        while len(known) < 2 * len(tokens):
            # No position sees a later one, so filling up to one length is harmless.
            padded = known + [0] * (self.length - len(known))
            scores = self(Tensor([padded]))[0, len(known) - 1]
            known.append(int(scores.argmax().item()))
        return known[len(tokens) :]


def read_arrays(contents: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The configuration and the named arrays of a JSON file with base64 numbers."""
    entries = json.loads(contents)
    config = entries.pop("config")
    arrays = {}
    for name, entry in entries.items():
        numbers = np.frombuffer(base64.b64decode(entry["data"]), np.float32)
        arrays[name] = numbers.reshape(entry["shape"])
    return config, arrays


def load_gpt() -> GPT:
    config, arrays = read_arrays(read_data_file(WEIGHTS))
    model = GPT(config).eval()
    model.load_state_dict(arrays)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("letters", nargs="?", default="CBABBC", type=str.upper)
    letters = parser.parse_args().letters
    if len(letters) != COUNT or not set(letters) <= set(LETTERS):
        parser.error(f"{letters!r} is not {COUNT} letters out of {LETTERS}")
    with no_grad():
        answer = load_gpt().sort([LETTERS.index(letter) for letter in letters])
    print(f"{letters} -> {''.join(LETTERS[token] for token in answer)}")


if __name__ == "__main__":
    main()
