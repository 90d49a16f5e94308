"""Fixtures of tests that ask what was compiled."""

from __future__ import annotations

import pytest

from tetragrad.engine import pipeline


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
