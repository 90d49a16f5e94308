"""Sums down long columns: as exact as sums in parts, for any number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor


@pytest.mark.parametrize("rows", [1579, 8200])
def test_tall_columns_are_not_one_chain_of_additions(rows: int) -> None:
    values = np.random.default_rng(0).random((rows, 64), dtype=np.float32)
    exact = values.astype(np.float64).sum(0)
    found = Tensor(values).sum(0).numpy()
    np.testing.assert_allclose(found, exact, rtol=4e-7)
    np.testing.assert_array_equal(Tensor(values).amax(0).numpy(), values.max(0))
