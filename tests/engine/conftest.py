"""Fixtures of tests that ask what was compiled."""

from __future__ import annotations

import gc

import pytest

from tetragrad.engine import pipeline
from tetragrad.graph.sizes import Size


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an entry for each graph that was compiled."""
    found: list[int] = []
    original = pipeline.compile_graph

    def counted(*arguments: object) -> object:
        found.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "compile_graph", counted)
    return found


@pytest.fixture
def nobody_has_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has bound no symbol: some work is only saved there."""
    if Size.in_use:
        gc.collect()
    monkeypatch.setattr(Size, "in_use", False)
