"""Data sets: anything with a length and an item for every index below it.

A data set that can gather many items at once says so with a ``take`` method; the
loader then makes a batch with one indexing operation instead of a call per item.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.data.convert import to_array, to_tensors
from tetragrad.data.shuffle import permutation
from tetragrad.tensor.generator import Generator


class Dataset(Protocol):
    """What the loader needs; a list is a data set too.

    >>> samples: data.Dataset = [10, 20]
    >>> list(data.DataLoader(samples, batch_size=2))
    [tensor([10, 20])]
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    if not TYPE_CHECKING:  # A list is a data set for all that it adds otherwise.

        def __add__(self, other: Dataset) -> Dataset:
            from tetragrad.data.combined import ConcatDataset

            return ConcatDataset([self, other])


@runtime_checkable
class Gatherable(Protocol):
    """A data set that makes whole batches itself."""

    def take(self, indices: np.ndarray, /) -> Any: ...


class TensorDataset(Dataset):
    """Tensors or arrays of one common length; item i is their i-th elements.

    >>> pairs = data.TensorDataset(np.arange(3), np.arange(3) * 10)
    >>> len(pairs), [int(part) for part in pairs[2]]
    (3, [2, 20])
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ShapeError("TensorDataset needs at least one tensor")
        self.arrays = tuple(to_array(tensor) for tensor in tensors)
        shapes = ", ".join(str(array.shape) for array in self.arrays)
        if any(array.ndim == 0 for array in self.arrays):
            raise ShapeError(
                f"a TensorDataset's tensors need a first dimension: {shapes}"
            )
        if len({len(array) for array in self.arrays}) > 1:
            raise ShapeError(
                f"a TensorDataset's tensors must have equal lengths, not {shapes}",
                hint="cut them to the same number of samples",
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int | slice) -> tuple[Any, ...]:
        try:
            items = tuple(np.asarray(array[index]) for array in self.arrays)
        except IndexError:
            raise IndexingError(
                f"there is no sample {index}; the data set has {len(self)}"
            ) from None
        tensors: tuple[Any, ...] = to_tensors(items)
        return tensors

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """The samples at ``indices``, as one batch of arrays."""
        return tuple(array[indices] for array in self.arrays)


class Subset(Dataset):
    """Some samples of another data set, in the order of ``indices``.

    >>> list(data.Subset([10, 20, 30], [2, 0]))
    [30, 10]
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        # Kept as a sequence that can be added to another, as programs do.
        self.indices = indices.tolist() if hasattr(indices, "tolist") else indices
        self._places = np.asarray(self.indices, dtype=np.int64).reshape(-1)
        length = len(dataset)
        wrong = self._places[(self._places < -length) | (self._places >= length)]
        if wrong.size:
            raise IndexingError(
                f"a Subset asks for sample {wrong[0]}; the data set has {length}"
            )

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexingError(
                f"there is no sample {index}; the subset has {len(self)}"
            )
        return self.dataset[int(self._places[index])]

    def take(self, indices: np.ndarray) -> Any:
        """The samples at ``indices``: a batch where the data set can make one."""
        chosen = self._places[indices]
        if isinstance(self.dataset, Gatherable):
            return self.dataset.take(chosen)
        return gather(self.dataset, chosen, collate)


def gather(dataset: Dataset, indices: np.ndarray, collate_fn: Any) -> Any:
    """One batch, sample by sample."""
    return collate_fn([dataset[int(index)] for index in indices])


def random_split(
    dataset: Dataset,
    lengths: Sequence[int | float],
    generator: Generator | None = None,
    *,
    seed: int = 0,
) -> list[Subset]:
    """Split a data set into parts at random; fractions must add up to 1.

    Samples left over by rounding go to the first parts, one each. The initial seed of
    a generator takes the place of ``seed``.

    >>> [len(part) for part in data.random_split(list(range(10)), [0.7, 0.3])]
    [7, 3]
    """
    counts = _counts(lengths, len(dataset))
    seed = seed if generator is None else generator.initial_seed()
    order = permutation(len(dataset), seed)
    ends = np.cumsum([0, *counts]).tolist()
    return [Subset(dataset, order[begin:end]) for begin, end in pairwise(ends)]


def _counts(lengths: Sequence[int | float], total: int) -> list[int]:
    are_fractions = any(isinstance(length, float) for length in lengths)
    if are_fractions and abs(sum(lengths) - 1.0) < 1e-6 and min(lengths) >= 0:
        counts = [int(total * length) for length in lengths]
        for position in range(total - sum(counts)):
            counts[position % len(counts)] += 1
        return counts
    counts = [int(length) for length in lengths]
    if are_fractions or min(counts, default=0) < 0 or sum(counts) != total:
        raise ShapeError(
            f"random_split into {list(lengths)} does not cover {total} samples",
            hint=f"lengths must add up to {total}, fractions to 1.0",
        )
    return counts


def collate(samples: list[Any]) -> Any:
    """Stack samples into a batch of arrays, through tuples, lists and dictionaries."""
    first = samples[0]
    if isinstance(first, dict):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        if len({len(sample) for sample in samples}) > 1:
            raise ShapeError(
                "samples of one batch have different numbers of parts",
                hint="give the loader a collate_fn that makes them alike",
            )
        parts = [collate(list(entries)) for entries in zip(*samples, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if isinstance(first, str | bytes):
        return samples
    arrays = [to_array(sample) for sample in samples]
    if len({array.shape for array in arrays}) > 1:
        shapes = sorted({str(array.shape) for array in arrays})
        raise ShapeError(
            f"samples of one batch have different shapes: {', '.join(shapes[:4])}",
            hint="give the loader a collate_fn that pads them",
        )
    return np.stack(arrays)


def default_collate(batch: list[Any]) -> Any:
    """What a loader makes of a list of samples: tensors with one more dimension.

    Tuples, lists and dictionaries of samples become such of batches; texts stay a
    list.

    >>> tetragrad.data.default_collate([(1, "a"), (2, "b")])
    (tensor([1, 2]), ['a', 'b'])
    """
    return to_tensors(collate(batch))


def default_convert(data: Any) -> Any:
    """What a loader makes of a sample without a batch: arrays become tensors.

    >>> tetragrad.data.default_convert({"x": np.zeros(2, np.float32)})
    {'x': tensor([0., 0.])}
    """
    return to_tensors(data)
