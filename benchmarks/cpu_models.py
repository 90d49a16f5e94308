"""Whole steps for the CPU benchmark: optimisers, small training steps, forward passes.

A model is written once, for a library whose names are PyTorch's. Both libraries start
from the same weights, and their first results are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cpu_rows import Integers, Normal
from mnist import network

#: A step takes the inputs and gives what is compared: a loss or an output.
Step = Callable[..., Any]


@dataclass(frozen=True)
class ModelRow:
    """A model and what is done with it.

    ``model`` builds it for a library; ``step`` gives the function to run again and
    again.
    """

    name: str
    inputs: tuple[Normal | Integers, ...]
    model: Callable[[Any], Any]
    step: Callable[[Any, Any], Step]
    operations: int = 0
    nbytes: int = 0


def model_rows() -> list[ModelRow]:
    """Every row with weights of its own."""
    digits = (Normal((512, 1, 28, 28)), Integers((512,), 10))
    digit = (Normal((1, 1, 28, 28)), Integers((1,), 10))
    found = [
        ModelRow("mnist_step_512", digits, lambda lib: network(lib.nn), training_step),
        ModelRow("mnist_step_1", digit, lambda lib: network(lib.nn), training_step),
        ModelRow(
            "vit_step_16x64x64",
            (Normal((16, 3, 64, 64)), Integers((16,), 10)),
            vision_transformer,
            training_step,
        ),
        ModelRow(
            "adamw_100_tensors",
            (),
            many_tensors,
            optimizer_step,
            nbytes=7 * 4 * _numel(many_shapes()),
        ),
    ]
    found += [
        ModelRow(
            f"gpt2_4_layers_{length}",
            (Integers((1, length), 50257),),
            language_model,
            forward_step,
            operations=2 * length * (4 * 12 * 768**2 + 768 * 50257),
        )
        for length in (1, 64, 512)
    ]
    return found


# --- steps ---------------------------------------------------------------------------


def training_step(library: Any, model: Any) -> Step:
    """Loss, gradients and Adam."""
    optimizer = library.optim.Adam(model.parameters())
    cross_entropy = library.nn.functional.cross_entropy

    def step(x: Any, y: Any) -> Any:
        loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def optimizer_step(library: Any, model: Any) -> Step:
    """Only the update; gradients stay what they are."""
    optimizer = library.optim.AdamW(model.parameters(), fused=True)
    parameters = list(model.parameters())
    random = np.random.default_rng(1)
    for parameter in parameters:
        values = random.standard_normal(parameter.shape, dtype=np.float32)
        parameter.grad = library.tensor(values)

    def step() -> Any:
        optimizer.step()
        return parameters[0].detach()

    return step


def forward_step(library: Any, model: Any) -> Step:
    """Inference."""

    def step(words: Any) -> Any:
        with library.no_grad():
            return model(words)

    return step


# --- models --------------------------------------------------------------------------


def many_shapes() -> list[tuple[int, ...]]:
    """A hundred shapes, as of 25 small layers that all differ: 8 million numbers."""
    shapes: list[tuple[int, ...]] = []
    for layer in range(25):
        width = 160 + 16 * layer
        shapes += [(width, 256), (width,), (256, width), (256,)]
    return shapes


def _numel(shapes: list[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def many_tensors(library: Any) -> Any:
    """A module that only holds parameters of those shapes."""
    random = np.random.default_rng(0)
    holder = library.nn.Module()
    for number, shape in enumerate(many_shapes()):
        values = random.standard_normal(shape, dtype=np.float32)
        parameter = library.nn.Parameter(library.tensor(values))
        setattr(holder, f"tensor{number}", parameter)
    return holder


def vision_transformer(library: Any) -> Any:
    """Patches of 8 × 8, width 192, four blocks: 64 words an image and no class word."""
    nn = library.nn

    class VisionTransformer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 192, 8, 8)
            self.places = nn.Parameter(library.zeros(1, 64, 192))
            self.blocks = nn.Sequential(
                *(transformer_block(library, 192, 3) for _ in range(4))
            )
            self.norm = nn.LayerNorm(192)
            self.head = nn.Linear(192, 10)

        def forward(self, x: Any) -> Any:
            words = self.patches(x).flatten(2).transpose(1, 2) + self.places
            return self.head(self.norm(self.blocks(words)).mean(1))

    return VisionTransformer()


def language_model(library: Any) -> Any:
    """GPT-2's sizes with four of its twelve layers; the head is the embedding."""
    nn = library.nn

    class LanguageModel(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50257, 768)
            self.places = nn.Embedding(1024, 768)
            blocks = (
                transformer_block(library, 768, 12, is_causal=True) for _ in range(4)
            )
            self.blocks = nn.Sequential(*blocks)
            self.norm = nn.LayerNorm(768)

        def forward(self, words: Any) -> Any:
            places = self.places(library.arange(words.shape[1]))
            x = self.norm(self.blocks(self.words(words) + places))
            return x @ self.words.weight.t()

    return LanguageModel()


def transformer_block(
    library: Any, width: int, heads: int, *, is_causal: bool = False
) -> Any:
    """A transformer block that normalises first."""
    nn = library.nn

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.up = nn.Linear(width, 4 * width)
            self.down = nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, heads, -1)
            q, k, v = (qkv[:, :, part].transpose(1, 2) for part in range(3))
            mixed = nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=is_causal
            )
            mixed = mixed.transpose(1, 2).reshape(batch, length, width)
            x = x + self.out(mixed)
            hidden = nn.functional.gelu(self.up(self.norm2(x)), approximate="tanh")
            return x + self.down(hidden)

    return Block()
