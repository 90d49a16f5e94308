"""The compiler's work stays what it was, and grows no faster than the graph."""

from __future__ import annotations

import json

import pytest

from tests.engine.operations import (
    COMMITTED,
    calls_in_fresh_process,
    count_operations,
)

#: Growth beyond this is a regression, or a reason to commit new counts.
ALLOWED = 1.2


@pytest.fixture(scope="module")
def counts() -> dict[int, dict[str, int]]:
    return {layers: count_operations(layers) for layers in (1, 2, 32)}


@pytest.mark.parametrize("layers", [1, 32])
def test_no_more_work_than_committed(
    layers: int, counts: dict[int, dict[str, int]]
) -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))[str(layers)]
    grown = {
        name: (committed[name], found)
        for name, found in counts[layers].items()
        if found > ALLOWED * committed[name]
    }
    assert not grown, f"grew (from, to): {grown}; see tests/engine/operations.py"


def test_no_more_calls_than_committed() -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))["calls"]
    for name, found in calls_in_fresh_process().items():
        assert found <= ALLOWED * committed[name], name


def test_work_grows_linearly(counts: dict[int, dict[str, int]]) -> None:
    for name, one in counts[1].items():
        # What a second layer adds; less than nothing where the first filled a cache.
        each = max(counts[2][name] - one, 0)
        assert counts[32][name] <= one + 31 * each * 1.05, name


def test_equal_layers_share_their_kernels(counts: dict[int, dict[str, int]]) -> None:
    for name in ("distinct kernels", "lowering attempts", "instructions emitted"):
        assert counts[32][name] == counts[2][name], name
