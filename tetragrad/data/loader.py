"""Batches from a data set: shuffled, prepared ahead, and resumable at any batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core.errors import FileFormatError, ShapeError
from tetragrad.data.convert import to_tensors
from tetragrad.data.dataset import Dataset, Gatherable, collate, gather
from tetragrad.data.shuffle import permutation

if TYPE_CHECKING:
    from concurrent.futures import Future


class DataLoader:
    """Iterate over a data set in batches of tensors.

    Each ``for`` loop is one epoch. The order of an epoch depends on ``seed`` and the
    number of the epoch only. ``prefetch`` batches are prepared ahead in a thread; 0
    prepares each when it is asked for. ``state_dict()`` counts batches that the loop
    has received, so a resumed run sees each sample exactly once.

    >>> from tetragrad.data import TensorDataset
    >>> dataset = TensorDataset(np.arange(5))
    >>> [batch.tolist() for (batch,) in DataLoader(dataset, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        prefetch: int = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ShapeError(f"batch_size={batch_size}; a batch has 1 sample or more")
        if prefetch < 0:
            raise ShapeError(f"prefetch={prefetch}; use 0 to prepare nothing ahead")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.prefetch = prefetch
        self.collate_fn = collate_fn
        self._epoch = 0
        self._delivered = 0
        self._is_started = False
        # Only the newest loop moves the position; see _deliver.
        self._loops = 0

    def __len__(self) -> int:
        """The number of batches in one epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
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
            "length": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _deliver(self, loop: int) -> Iterator[Any]:
        for batch in self._batches(self._batch_indices()):
            if loop == self._loops:
                self._delivered += 1
            # Tensors are made here, in the thread that uses them.
            yield to_tensors(batch)
        if loop == self._loops:
            self._epoch += 1
            self._delivered = 0
            self._is_started = False

    def _batch_indices(self) -> list[np.ndarray]:
        """The samples of each batch that is left in this epoch."""
        length = len(self.dataset)
        if self.shuffle:
            order = permutation(length, self.seed, self._epoch)
        else:
            order = np.arange(length)
        starts = [number * self.batch_size for number in range(len(self))]
        left = starts[self._delivered :]
        return [order[start : start + self.batch_size] for start in left]

    def _batches(self, batch_indices: list[np.ndarray]) -> Iterator[Any]:
        if self.prefetch == 0:
            yield from map(self._make_batch, batch_indices)
            return
        # Imported late: it is slow to import, and a program may never iterate.
        from concurrent.futures import ThreadPoolExecutor

        # Settings that were overridden for this thread hold in the other one too.
        context = copy_context()
        executor = ThreadPoolExecutor(1, thread_name_prefix="tetragrad-loader")
        waiting: deque[Future[Any]] = deque()
        try:
            for indices in batch_indices:
                waiting.append(executor.submit(context.run, self._make_batch, indices))
                if len(waiting) > self.prefetch:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Reached at the end, and when the loop is left by break or an exception.
            executor.shutdown(wait=True, cancel_futures=True)

    def _make_batch(self, indices: np.ndarray) -> Any:
        if self.collate_fn is not None:
            return gather(self.dataset, indices, self.collate_fn)
        if isinstance(self.dataset, Gatherable):
            return self.dataset.take(indices)
        return gather(self.dataset, indices, collate)
