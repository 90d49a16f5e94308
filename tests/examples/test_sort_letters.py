"""The sorting GPT against every activation that was stored from one of its runs.

The stored run: three sequences of eleven letters through the first block, then what
left each block. Its file is ``gpt-nano-sort-t0-partials.json``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from examples import sort_letters
from tests.examples.data_folder import needs_data
from tetragrad import Tensor, no_grad
from tetragrad.data import DataFile, read_data_file

ACTIVATIONS = DataFile(
    "llm/gpt-nano-sort-t0-partials.json",
    sha256="642b29b966fc4d90e4672a54c7cfda72b5249427b2b1561c83cd536b857195e9",
    nbytes=247_846,
)
STORED = (
    "tok_emb pos_emb x ln1 qkv q k v att attSm y yProj attnResid ln2 fc gelu mlp "
    "mlpResid block0 block1 block2 ln_f lm_head probs"
).split()

pytestmark = needs_data


@pytest.fixture(scope="module")
def model() -> sort_letters.GPT:
    return sort_letters.load_gpt()


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    return sort_letters.read_arrays(read_data_file(ACTIVATIONS))[1]


@pytest.fixture(scope="module")
def computed(
    model: sort_letters.GPT, stored: dict[str, np.ndarray]
) -> dict[str, Tensor]:
    """Our activations on the stored letters, by the names of the file."""
    seen: dict[str, Tensor] = {}

    def see(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.update({name: output})

    transformer = model.transformer
    first = transformer.h[0]
    for name, module in {
        "tok_emb": transformer.wte,
        "pos_emb": transformer.wpe,
        "ln1": first.ln_1,
        "qkv": first.attn.c_attn,
        "yProj": first.attn,
        "ln2": first.ln_2,
        "fc": first.mlp.c_fc,
        "gelu": first.mlp.gelu,
        "mlp": first.mlp.c_proj,
        "block0": transformer.h[0],
        "block1": transformer.h[1],
        "block2": transformer.h[2],
        "ln_f": transformer.ln_f,
        "lm_head": model.lm_head,
    }.items():
        module.register_forward_hook(see(name))
    with no_grad():
        model(Tensor(stored["idx"].astype(np.int64)))
        add_between(seen, first.attn)
    return seen


def add_between(seen: dict[str, Tensor], attention: Any) -> None:
    """Add what no module returns: sums, and the inside of the attention."""
    seen["x"] = seen["tok_emb"] + seen["pos_emb"]
    seen["attnResid"] = seen["x"] + seen["yProj"]
    seen["mlpResid"] = seen["attnResid"] + seen["mlp"]
    seen["q"], seen["k"], seen["v"] = attention.split(seen["qkv"])
    seen["att"] = attention.scores(seen["q"], seen["k"])
    seen["attSm"] = seen["att"].softmax(dim=-1)
    seen["y"] = (seen["attSm"] @ seen["v"]).transpose(1, 2).flatten(2)
    seen["probs"] = seen["lm_head"].softmax(dim=-1)


def test_no_stored_activation_is_left_out(stored: dict[str, np.ndarray]) -> None:
    assert set(stored) == {*STORED, "idx"}


@pytest.mark.parametrize("name", STORED)
def test_activation(
    name: str, computed: dict[str, Tensor], stored: dict[str, np.ndarray]
) -> None:
    ours = computed[name].numpy().reshape(stored[name].shape)
    np.testing.assert_allclose(ours, stored[name], rtol=0, atol=1e-5)


def test_sorts(model: sort_letters.GPT) -> None:
    problems = list(itertools.product(range(3), repeat=6))[::146]
    with no_grad():
        for problem in problems:
            assert model.sort(list(problem)) == sorted(problem)


def test_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sort_letters.py", "cbabbc"])
    sort_letters.main()
    assert capsys.readouterr().out == "CBABBC -> ABBBCC\n"


def test_other_letters_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sort_letters.py", "HELLO!"])
    with pytest.raises(SystemExit):
        sort_letters.main()
    assert "'HELLO!' is not 6 letters out of ABC" in capsys.readouterr().err
