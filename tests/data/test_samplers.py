"""Orders, streams and workers: what loaders draw, and from what."""

from __future__ import annotations

import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, data
from tetragrad.core.errors import IndexingError, ShapeError


def batches(loader: Any) -> list[Any]:
    return [batch.tolist() for batch in loader]


def test_random_samplers() -> None:
    sampler = data.RandomSampler(range(20), seed=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert list(data.RandomSampler(range(20), seed=1)) == first
    more = list(data.RandomSampler(range(4), num_samples=10))
    assert len(more) == 10
    assert sorted(more[:4]) == [0, 1, 2, 3]
    repeated = list(data.RandomSampler(range(4), replacement=True, num_samples=100))
    assert set(repeated) == {0, 1, 2, 3}
    seeded = data.RandomSampler(range(20), generator=tetragrad.Generator(1))
    assert list(seeded) == first
    assert list(data.RandomSampler([])) == []


def test_weighted_samplers() -> None:
    weights = [0.0, 1.0, 3.0, 0.0]
    drawn = list(data.WeightedRandomSampler(weights, 4000))
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == counts[3] == 0
    assert counts[2] / counts[1] == pytest.approx(3, rel=0.2)
    once = list(data.WeightedRandomSampler(Tensor(weights), 2, replacement=False))
    assert sorted(once) == [1, 2]
    with pytest.raises(ShapeError, match="3 samples from 2"):
        data.WeightedRandomSampler(weights, 3, replacement=False)
    with pytest.raises(ShapeError, match="finite weight >= 0"):
        data.WeightedRandomSampler([-1.0], 1)


def test_processes_share_all_samples() -> None:
    parts = [
        data.DistributedSampler(range(10), num_replicas=3, rank=rank)
        for rank in range(3)
    ]
    drawn = [list(part) for part in parts]
    assert [len(part) for part in drawn] == [4, 4, 4]
    assert {index for part in drawn for index in part} == set(range(10))
    assert [list(part) for part in parts] != drawn
    short = data.DistributedSampler(range(10), 3, 0, shuffle=False, drop_last=True)
    assert list(short) == [0, 3, 6]


def test_loaders_take_samplers() -> None:
    numbers = list(range(10))
    loader = data.DataLoader(numbers, 2, sampler=data.SubsetRandomSampler([1, 5, 9]))
    assert sorted(index for batch in batches(loader) for index in batch) == [1, 5, 9]
    assert len(loader) == 2
    pairs = data.BatchSampler(data.SequentialSampler(numbers), 4, drop_last=True)
    loader = data.DataLoader(numbers, batch_sampler=pairs)
    assert batches(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2
    assert list(data.DataLoader(numbers, None, sampler=[3, 1])) == [3, 1]


def test_a_run_with_a_sampler_resumes() -> None:
    def make() -> data.DataLoader:
        sampler = data.RandomSampler(range(10), replacement=True)
        return data.DataLoader(list(range(10)), 3, sampler=sampler)

    whole = make()
    expected = [batches(whole), batches(whole)]
    loader = make()
    list(loader)
    stream = iter(loader)
    next(stream)
    state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert batches(resumed) == expected[1][1:]
    stream.close()  # type: ignore[attr-defined]


def test_contradictions_are_refused() -> None:
    with pytest.raises(ShapeError, match="which order is meant"):
        data.DataLoader([1], shuffle=True, sampler=[0])
    with pytest.raises(ShapeError, match="a batch_sampler decides"):
        data.DataLoader([1], 2, batch_sampler=[[0]])
    with pytest.raises(ShapeError, match="has no order to choose"):
        data.DataLoader(Shares(4), shuffle=True)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_keep_the_order(workers: int) -> None:
    threads: set[Any] = set()

    class Slow:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> int:
            if not 0 <= index < 12:
                raise IndexError
            info = data.get_worker_info()
            assert info is not None and info.num_workers == max(workers, 1)
            threads.add(info.id)
            time.sleep(0.002 * (index % 3))
            return index

    started: list[int] = []
    loader = data.DataLoader(
        Slow(), 2, num_workers=workers, worker_init_fn=started.append, timeout=60
    )
    assert batches(loader) == [[i, i + 1] for i in range(0, 12, 2)]
    assert threads == set(range(max(workers, 1)))
    assert sorted(started) == list(range(max(workers, 1)))
    assert data.get_worker_info() is None


def test_a_batch_that_takes_too_long() -> None:
    released = threading.Event()

    class Stuck:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> int:
            released.wait(30)
            return index

    stream = iter(data.DataLoader(Stuck(), timeout=0.01))
    threading.Timer(0.2, released.set).start()
    with pytest.raises(TimeoutError, match=r"timeout=0\.01 seconds"):
        next(stream)


class Shares(data.IterableDataset):
    """Numbers, of which each worker reads its share."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[int]:
        info = data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.length, step))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_streams(prefetch: int) -> None:
    loader = data.DataLoader(Shares(5), 2, prefetch=prefetch)
    assert batches(loader) == batches(loader) == [[0, 1], [2, 3], [4]]
    short = data.DataLoader(Shares(5), 2, drop_last=True, prefetch=prefetch)
    assert batches(short) == [[0, 1], [2, 3]]
    single = data.DataLoader(Shares(3), None, prefetch=prefetch)
    assert list(single) == [0, 1, 2]
    with pytest.raises(TypeError):
        len(loader)


def test_streams_of_several_workers() -> None:
    loader = data.DataLoader(Shares(11), 2, num_workers=3)
    assert batches(loader) == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8]]
    state = None
    for number, _ in enumerate(loader):
        if number == 2:
            state = loader.state_dict()
    resumed = data.DataLoader(Shares(11), 2, num_workers=3)
    assert state is not None
    resumed.load_state_dict(state)
    assert batches(resumed) == [[6, 9], [7, 10], [8]]


def test_combined_data_sets() -> None:
    both = data.ConcatDataset([[10, 20], range(3)])
    assert [both[index] for index in range(-5, 5)] == [10, 20, 0, 1, 2] * 2
    with pytest.raises(IndexingError, match="no sample 5"):
        both[5]
    assert list(Shares(2) + Shares(1)) == [0, 1, 0]
    assert data.StackDataset([1, 2], "ab")[1] == (2, "b")
    with pytest.raises(ShapeError, match=r"lengths \[1, 2\]"):
        data.StackDataset([1], [1, 2])


Point = namedtuple("Point", "x y")


def test_collating() -> None:
    batch = data.default_collate([Point(1, {"t": [1.5]}), Point(2, {"t": [2.5]})])
    assert isinstance(batch, Point)
    assert batch.x.tolist() == [1, 2]
    assert batch.y["t"][0].tolist() == [1.5, 2.5]
    converted = data.default_convert(Point(np.zeros(1), "text"))
    assert isinstance(converted.x, Tensor)
    assert converted.y == "text"


def test_splitting_by_a_generator() -> None:
    parts = [
        [list(part) for part in data.random_split(range(10), [0.5, 0.5], generator)]
        for generator in (tetragrad.Generator(1), tetragrad.Generator(1))
    ]
    assert parts[0] == parts[1]
    assert parts[0] != [list(p) for p in data.random_split(range(10), [5, 5], seed=2)]
