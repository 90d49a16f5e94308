"""Sorting and selection against NumPy: every way, ties, NaN, all kinds of dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor

#: Short rows are counted, many rows sorted by a network, others by digits.
CASES = [
    ((40, 60), "float32"),
    ((20, 70), "int64"),
    ((300, 9), "uint8"),
    ((7,), "float32"),
    ((3, 150), "float32"),
    ((1500,), "float32"),
    ((150,), "float64"),
    ((150,), "float16"),
    ((2, 150), "int8"),
    ((150,), "int64"),
    ((150,), "bool"),
    ((0, 150), "float32"),
    ((2, 0), "float32"),
]


def values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Few different values, so that many are equal, and the special ones."""
    random = np.random.default_rng(5)
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if dtype.startswith("float"):
        array = np.round(random.standard_normal(shape), 1).astype(dtype)
        specials = (np.nan, -0.0, 0.0, -np.inf)
        array.flat[: len(specials)] = specials[: array.size]
        return array
    limits = np.iinfo(dtype)
    array = random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.where(random.random(shape) < 0.5, array, array % 5).astype(dtype)


def stable_order(array: np.ndarray, *, descending: bool) -> np.ndarray:
    """Places in order, of equal elements the first one first; NaN is the largest."""
    if not descending:
        return np.argsort(array, axis=-1, kind="stable")
    backwards = np.argsort(array[..., ::-1], axis=-1, kind="stable")
    return array.shape[-1] - 1 - backwards[..., ::-1]


@pytest.mark.parametrize(("shape", "dtype"), CASES)
def test_sort(shape: tuple[int, ...], dtype: str) -> None:
    descending = shape[-1] % 4 == 0
    array = values(shape, dtype)
    found = Tensor(array).sort(-1, descending=descending)
    order = stable_order(array, descending=descending)
    np.testing.assert_array_equal(found.indices.numpy(), order)
    wanted = np.take_along_axis(array, order, -1)
    np.testing.assert_array_equal(found.values.numpy(), wanted)


@pytest.mark.parametrize(("k", "largest"), [(1, True), (3, False), (40, True)])
def test_topk_takes_the_first_of_equal_elements(k: int, largest: bool) -> None:
    array = values((2, 3000), "float32")
    found = Tensor(array).topk(k, largest=largest)
    order = stable_order(array, descending=largest)
    np.testing.assert_array_equal(found.indices.numpy(), order[:, :k])


def test_one_draw_has_the_frequencies_of_its_weights() -> None:
    weights = Tensor([[1.0, 0.0, 3.0]]).expand(4000, 3)
    drawn = weights.multinomial(1).numpy()
    assert set(drawn.ravel()) == {0, 2}
    assert abs((drawn == 2).mean() - 0.75) < 0.03
