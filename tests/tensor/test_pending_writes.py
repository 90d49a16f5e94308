"""A write in place runs once, however often what was written is read afterwards."""

from __future__ import annotations

from tetragrad import Tensor
from tetragrad.graph.leaves import Buffer


def test_a_read_keeps_the_writes_it_depends_on() -> None:
    memory = Tensor.zeros(4)
    for step in range(3):
        memory[step] = step + 1.0
        assert memory.sum().item() == sum(range(1, step + 2))
        assert isinstance(memory.storage.value, Buffer)


def test_a_read_leaves_unrelated_writes_pending() -> None:
    other = Tensor.zeros(4)
    other[0] = 1.0
    (Tensor.ones(2) + 1).tolist()
    assert not isinstance(other.storage.value, Buffer)
    assert other.tolist() == [1.0, 0.0, 0.0, 0.0]
