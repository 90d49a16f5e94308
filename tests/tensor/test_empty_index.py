"""Indexed writes and reductions that are given no index at all change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tetragrad import Tensor, cat, int64, zeros

ROWS = zeros(0, 2)
NO_ROWS = zeros(0, 2, dtype=int64)


@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_reductions(reduce: str, include_self: bool) -> None:
    values = Tensor([[1.0, 2.0], [3.0, 4.0]])
    options: dict[str, Any] = {"include_self": include_self}
    nothing = Tensor([], dtype=int64)
    for found in (
        values.index_reduce(0, nothing, ROWS, reduce, **options),
        values.scatter_reduce(0, NO_ROWS, ROWS, reduce, **options),
    ):
        assert found.tolist() == values.tolist()


def test_fills() -> None:
    nothing = Tensor([], dtype=int64)
    assert Tensor([[1.0, 2.0]]).index_fill(1, nothing, 7).tolist() == [[1.0, 2.0]]
    assert Tensor([True, False]).index_fill(0, nothing, True).tolist() == [True, False]


def test_random_numbers_beside_others() -> None:
    # The counter of a draw is out of range where the other part is read.
    joined = cat([zeros(5, 3), zeros(5, 2).uniform_(1, 2)], -1)
    assert bool((joined[:, 3:] >= 1).all()) and joined[:, :3].sum().item() == 0
