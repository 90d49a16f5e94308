"""Data sets, subsets, splits and the batches made of their samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.data import Dataset, Subset, TensorDataset, random_split
from tetragrad.data.dataset import collate
from tetragrad.data.shuffle import permutation
from tetragrad.tensor import Tensor


def test_tensors_and_arrays_make_a_data_set() -> None:
    images = np.arange(12.0).reshape(3, 4)
    dataset = TensorDataset(Tensor(images), np.array([5, 6, 7]))
    assert len(dataset) == 3
    image, label = dataset[1]
    assert isinstance(image, Tensor)
    assert image.numpy().tolist() == [4, 5, 6, 7]
    assert label.numpy() == 6
    assert dataset[-1][1].numpy() == 7
    assert dataset[1:][1].numpy().tolist() == [6, 7]
    with pytest.raises(IndexingError, match="no sample 3; the data set has 3"):
        dataset[3]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((), "at least one"),
        ((np.zeros(3), np.zeros(4)), r"equal lengths, not \(3,\), \(4,\)"),
        ((np.array(1),), "first dimension"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        TensorDataset(*arrays)


def test_a_subset_keeps_its_order_and_nests() -> None:
    dataset = TensorDataset(np.arange(10))
    subset = Subset(dataset, [7, 3, -1])
    assert [int(subset[i][0].numpy()) for i in range(3)] == [7, 3, 9]
    nested = Subset(subset, [2, 0])
    (values,) = nested.take(np.array([0, 1]))
    assert values.tolist() == [9, 7]
    assert Subset(["a", "b", "c"], [2, 0]).take(np.array([1, 0])) == ["a", "c"]


def test_a_subset_checks_its_indices() -> None:
    with pytest.raises(IndexingError, match="sample 10; the data set has 10"):
        Subset(range(10), [0, 10])
    with pytest.raises(IndexingError, match="no sample 1; the subset has 1"):
        Subset(range(10), [0])[1]


def test_a_split_covers_every_sample_once() -> None:
    parts = random_split(range(10), [7, 3], seed=1)
    assert [len(part) for part in parts] == [7, 3]
    samples = [part[i] for part in parts for i in range(len(part))]
    assert sorted(samples) == list(range(10))
    again = random_split(range(10), [7, 3], seed=1)
    assert np.array_equal(parts[0].indices, again[0].indices)
    other = random_split(range(10), [7, 3], seed=2)
    assert not np.array_equal(parts[0].indices, other[0].indices)


def test_fractions_share_what_rounding_leaves() -> None:
    parts = random_split(range(10), [0.35, 0.35, 0.3])
    assert [len(part) for part in parts] == [4, 3, 3]


@pytest.mark.parametrize("lengths", [[5, 6], [0.5, 0.6], [-1, 11], [], [0.5, 5]])
def test_splits_that_do_not_add_up_are_refused(lengths: list[float]) -> None:
    with pytest.raises(ShapeError, match="does not cover 10 samples"):
        random_split(range(10), lengths)


def test_permutations_are_fixed_for_ever() -> None:
    """Saved positions in a data set depend on these very numbers."""
    assert permutation(8, seed=0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert permutation(8, seed=0, epoch=1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]


@pytest.mark.parametrize("length", [0, 1, 2, 1000])
def test_permutations_are_permutations(length: int) -> None:
    for seed in (0, -1, 2**64, 2**70):
        assert sorted(permutation(length, seed)) == list(range(length))


def test_collate_goes_through_structures() -> None:
    samples = [
        {"image": np.zeros(2), "label": 1, "name": "a", "pair": (1.5, [True])},
        {"image": np.ones(2), "label": 2, "name": "b", "pair": (2.5, [False])},
    ]
    batch = collate(samples)
    assert batch["image"].shape == (2, 2)
    assert batch["label"].tolist() == [1, 2]
    assert batch["name"] == ["a", "b"]
    assert batch["pair"][0].tolist() == [1.5, 2.5]
    assert batch["pair"][1][0].tolist() == [True, False]


def test_samples_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"different shapes: \(2,\), \(3,\)"):
        collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(ShapeError, match="different numbers of parts"):
        collate([(1, 2), (1,)])


def test_data_sets_add_up() -> None:
    class Squares(Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            return index * index

    both = Squares() + Subset(Squares(), [2, 1])
    assert [both[index] for index in range(len(both))] == [0, 1, 4, 4, 1]


def test_indices_of_a_subset_are_a_list() -> None:
    first, second = random_split([10, 20, 30], [2, 1])
    assert sorted(first.indices + second.indices) == [0, 1, 2]
