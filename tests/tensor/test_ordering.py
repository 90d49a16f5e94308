"""Sorting and selection against NumPy: every way, ties, NaN, all kinds of dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.tensor import ordering

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


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.float64])
def test_rows_longer_than_a_block(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU, where blocks of this size are sorted on the chip.
    monkeypatch.setattr(ordering, "_chained_bytes", lambda node: 64 * 8)
    monkeypatch.setattr(ordering, "SHORTEST_BLOCK", 16)
    monkeypatch.setattr(ordering, "LEAST_SORTED", 64)
    given = np.random.default_rng(5).integers(-4, 5, (2, 300)).astype(dtype)
    values, places = Tensor(given).sort(-1)
    expected = np.argsort(given, -1, kind="stable")
    np.testing.assert_array_equal(places.numpy(), expected)
    np.testing.assert_array_equal(
        values.numpy(), np.take_along_axis(given, expected, -1)
    )
    downwards = np.argsort(-given.astype(np.int64), -1, kind="stable")
    np.testing.assert_array_equal(Tensor(given).topk(7).indices, downwards[:, :7])


@pytest.mark.parametrize("shape", [(40, 9), (9, 40), (17, 64), (3, 70), (5,)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_the_middle_and_the_kth(shape: tuple[int, ...], dtype: str) -> None:
    given = values(shape, dtype)
    size = shape[-1]
    ordered, middle = np.sort(given, -1), Tensor(given).median(-1)
    wanted = ordered[..., (size - 1) // 2]
    if dtype == "float32":
        wanted = np.where(np.isnan(given).any(-1), np.nan, wanted)
    np.testing.assert_array_equal(middle.values.numpy(), wanted)
    places = np.expand_dims(middle.indices.numpy(), -1)
    found = np.take_along_axis(given, places, -1)[..., 0]
    np.testing.assert_array_equal(found, wanted)
    third = Tensor(given).kthvalue(3, -1)
    np.testing.assert_array_equal(third.values.numpy(), ordered[..., 2])
    first = (given == ordered[..., 2:3]).argmax(-1)
    if dtype != "float32":
        np.testing.assert_array_equal(third.indices.numpy(), first)


def test_the_gradient_of_a_median_that_is_nan_goes_to_nan() -> None:
    given = Tensor([[1.0, 2.0, 3.0], [4.0, float("nan"), 5.0]], requires_grad=True)
    given.median(1).values.sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [[0, 1, 0], [0, 1, 0]]
