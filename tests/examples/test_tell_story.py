"""The story model against an independent NumPy implementation in float64."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("sentencepiece")

from examples import tell_story
from tests.examples.data_folder import needs_data
from tetragrad import Tensor, manual_seed, no_grad
from tetragrad.data import read_data_file
from tetragrad.state import open_safetensors

pytestmark = needs_data

# "Once upon a time", with the mark of a beginning before it.
PROMPT = [1, 3, 34, 9, 22, 4, 3, 18, 20, 7, 9, 3, 5, 3, 6, 10, 16, 4]
STEPS = 26


@pytest.fixture(scope="module")
def model() -> tell_story.Llama:
    return tell_story.load_llama()


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    stored = open_safetensors(read_data_file(tell_story.WEIGHTS))
    return {name: array.astype(np.float64) for name, array in stored.items()}


@pytest.fixture(scope="module")
def greedy(model: tell_story.Llama) -> list[int]:
    return list(islice(tell_story.continue_from(model, PROMPT, 0.0), STEPS))


def reference(tokens: list[int], weights: dict[str, np.ndarray]) -> np.ndarray:
    """Scores after each token, all at once: no memory, complex rotations."""
    embedding = weights["model.embed_tokens.weight"]
    x = embedding[tokens]
    for number in range(5):
        layer = {
            name.removeprefix(f"model.layers.{number}.").removesuffix(".weight"): array
            for name, array in weights.items()
            if name.startswith(f"model.layers.{number}.")
        }
        x = x + reference_attention(normed(x, layer["input_layernorm"]), layer)
        hidden = normed(x, layer["post_attention_layernorm"])
        gates = hidden @ layer["mlp.gate_proj"].T
        gates = gates / (1 + np.exp(-gates))
        x = x + gates * (hidden @ layer["mlp.up_proj"].T) @ layer["mlp.down_proj"].T
    return normed(x, weights["model.norm.weight"]) @ embedding.T


def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def reference_attention(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
    length = len(x)
    queries = turned((x @ layer["self_attn.q_proj"].T).reshape(length, 8, 16))
    keys = turned((x @ layer["self_attn.k_proj"].T).reshape(length, 4, 16))
    values = (x @ layer["self_attn.v_proj"].T).reshape(length, 4, 16)
    mixed = np.empty((length, 8, 16))
    for head in range(8):
        for at in range(length):
            scores = keys[: at + 1, head // 2] @ queries[at, head] / 4
            shares = np.exp(scores - scores.max())
            mixed[at, head] = shares @ values[: at + 1, head // 2] / shares.sum()
    return mixed.reshape(length, 128) @ layer["self_attn.o_proj"].T


def turned(x: np.ndarray) -> np.ndarray:
    """Each half-and-half pair of features as a complex number, turned."""
    pairs = x[..., :8] + 1j * x[..., 8:]
    angles = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(8) / 8)
    pairs = pairs * np.exp(1j * angles)[:, None, :]
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def test_scores_of_the_beginning(
    model: tell_story.Llama, weights: dict[str, np.ndarray]
) -> None:
    with no_grad():
        ours = model(Tensor(PROMPT), Tensor(list(range(len(PROMPT))))).numpy()
    np.testing.assert_allclose(ours, reference(PROMPT, weights)[-1], atol=2e-5)


def test_greedy_tokens(greedy: list[int], weights: dict[str, np.ndarray]) -> None:
    scores = reference(PROMPT + greedy, weights)
    likeliest = scores[len(PROMPT) - 1 : -1].argmax(axis=-1)
    assert greedy == likeliest.tolist()


def test_greedy_text(greedy: list[int]) -> None:
    tokenizer = pytest.importorskip("sentencepiece").SentencePieceProcessor(
        model_proto=read_data_file(tell_story.TOKENIZER)
    )
    assert tokenizer.encode("Once upon a time", add_bos=True) == PROMPT
    assert tokenizer.decode(PROMPT + greedy).startswith(
        "Once upon a time, there was a little girl"
    )


def test_scores_after_many_steps(
    model: tell_story.Llama, greedy: list[int], weights: dict[str, np.ndarray]
) -> None:
    """The memory holds what the reference computes anew."""
    *known, last = PROMPT + greedy
    with no_grad():
        ours = model(Tensor([last]), Tensor([len(known)])).numpy()
    expected = reference([*known, last], weights)[-1]
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_temperature_repeats_with_the_seed() -> None:
    scores = Tensor(np.linspace(0, 3, 105, dtype=np.float32))
    drawn = []
    for _ in range(2):
        manual_seed(1)
        drawn.append([tell_story.choose(scores, 0.8) for _ in range(10)])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1
    assert tell_story.choose(scores, 0.0) == 104


def test_command_stops_when_the_memory_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beginning = "a" * 250
    monkeypatch.setattr("sys.argv", ["tell_story.py", beginning])
    tell_story.main()
    text = capsys.readouterr().out.strip()
    assert text.startswith(beginning)
    assert len(text) <= 250 + 5
