"""Running values and what is done with them on the way: the CPU against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor

#: What a short reduction at each step gives, for a library whose names are NumPy's.
STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, weight: (x.cumsum(0) * weight).sum(1),
    "max": lambda x, weight: (x.cumsum(0) + weight).max(1),
    "twice": lambda x, weight: x.cumsum(0).sum(1) - (x.cumsum(0) * weight).sum(1),
    "both": lambda x, weight: x.cumsum(0).sum(1)[:, None] + x.cumsum(0),
    "along": lambda x, weight: (x.cumsum(0) * weight).sum(0),
}


@pytest.mark.parametrize("columns", [5, 16, 40, 65])
@pytest.mark.parametrize("name", STEPS)
def test_reduction_at_each_step(name: str, columns: int) -> None:
    random = np.random.default_rng(columns)
    x = random.integers(-9, 9, (37, columns)).astype(np.float32)
    weight = random.integers(-3, 3, (37, columns)).astype(np.float32)
    wanted = STEPS[name](x, weight)
    if name == "max":
        found = (Tensor(x).cumsum(0) + Tensor(weight)).amax(1)
    else:
        found = STEPS[name](Tensor(x), Tensor(weight))
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_reduction_at_each_step_of_several_rows() -> None:
    x = np.random.default_rng(0).integers(0, 9, (6, 50, 3, 7))
    found = Tensor(x).cumsum(1).sum((2, 3))
    np.testing.assert_array_equal(found.numpy(), x.cumsum(1).sum((2, 3)))
    found = (Tensor(x).cumsum(1) * 2).sum(3) + 1
    np.testing.assert_array_equal(found.numpy(), (x.cumsum(1) * 2).sum(3) + 1)


def test_running_value_from_the_end() -> None:
    x = np.random.default_rng(0).integers(0, 9, (20, 6))
    found = Tensor(x).flip(0).cumsum(0).flip(0).sum(1)
    np.testing.assert_array_equal(found.numpy(), x[::-1].cumsum(0)[::-1].sum(1))


def test_element_chosen_from_a_running_value() -> None:
    """The index differs from step to step, and must not reach into earlier ones."""
    random = np.random.default_rng(0)
    x, index = random.integers(0, 9, (50, 16)), random.integers(0, 16, (50, 1))
    wanted = np.take_along_axis(x.cumsum(0), index, 1)
    found = Tensor(x).cumsum(0).gather(1, Tensor(index))
    np.testing.assert_array_equal(found.numpy(), wanted)
    hits = Tensor(index).eq(Tensor.arange(16))
    selected = Tensor(x).cumsum(0).where(hits, 0).sum(1, keepdim=True)
    np.testing.assert_array_equal(selected.numpy(), wanted)
