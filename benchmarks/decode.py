"""Tokens a second of a GPT-2 that keeps keys and values, beside PyTorch's eager mode.

    python benchmarks/decode.py [--layers 12] [--length 1024] [--tokens 32]

Random weights, one sequence, one token after the other. Each layer writes a row into
the keys and values of all positions, at a position that is a tensor, and attends to
what is there so far. Both libraries must choose the same tokens.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from typing import Any

import numpy as np

HEADS, WIDTH, WORDS = 12, 768, 50257


def decoder(library: Any, layers: int, length: int) -> Any:
    """The model, for a library whose names are PyTorch's."""
    nn = library.nn
    gelu, softmax = nn.functional.gelu, nn.functional.softmax

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.attend = nn.Linear(WIDTH, 3 * WIDTH)
            self.leave = nn.Linear(WIDTH, WIDTH)
            self.widen = nn.Linear(WIDTH, 4 * WIDTH)
            self.narrow = nn.Linear(4 * WIDTH, WIDTH)
            shape = (HEADS, length, WIDTH // HEADS)
            self.register_buffer("keys", library.zeros(shape))
            self.register_buffer("values", library.zeros(shape))

        def forward(self, x: Any, position: Any, hidden: Any) -> Any:
            parts = self.attend(self.before(x)).reshape(3, HEADS, WIDTH // HEADS)
            query, key, value = parts[0], parts[1], parts[2]
            self.keys[:, position] = key
            self.values[:, position] = value
            scores = (self.keys @ query[:, :, None])[:, :, 0] / math.sqrt(WIDTH / HEADS)
            weights = softmax(scores + hidden, -1)
            mixed = (weights[:, None] @ self.values).reshape(WIDTH)
            x = x + self.leave(mixed)
            return x + self.narrow(gelu(self.widen(self.after(x))))

    class Decoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, WIDTH)
            self.places = nn.Embedding(length, WIDTH)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.last = nn.LayerNorm(WIDTH)

        def forward(self, token: Any, position: Any) -> Any:
            x = self.words(token) + self.places(position)
            later = library.arange(length) > position
            hidden = library.where(later, -math.inf, 0.0)
            for block in self.blocks:
                x = block(x, position, hidden)
            return (self.words.weight @ self.last(x)).argmax()

    return Decoder()


def fill(model: Any, library: Any) -> None:
    """Weights that are the same for every library."""
    random = np.random.default_rng(0)
    with library.no_grad():
        for name, parameter in model.named_parameters():
            values = random.standard_normal(parameter.shape, dtype=np.float32) * 0.02
            if name.endswith("weight") and parameter.ndim == 1:
                values += 1
            parameter.copy_(library.tensor(values))


def decode(step: Any, library: Any, tokens: int) -> tuple[list[int], float]:
    """The tokens that follow, and the median of the seconds that each took."""
    chosen, seconds = [11], []
    with library.no_grad():
        for position in range(tokens):
            start = time.perf_counter()
            token = step(library.tensor(chosen[-1]), library.tensor(position))
            chosen.append(int(token.item()))
            seconds.append(time.perf_counter() - start)
    return chosen, statistics.median(seconds)


def main() -> None:
    """Print tokens a second of both."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    import torch

    import tetragrad

    found = []
    for library in (tetragrad, torch):
        model = decoder(library, options.layers, options.length)
        fill(model, library)
        step = tetragrad.jit(model) if library is tetragrad else model
        chosen, seconds = decode(step, library, options.tokens)
        found.append(chosen)
        print(f"{library.__name__:10} {1 / seconds:7.1f} tokens/s", flush=True)
    print("the same tokens" if found[0] == found[1] else f"different: {found}")


if __name__ == "__main__":
    main()
