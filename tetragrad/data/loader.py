"""Batches from a data set: shuffled, prepared ahead, and resumable at any batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tetragrad.core.errors import FileFormatError, ShapeError
from tetragrad.data.combined import batches_of, is_stream
from tetragrad.data.convert import to_tensors
from tetragrad.data.dataset import Gatherable, collate, gather
from tetragrad.data.samplers import set_epoch
from tetragrad.data.shuffle import permutation
from tetragrad.data.workers import Task, WorkerInfo, Workers
from tetragrad.tensor.generator import Generator

#: What a worker gives when its stream has ended.
_ENDED = object()


class DataLoader:
    """Iterate over a data set in batches of tensors.

    Each ``for`` loop is one epoch. The order of an epoch depends on ``seed`` and the
    number of the epoch only. ``state_dict()`` counts batches that the loop has
    received, so a resumed run sees each sample exactly once.

    Args:
        dataset: has a length and an item for every index, or is an IterableDataset.
        batch_size: samples in a batch; None gives single samples.
        shuffle: whether the order is random.
        sampler: gives the indices of an epoch, in place of ``shuffle``.
        batch_sampler: gives the indices of each batch.
        num_workers: threads that prepare batches. With 0 one thread prepares
            ``prefetch`` batches ahead, unless that is 0 too.
        collate_fn: makes a batch of a list of samples.
        pin_memory: changes nothing: copies to a GPU are made from where batches are.
        drop_last: leave out a last batch that is smaller than the others.
        timeout: seconds to wait for a batch; 0 waits for ever.
        worker_init_fn: is called in every worker with its number.
        generator: its initial seed takes the place of ``seed``.
        prefetch_factor: batches ahead for each worker.
        persistent_workers: changes nothing: threads are cheap to start.
        seed: what the order depends on, together with the epoch.
        prefetch: batches ahead without workers.

    >>> from tetragrad.data import TensorDataset
    >>> dataset = TensorDataset(np.arange(5))
    >>> [batch.tolist() for (batch,) in DataLoader(dataset, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Sequence[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], object] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        seed: int = 0,
        prefetch: int = 2,
    ) -> None:
        if batch_sampler is not None and batch_size == 1:
            batch_size = None
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.seed = seed if generator is None else generator.initial_seed()
        self.prefetch = prefetch
        if num_workers:
            self.prefetch = num_workers * (prefetch_factor or 2)
        self._check()
        self._epoch = 0
        self._delivered = 0
        self._is_started = False
        # Only the newest loop moves the position; see _deliver.
        self._loops = 0

    def _check(self) -> None:
        """Raise if the options contradict each other."""
        if self.batch_size is not None and self.batch_size < 1:
            raise ShapeError(
                f"batch_size={self.batch_size}; a batch has 1 sample or more"
            )
        if self.prefetch < 0 or self.num_workers < 0:
            raise ShapeError(
                f"prefetch={self.prefetch}, num_workers={self.num_workers}; use 0 to "
                "prepare nothing ahead"
            )
        samples = self.sampler is not None
        batches = self.batch_sampler is not None
        others = self.shuffle or self.drop_last or self.batch_size is not None
        if batches and (samples or others):
            raise ShapeError(
                "batch_sampler= with batch_size, shuffle, sampler or drop_last",
                hint="a batch_sampler decides all of these",
            )
        if samples and self.shuffle:
            raise ShapeError(
                "sampler= together with shuffle=True: which order is meant?",
                hint="a sampler decides the order; RandomSampler shuffles",
            )
        if is_stream(self.dataset) and (samples or batches or self.shuffle):
            raise ShapeError(
                f"a stream, {type(self.dataset).__name__}, has no order to choose",
                hint="leave out shuffle and samplers, or shuffle in its __iter__()",
            )

    def __len__(self) -> int:
        """The number of batches in one epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        count = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        full, rest = divmod(count, self.batch_size or 1)
        return full + int(rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        # After a loop that was left early comes a new epoch, not the rest of the old.
        if self._is_started:
            self._epoch += 1
            self._delivered = 0
        self._is_started = True
        self._loops += 1
        return self._deliver(self._loops)

    def state_dict(self) -> dict[str, Any]:
        """The position: the epoch, the batches received, and what they depend on."""
        return {
            "epoch": self._epoch,
            "batch": self._delivered,
            "seed": self.seed,
            **self._layout(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state`` was taken, in the next ``for`` loop."""
        absent = self.state_dict().keys() - state.keys()
        if absent:
            raise FileFormatError(
                f"the saved position lacks {', '.join(sorted(absent))}",
                hint="pass what DataLoader.state_dict() returned",
            )
        for name, value in self._layout().items():
            if state[name] != value:
                raise FileFormatError(
                    f"the saved position belongs to another loader: its {name} was "
                    f"{state[name]}, this one's is {value}",
                    hint="build the loader as it was when the state was saved",
                )
        self._epoch = int(state["epoch"])
        self._delivered = int(state["batch"])
        self.seed = int(state["seed"])
        self._is_started = False

    def _layout(self) -> dict[str, Any]:
        """What decides which samples the n-th batch holds, apart from the seed."""
        return {
            "length": None if is_stream(self.dataset) else len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _deliver(self, loop: int) -> Iterator[Any]:
        left = self._stream() if is_stream(self.dataset) else self._chosen()
        for batch in left:
            if loop == self._loops:
                self._delivered += 1
            # Tensors are made here, in the thread that uses them.
            yield to_tensors(batch)
        if loop == self._loops:
            self._epoch += 1
            self._delivered = 0
            self._is_started = False

    # --- data sets with indices -------------------------------------------------------

    def _chosen(self) -> Iterator[Any]:
        """The batches that are left in this epoch, each made from its indices."""
        batches = itertools.islice(self._batch_indices(), self._delivered, None)
        if self.prefetch == 0:
            return map(self._make_batch, batches)
        tasks: Iterator[Task] = (
            (number % max(self.num_workers, 1), partial(self._make_batch, indices))
            for number, indices in enumerate(batches)
        )
        return self._workers().run(tasks, self.prefetch)

    def _batch_indices(self) -> Iterator[Any]:
        """The samples of each batch of this epoch; single ones without batches."""
        if self.batch_sampler is not None:
            set_epoch(self.batch_sampler, self._epoch)
            return iter(self.batch_sampler)
        if self.sampler is not None:
            set_epoch(self.sampler, self._epoch)
            if self.batch_size is None:
                return iter(self.sampler)
            return batches_of(self.sampler, self.batch_size, self.drop_last)
        length = len(self.dataset)
        order = np.arange(length)
        if self.shuffle:
            order = permutation(length, self.seed, self._epoch)
        if self.batch_size is None:
            return iter(order.tolist())
        starts = (number * self.batch_size for number in range(len(self)))
        return (order[start : start + self.batch_size] for start in starts)

    def _make_batch(self, indices: Any) -> Any:
        if isinstance(indices, int):
            return self._single(self.dataset[indices])
        indices = np.asarray(indices)
        if self.collate_fn is not None:
            return gather(self.dataset, indices, self.collate_fn)
        if isinstance(self.dataset, Gatherable):
            return self.dataset.take(indices)
        return gather(self.dataset, indices, collate)

    def _single(self, sample: Any) -> Any:
        return sample if self.collate_fn is None else self.collate_fn(sample)

    # --- streams ----------------------------------------------------------------------

    def _stream(self) -> Iterator[Any]:
        """The batches of a stream that are left; each worker has its own."""
        if self.prefetch == 0:
            batches = iter(self._stream_batches())
        else:
            batches = self._workers().run(self._stream_tasks(), self.prefetch)
        left = (batch for batch in batches if batch is not _ENDED)
        return itertools.islice(left, self._delivered, None)

    def _stream_batches(self) -> Iterator[Any]:
        if self.batch_size is None:
            yield from map(self._single, self.dataset)
            return
        for samples in batches_of(self.dataset, self.batch_size, self.drop_last):
            yield (self.collate_fn or collate)(samples)

    def _stream_tasks(self) -> Iterator[Task]:
        """One batch of each worker in turn, until all of their streams have ended."""
        streams = {number: self._stream_batches() for number in self._numbers()}
        ended: set[int] = set()

        def next_batch(number: int) -> Any:
            batch = next(streams[number], _ENDED)
            if batch is _ENDED:
                ended.add(number)
            return batch

        while len(ended) < len(streams):
            for number in streams:
                if number not in ended:
                    yield number, partial(next_batch, number)

    def _numbers(self) -> range:
        return range(max(self.num_workers, 1))

    def _workers(self) -> Workers:
        count = len(self._numbers())
        infos = [
            WorkerInfo(number, count, self.seed + number, self.dataset)
            for number in self._numbers()
        ]
        return Workers(infos, self.worker_init_fn, self.timeout)
