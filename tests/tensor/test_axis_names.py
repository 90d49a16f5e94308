"""``axis`` and ``keepdims``, as NumPy calls ``dim`` and ``keepdim``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

ROWS = np.arange(6.0, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "amax", "argmin", "all"])
def test_reductions_take_numpys_names(name: str) -> None:
    wanted = getattr(np, name)(ROWS, axis=1, keepdims=True)
    options: dict[str, Any] = {"axis": 1, "keepdims": True}
    found = getattr(Tensor(ROWS), name)(**options)
    np.testing.assert_array_equal(found.numpy(), wanted)
    np.testing.assert_array_equal(
        getattr(tetragrad, name)(Tensor(ROWS), **options), wanted
    )


@pytest.mark.parametrize("name", ["cat", "stack"])
def test_joining_takes_an_axis(name: str) -> None:
    join = getattr(tetragrad, name)
    parts = [Tensor(ROWS), Tensor(ROWS)]
    assert join(parts, axis=1).shape == join(parts, dim=1).shape


def test_two_names_of_one_argument_are_refused() -> None:
    with pytest.raises(TypeError, match="got dim=1 and axis=0, which are two names"):
        Tensor(ROWS).sum(dim=1, axis=0)  # type: ignore[call-arg]
