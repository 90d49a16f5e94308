"""Planning and writing a kernel for a GPU takes no more than it did."""

from __future__ import annotations

import json

import pytest

from tests.backends.cuda_operations import COMMITTED, computations, count_operations

#: Growth beyond this is a regression, or a reason to commit new counts.
ALLOWED = 1.1


@pytest.mark.parametrize("name", computations())
def test_no_more_work_than_committed(name: str) -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))[name]
    counts = count_operations(name)
    grown = {
        label: (committed.get(label, 0), found)
        for label, found in counts.items()
        if found > ALLOWED * committed.get(label, 0)
    }
    assert not grown, f"grew (from, to): {grown}; see tests/backends/cuda_operations.py"
