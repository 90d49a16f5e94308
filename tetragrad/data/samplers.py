"""Orders in which samples of a data set are drawn.

A sampler is iterated once an epoch. Those that are random depend on their seed and the
number of the epoch only, which the loader sets, so a run can be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from tetragrad.core.errors import ShapeError
from tetragrad.data.shuffle import permutation, uniform
from tetragrad.tensor import Tensor
from tetragrad.tensor.generator import Generator


class Sampler:
    """Base of all samplers; a subclass iterates over indices and has a length.

    >>> class Backwards(data.Sampler):
    ...     def __init__(self, source):
    ...         self.source = source
    ...     def __iter__(self):
    ...         return iter(range(len(self.source) - 1, -1, -1))
    ...     def __len__(self):
    ...         return len(self.source)
    >>> list(data.DataLoader([1, 2, 3], sampler=Backwards([1, 2, 3])))
    [tensor([3]), tensor([2]), tensor([1])]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} has no __iter__()")


class SequentialSampler(Sampler):
    """All samples in their order.

    >>> list(data.SequentialSampler([10, 20, 30]))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class SeededSampler(Sampler):
    """What random samplers share: a seed, and the number of the epoch."""

    def __init__(self, generator: Generator | None, seed: int) -> None:
        self.seed = seed if generator is None else generator.initial_seed()
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of this epoch next."""
        self.epoch = epoch

    def _next_epoch(self) -> int:
        """The epoch that an iteration is; the one after it comes next."""
        self.epoch += 1
        return self.epoch - 1


class RandomSampler(SeededSampler):
    """Samples in random order: each once, or with ``replacement``.

    Args:
        data_source: anything with a length.
        replacement: whether one sample may be drawn several times.
        num_samples: how many; all of them if left out.
        generator: its initial seed is used.
        seed: what the order depends on, together with the epoch.

    >>> sorted(data.RandomSampler([10, 20, 30]))
    [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(generator, seed)
        if num_samples is not None and num_samples < 1:
            raise ShapeError(f"num_samples={num_samples}; draw 1 sample or more")
        self.data_source = data_source
        self.replacement = replacement
        self.num_samples = num_samples

    def __iter__(self) -> Iterator[int]:
        length, count, epoch = len(self.data_source), len(self), self._next_epoch()
        if self.replacement:
            drawn = (uniform(count, self.seed, epoch) * length).astype(np.int64)
            return iter(drawn.tolist())
        # More samples than there are take several permutations.
        rounds = -(-count // length) if length else 0
        orders = [
            permutation(length, self.seed, epoch + number * _FAR_EPOCH)
            for number in range(rounds)
        ]
        return iter(np.concatenate(orders)[:count].tolist() if orders else [])

    def __len__(self) -> int:
        if self.num_samples is None:
            return len(self.data_source)
        return self.num_samples


#: Further permutations of an epoch are those of epochs that no run reaches.
_FAR_EPOCH = 1 << 40


class SubsetRandomSampler(SeededSampler):
    """Some samples, in random order.

    >>> sorted(data.SubsetRandomSampler([5, 7, 9]))
    [5, 7, 9]
    """

    def __init__(
        self,
        indices: Sequence[int],
        generator: Generator | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(generator, seed)
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        order = permutation(len(self.indices), self.seed, self._next_epoch())
        return iter([self.indices[place] for place in order.tolist()])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(SeededSampler):
    """Samples drawn with probabilities in proportion to weights.

    Args:
        weights: one for each sample, not negative; their sum need not be 1.
        num_samples: how many to draw.
        replacement: whether one sample may be drawn several times.
        generator: its initial seed is used.
        seed: what the order depends on, together with the epoch.

    Source: without replacement, Efraimidis and Spirakis, "Weighted random sampling
    with a reservoir", 2006.

    >>> list(data.WeightedRandomSampler([0.0, 3.0], num_samples=3))
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(generator, seed)
        given = weights.numpy() if isinstance(weights, Tensor) else weights
        self.weights = np.asarray(given, np.float64)
        is_sound = self.weights.ndim == 1 and bool((self.weights >= 0).all())
        if not is_sound or not np.isfinite(self.weights).all():
            raise ShapeError(
                f"WeightedRandomSampler of weights {given!r:.60}",
                hint="pass one finite weight >= 0 for each sample",
            )
        possible = int((self.weights > 0).sum())
        enough = num_samples if replacement else possible
        if num_samples < 1 or not possible or num_samples > enough:
            raise ShapeError(
                f"WeightedRandomSampler of {num_samples} samples from {possible} with "
                f"a weight above 0, replacement={replacement}",
                hint="draw at least 1, and without replacement no more than there are",
            )
        self.num_samples = num_samples
        self.replacement = replacement

    def __iter__(self) -> Iterator[int]:
        epoch = self._next_epoch()
        if self.replacement:
            edges = np.cumsum(self.weights)
            draws = uniform(self.num_samples, self.seed, epoch) * edges[-1]
            return iter(np.searchsorted(edges, draws, side="right").tolist())
        # The largest of U^(1/w): its logarithm, negated, is an exponential over w.
        chance = 1 - uniform(len(self.weights), self.seed, epoch)
        with np.errstate(divide="ignore"):
            times = -np.log(chance) / self.weights
        times[self.weights == 0] = math.inf
        return iter(np.argsort(times, kind="stable")[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class DistributedSampler(SeededSampler):
    """The share of one of several processes, which together draw every sample.

    Args:
        dataset: anything with a length.
        num_replicas: how many processes there are.
        rank: which of them this is, from 0.
        shuffle: whether the order is random; it is the same in all processes.
        seed: what the order depends on, together with the epoch.
        drop_last: leave out samples at the end, instead of drawing some twice, so that
            all processes get equally many.

    >>> list(data.DistributedSampler("abcd", num_replicas=2, rank=1, shuffle=False))
    [1, 3]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int,
        rank: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(None, seed)
        if not 0 <= rank < num_replicas:
            raise ShapeError(
                f"DistributedSampler with rank={rank} of num_replicas={num_replicas}",
                hint="ranks count from 0",
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.shuffle = shuffle
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[int]:
        length, epoch = len(self.dataset), self._next_epoch()
        order = np.arange(length)
        if self.shuffle:
            order = permutation(length, self.seed, epoch)
        # Those at the front are drawn again where some are missing at the end.
        order = np.resize(order, len(self) * self.num_replicas) if length else order
        return iter(order[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.num_replicas)
        return whole + int(rest > 0 and not self.drop_last)


class BatchSampler(Sampler):
    """The indices of another sampler, so many at a time.

    >>> list(data.BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, sampler: Iterable[int], batch_size: int, drop_last: bool = False
    ) -> None:
        if batch_size < 1:
            raise ShapeError(f"batch_size={batch_size}; a batch has 1 sample or more")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of this epoch next, if the sampler is random."""
        set_epoch(self.sampler, epoch)

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.batch_size)  # type: ignore[arg-type]
        return whole + int(rest > 0 and not self.drop_last)


def set_epoch(sampler: Any, epoch: int) -> None:
    """Tell a sampler which epoch comes next, if it wants to know."""
    tell = getattr(sampler, "set_epoch", None)
    if tell is not None:
        tell(epoch)
