"""A gather of a gather, fused with what splits its result.

The sum of the inner gather may bind the axis that its result is repeated along. Where
the outer gather's index is a value of that same axis, binding it would change the
index.
"""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor


@pytest.mark.parametrize("rows", [[2, 0, 3, 1], [1, 1]])
@pytest.mark.parametrize("axis", [2, 3])
def test_chosen_rows_and_columns_are_summed_in_pairs(
    rows: list[int], axis: int
) -> None:
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    columns = np.array([3, 1, 0, 2])
    tensor = Tensor(x).index_select(0, Tensor(rows)).index_select(1, Tensor(columns))
    chosen = x[rows][:, columns]
    split = (1, len(rows), 2, 2)
    result = tensor.reshape(split).sum(axis)
    np.testing.assert_array_equal(result.numpy(), chosen.reshape(split).sum(axis))


def test_both_dimensions_are_split() -> None:
    x = np.arange(64, dtype=np.float32).reshape(8, 8)
    rows, columns = np.arange(8)[::-1].copy(), np.arange(8) * 3 % 8
    tensor = Tensor(x).index_select(0, Tensor(rows)).index_select(1, Tensor(columns))
    expected = x[rows][:, columns].reshape(4, 2, 2, 4).mean((1, 3))
    result = tensor.reshape(4, 2, 2, 4).mean((1, 3))
    np.testing.assert_allclose(result.numpy(), expected)
