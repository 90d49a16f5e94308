"""Data sets that are made of others, and those that can only be read in order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.data.dataset import Dataset


class IterableDataset:
    """A stream of samples; a subclass defines ``__iter__``.

    With several workers each of them iterates on its own: ``get_worker_info()`` says
    in ``__iter__`` which share is theirs.

    >>> class Count(data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(3))
    >>> [batch.tolist() for batch in data.DataLoader(Count(), batch_size=2)]
    [[0, 1], [2]]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__()")

    def __add__(self, other: Iterable[Any]) -> ChainDataset:
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """One stream after the other.

    >>> list(data.ChainDataset([range(2), range(10, 12)]))
    [0, 1, 10, 11]
    """

    def __init__(self, datasets: Iterable[Iterable[Any]]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        datasets: Iterable[Any] = self.datasets
        return sum(map(len, datasets))


class ConcatDataset(Dataset):
    """One data set after the other.

    >>> both = data.ConcatDataset([[10, 20], [30]])
    >>> len(both), both[2], both[-3]
    (3, 30, 10)
    """

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ShapeError("ConcatDataset of no data sets", hint="pass at least one")
        #: How many samples there are up to the end of each data set.
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexingError(
                f"there is no sample {index}; the data sets have {len(self)} together"
            )
        number = bisect_right(self.cumulative_sizes, place)
        before = self.cumulative_sizes[number - 1] if number else 0
        return self.datasets[number][place - before]


class StackDataset(Dataset):
    """Data sets of one length side by side: a tuple, or a dictionary, of samples.

    >>> data.StackDataset(image=[1, 2], label=["a", "b"])[1]
    {'image': 2, 'label': 'b'}
    """

    def __init__(self, *args: Dataset, **kwargs: Dataset) -> None:
        if bool(args) == bool(kwargs):
            raise ShapeError(
                f"StackDataset of {len(args)} positional and {len(kwargs)} named data "
                "sets",
                hint="pass either kind, and at least one",
            )
        self.datasets: tuple[Dataset, ...] | Mapping[str, Dataset] = args or kwargs
        lengths = [len(dataset) for dataset in (args or kwargs.values())]
        if len(set(lengths)) > 1:
            raise ShapeError(f"StackDataset of data sets with lengths {lengths}")
        self._length = lengths[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, Mapping):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)


def batches_of(
    stream: Iterable[Any], batch_size: int | None, drop_last: bool
) -> Iterator[list[Any]]:
    """The samples of a stream, so many at a time."""
    batch: list[Any] = []
    for sample in stream:
        batch.append(sample)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch and not drop_last:
        yield batch


def is_stream(dataset: Any) -> bool:
    """Whether a data set can only be iterated over."""
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
