"""Graphs that have run before are recognised by their outline, and only those."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import IndexingError
from tetragrad.engine import realize, seen


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> None:
    """Each test meets every graph for the first time."""
    realize.forget_schedules()


def vector(*values: float) -> Tensor:
    """A tensor in memory."""
    return Tensor(np.array(values, np.float32))


def new_graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each graph that has to be built anew."""
    built: list[Any] = []
    plain_graph = realize.plain_graph

    def noted(*arguments: Any) -> Any:
        built.append(arguments)
        return plain_graph(*arguments)

    monkeypatch.setattr(realize, "plain_graph", noted)
    return built


def test_a_training_step_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    optimiser = tetragrad.optim.SGD([weight], lr=0.5)
    built = new_graphs(monkeypatch)
    expected = np.ones((2, 2), np.float32)
    for step in range(6):
        values = np.full((2, 2), step, np.float32)
        optimiser.zero_grad()
        (Tensor(values) * weight).sum().backward()
        optimiser.step()
        expected = expected - np.float32(0.5) * values
        assert np.array_equal(weight.detach().numpy(), expected)
        if step == 3:
            built.clear()
    assert not built


def test_numbers_that_do_not_shape_code_may_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = new_graphs(monkeypatch)
    x = vector(1, 2)
    found = [(x * factor).tolist() for factor in (0.5, 1.5, 2.5)]
    assert found == [[0.5, 1.0], [1.5, 3.0], [2.5, 5.0]]
    assert len(built) == 1
    assert [(x * factor).tolist() for factor in (2, 0)] == [[2.0, 4.0], [0.0, 0.0]]


def test_which_leaves_are_one_is_part_of_the_outline() -> None:
    x, y = vector(1, 2), vector(3, 4)
    assert (x * y).tolist() == [3.0, 8.0]
    assert (x * x).tolist() == [1.0, 4.0]
    assert (y * x + y).tolist() == [6.0, 12.0]
    assert (y * x + x).tolist() == [4.0, 10.0]


def test_a_marker_takes_no_number() -> None:
    x = vector(0.5, 0.25).requires_grad_()
    first = -x.detach() + (-x).exp() * x
    second = -x + (-x).detach().exp() * x
    third = -x + (-x).exp().detach() * -x
    values = np.array([0.5, 0.25], np.float32)
    expected = -values + np.exp(-values) * values
    assert np.allclose(first.detach().numpy(), expected)
    assert np.allclose(second.detach().numpy(), expected)
    assert np.allclose(third.detach().numpy(), -values - np.exp(-values) * values)


def test_indices_are_checked_each_time() -> None:
    table = vector(1, 2, 3)
    for index in (0, 2, 1):
        assert table[Tensor([index])].tolist() == [index + 1.0]
    with pytest.raises(IndexingError, match="3 elements"):
        table[Tensor([7])].tolist()


def test_what_has_run_is_a_leaf() -> None:
    x = vector(1, 2)
    doubled = x * 2
    assert (doubled + 1).tolist() == [3.0, 5.0]
    doubled.realize()
    assert (doubled + 1).tolist() == [3.0, 5.0]
    assert (doubled + doubled).tolist() == [4.0, 8.0]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MAXIMUM_LENGTH", 60)
    for size in range(1, 9):
        assert (vector(*[1.0] * size) + 0.5).tolist() == [1.5] * size
        assert seen._length == sum(map(len, seen._seen))
        assert seen._length <= 60
    assert seen._seen
