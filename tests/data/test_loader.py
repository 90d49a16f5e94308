"""Batches arrive complete, in a reproducible order, and resume at any point."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tetragrad.core.errors import FileFormatError, IndexingError, ShapeError
from tetragrad.core.settings import override
from tetragrad.core.settings import settings as tetragrad_settings
from tetragrad.data import DataLoader, Subset, TensorDataset
from tetragrad.tensor import Tensor


def numbers(loader: DataLoader) -> list[list[int]]:
    """The samples of one epoch, batch by batch; each sample is its number."""
    return [batch[0].numpy().tolist() for batch in loader]


def make_loader(length: int = 10, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(np.arange(length)), **options)


def loader_threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("tetragrad-loader")
    ]


@pytest.fixture(params=[0, 1, 3])
def prefetch(request: pytest.FixtureRequest) -> int:
    value: int = request.param
    return value


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not loader_threads()


def test_batches_in_order(prefetch: int) -> None:
    loader = make_loader(7, batch_size=3, prefetch=prefetch)
    assert len(loader) == 3
    assert numbers(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    loader = make_loader(7, batch_size=3, drop_last=True, prefetch=prefetch)
    assert len(loader) == 2
    assert numbers(loader) == [[0, 1, 2], [3, 4, 5]]


def test_batches_are_tuples_of_tensors() -> None:
    dataset = TensorDataset(np.zeros((4, 2), np.uint8), np.arange(4))
    (batch,) = DataLoader(dataset, 4)
    assert isinstance(batch, tuple)
    assert all(isinstance(part, Tensor) for part in batch)
    assert batch[0].numpy().dtype == np.uint8


def test_an_empty_data_set_has_no_batches(prefetch: int) -> None:
    assert numbers(make_loader(0, shuffle=True, prefetch=prefetch)) == []


def test_each_epoch_has_its_own_order_and_every_sample(prefetch: int) -> None:
    loader = make_loader(20, batch_size=4, shuffle=True, prefetch=prefetch)
    first, second = numbers(loader), numbers(loader)
    assert first != second
    for epoch in (first, second):
        assert sorted(chain(*epoch)) == list(range(20))
    again = make_loader(20, batch_size=4, shuffle=True)
    assert [numbers(again), numbers(again)] == [first, second]
    other = make_loader(20, batch_size=4, shuffle=True, seed=1)
    assert numbers(other) != first


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(0, 13),
    batch_size=st.integers(1, 5),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    prefetch=st.integers(0, 3),
    stop=st.integers(0, 12),
)
def test_a_run_resumes_at_the_very_next_sample(
    length: int,
    batch_size: int,
    shuffle: bool,
    drop_last: bool,
    prefetch: int,
    stop: int,
) -> None:
    def make(seed: int) -> DataLoader:
        return make_loader(
            length,
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            prefetch=prefetch,
            seed=seed,
        )

    whole = make(seed=3)
    expected = [numbers(whole) for _ in range(3)]

    def run(loader: DataLoader, num_epochs: int, limit: int) -> list[list[int]]:
        seen: list[list[int]] = []
        for _ in range(num_epochs):
            for batch in loader:
                if len(seen) == limit:
                    return seen
                seen.append(batch[0].numpy().tolist())
                saved.append(loader.state_dict())
        return seen

    saved = [make(seed=3).state_dict()]
    before = run(make(seed=3), 3, stop)
    # Through JSON, as in a checkpoint.
    state = json.loads(json.dumps(saved[len(before)]))
    resumed = make(seed=99)
    resumed.load_state_dict(state)
    after = run(resumed, 3 - state["epoch"], 10**6)
    assert before + after == list(chain(*expected))


def test_a_loop_left_early_is_followed_by_a_new_epoch(prefetch: int) -> None:
    options: dict[str, Any] = {"batch_size": 2, "shuffle": True, "prefetch": prefetch}
    loader, whole = make_loader(**options), make_loader(**options)
    for _ in loader:
        break
    numbers(whole)
    assert numbers(loader) == numbers(whole)


def test_the_position_of_another_loader_is_refused() -> None:
    state = make_loader(10, batch_size=2).state_dict()
    with pytest.raises(FileFormatError, match="batch_size was 2, this one's is 5"):
        make_loader(10, batch_size=5).load_state_dict(state)
    with pytest.raises(FileFormatError, match="length was 10, this one's is 11"):
        make_loader(11, batch_size=2).load_state_dict(state)
    with pytest.raises(FileFormatError, match="lacks batch, epoch"):
        make_loader(10).load_state_dict({"seed": 0, **make_loader(10)._layout()})


class Squares:
    """A data set with nothing but a length and items."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < 5:
            raise IndexingError("no such square")
        self.threads.add(threading.current_thread().name)
        return {"square": index**2, "name": str(index)}


def test_any_data_set_will_do(prefetch: int) -> None:
    dataset = Squares()
    batches = list(DataLoader(dataset, 2, prefetch=prefetch))
    assert [batch["square"].numpy().tolist() for batch in batches] == [
        [0, 1],
        [4, 9],
        [16],
    ]
    assert batches[1]["name"] == ["2", "3"]
    is_ahead = any(name.startswith("tetragrad-loader") for name in dataset.threads)
    assert is_ahead == (prefetch > 0)


def test_subsets_are_gathered_at_once() -> None:
    subset = Subset(TensorDataset(np.arange(10) * 10), [9, 1, 5])
    assert numbers(DataLoader(subset, 2)) == [[90, 10], [50]]


def test_a_collate_function_gets_the_samples(prefetch: int) -> None:
    loader = DataLoader(
        ["a", "bbb", "cc"],
        2,
        collate_fn=lambda texts: max(map(len, texts)),
        prefetch=prefetch,
    )
    assert list(loader) == [3, 2]


def test_an_error_in_the_data_set_arrives_in_the_loop(prefetch: int) -> None:
    class Broken(Squares):
        def __getitem__(self, index: int) -> dict[str, Any]:
            if index == 3:
                raise OSError("sample 3 is on a bad disk")
            return super().__getitem__(index)

    loader = DataLoader(Broken(), prefetch=prefetch)
    received = 0

    def consume() -> None:
        nonlocal received
        for _ in loader:
            received += 1

    with pytest.raises(OSError, match="bad disk"):
        consume()
    assert received == 3


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_the_thread_ends_with_the_loop(exception: type[BaseException]) -> None:
    loader = make_loader(1000, prefetch=4)

    def interrupted() -> None:
        for _ in loader:
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert not loader_threads()
    for _ in loader:
        assert loader_threads()
        break
    assert not loader_threads()


def test_no_more_is_prepared_than_asked_for() -> None:
    prepared: list[int] = []

    class Counted(Squares):
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> dict[str, Any]:
            prepared.append(index)
            return {"index": index}

    batches = iter(DataLoader(Counted(), prefetch=2))
    next(batches)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(prepared) <= 4


def test_overridden_settings_hold_in_the_thread() -> None:
    class Settings(Squares):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"debug": tetragrad_settings().debug}

    with override(debug=7):
        batch = next(iter(DataLoader(Settings(), 5, prefetch=1)))
    assert batch["debug"].numpy().tolist() == [7] * 5


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ShapeError, match="batch_size=0"):
        make_loader(batch_size=0)
    with pytest.raises(ShapeError, match="prefetch=-1"):
        make_loader(prefetch=-1)
