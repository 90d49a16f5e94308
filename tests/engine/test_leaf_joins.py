"""Small values in memory that a graph joins are one buffer, however many they were."""

from __future__ import annotations

import random

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.engine import realize


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of nodes of each graph that is compiled."""
    found: list[int] = []
    make = realize._new_schedule

    def noted(nodes, structure, on, active):  # type: ignore[no-untyped-def]
        found.append(structure.nodes)
        return make(nodes, structure, on, active)

    realize.forget_schedules()
    monkeypatch.setattr(realize, "_new_schedule", noted)
    return found


def row(*values: float) -> Tensor:
    return Tensor(list(values)).realize()


def test_any_mixture_of_pieces_is_one_graph(compiled: list[int]) -> None:
    draw = random.Random(4)
    weights = row(0.5, -2.0).reshape(2, 1).realize()
    pool = [
        row(float(i), i / 2) if i % 2 else row(float(i), i / 2).reshape(1, 2).realize()
        for i in range(12)
    ]
    for _ in range(6):
        chosen = [draw.choice(pool) for _ in range(8)]
        found = tetragrad.cat([entry.reshape(1, 2) for entry in chosen]) @ weights
        wanted = np.stack([entry.numpy().reshape(2) for entry in chosen])
        np.testing.assert_array_equal(found.numpy(), wanted @ weights.numpy())
    assert len(compiled) == 1


def test_batches_of_any_size_are_one_graph_after_some(compiled: list[int]) -> None:
    pool = [row(float(i), 1.0) for i in range(20)]
    for count in range(5, 20):
        total = (tetragrad.stack(pool[:count]) * 3.0).sum(0)
        assert total.tolist() == [3.0 * sum(range(count)), 3.0 * count]
    assert len(compiled) == 4


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
def test_joins_of_slices_and_of_joins(dim: int, dtype: str) -> None:
    source = Tensor(np.arange(24).reshape(2, 3, 4) % 5 - 2)
    source = source.to(getattr(tetragrad, dtype)).realize()
    exact = source.numpy()
    pieces = [source, source.flip(1), source[:, :, ::2], source.permute(0, 1, 2)]
    if dim != 2:
        pieces[2] = source
    arrays = [entry.numpy() for entry in pieces]
    rows = tetragrad.cat(pieces, dim)
    both = tetragrad.cat([rows, rows], (dim + 1) % 3)
    wanted = np.concatenate(arrays, dim)
    wanted = np.concatenate([wanted, wanted], (dim + 1) % 3)
    np.testing.assert_array_equal(both.numpy(), wanted)
    np.testing.assert_array_equal(source.numpy(), exact)


def test_gradients_reach_the_pieces() -> None:
    pieces = [row(float(i), 2.0).requires_grad_() for i in range(5)]
    (tetragrad.stack(pieces) ** 2).sum().backward()
    for piece in pieces:
        assert piece.grad is not None
        np.testing.assert_array_equal(piece.grad.numpy(), 2 * piece.detach().numpy())


def test_replays_join_other_pieces() -> None:
    @tetragrad.jit
    def together(*pieces: Tensor) -> Tensor:
        return tetragrad.cat(pieces) * 2.0

    for start in range(4):
        pieces = [row(start + 1.0 * i) for i in range(5)]
        wanted = [2.0 * (start + i) for i in range(5)]
        assert together(*pieces).tolist() == wanted


def test_what_is_written_later_is_not_seen() -> None:
    pieces = [row(float(i)) for i in range(5)]
    joined = tetragrad.cat(pieces).realize()
    pieces[2].add_(10.0)
    assert joined.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert tetragrad.cat(pieces).tolist() == [0.0, 1.0, 12.0, 3.0, 4.0]
