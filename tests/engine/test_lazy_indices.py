"""An index that is only computed with its use is still checked, and says where."""

from __future__ import annotations

import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import IndexingError

ROWS = [1.0, 2.0, 3.0]


def test_a_computed_index_out_of_range_raises_each_time_it_is_read() -> None:
    picked = Tensor(ROWS)[Tensor([0, 1]) + 5]
    for _ in range(2):
        with pytest.raises(
            IndexingError, match=r"index 6 .* dimension 0 has 3"
        ) as caught:
            picked.tolist()
        assert any("test_lazy_indices.py" in note for note in caught.value.__notes__)


def test_computed_indices_in_range_count_from_both_ends() -> None:
    assert Tensor(ROWS)[Tensor([0, 1]) - 2].tolist() == [2.0, 3.0]
    below = Tensor(ROWS)[Tensor([0, 1]) - 5]
    with pytest.raises(IndexingError, match="index -5"):
        below.tolist()


def test_a_computed_label_out_of_range_stops_the_step() -> None:
    weight = Tensor.ones(3, 2, requires_grad=True)
    loss = tetragrad.nn.functional.embedding(Tensor([2]) + 1, weight).sum()
    with pytest.raises(IndexingError, match="index 3"):
        loss.backward()
        loss.item()


def test_every_replay_checks_its_indices() -> None:
    @tetragrad.jit
    def pick(rows: Tensor, index: Tensor) -> Tensor:
        return rows[index * 2] * 1

    rows = Tensor(ROWS)
    for index in ([0, 1], [1, 0]):
        assert pick(rows, Tensor(index)).tolist() == [ROWS[2 * i] for i in index]
    with pytest.raises(IndexingError, match="index 4"):
        pick(rows, Tensor([1, 2]))
    assert pick(rows, Tensor([1, 1])).tolist() == [3.0, 3.0]
