"""Random numbers: the published vectors, repetition, and distributions."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.graph.leaves import constant
from tetragrad.tensor.threefry import threefry


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(
    counter: tuple[int, int], key: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The vectors that the authors of threefry publish with Random123."""
    nodes = [constant(word, tetragrad.uint32) for word in (*key, *counter)]
    words = threefry((nodes[0], nodes[1]), (nodes[2], nodes[3]))
    assert tuple(Tensor.from_node(word).item() for word in words) == expected


def test_seeds_repeat_and_calls_differ() -> None:
    tetragrad.manual_seed(3)
    first, second = tetragrad.rand(4), tetragrad.rand(4)
    assert not first.equal(second)
    tetragrad.manual_seed(3)
    assert tetragrad.rand(4).equal(first)
    assert tetragrad.rand(4).equal(second)
    tetragrad.manual_seed(4)
    assert not tetragrad.rand(4).equal(first)


def test_reading_twice_gives_the_same_numbers() -> None:
    x = tetragrad.rand(5)
    assert x.tolist() == x.tolist()
    assert (x + 0.0).tolist() == x.tolist()


def test_state_can_be_saved() -> None:
    state = tetragrad.random.get_state()
    first = tetragrad.randn(3)
    tetragrad.random.set_state(state)
    assert tetragrad.randn(3).equal(first)


def test_generators_are_independent() -> None:
    generator = tetragrad.Generator(5)
    expected = tetragrad.rand(3, generator=generator).tolist()
    generator.manual_seed(5)
    tetragrad.rand(3)
    assert tetragrad.rand(3, generator=generator).tolist() == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform(dtype: str) -> None:
    tetragrad.manual_seed(0)
    values = tetragrad.rand(20000, dtype=dtype).double().numpy()
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01
    assert abs(values.var() - 1 / 12) < 0.005


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal(dtype: str) -> None:
    tetragrad.manual_seed(0)
    values = tetragrad.randn(20000, dtype=dtype).numpy()
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03
    assert abs((values**3).mean()) < 0.1
    assert abs((values**4).mean() - 3) < 0.2


def test_integers() -> None:
    tetragrad.manual_seed(0)
    values = tetragrad.randint(-2, 5, (7000,)).numpy()
    counts = np.bincount(values + 2, minlength=7)
    assert len(counts) == 7
    assert abs(counts - 1000).max() < 150
    wide = tetragrad.randint(0, 1 << 40, (1000,)).numpy()
    assert wide.max() > 1 << 38


def test_permutation_and_choices() -> None:
    tetragrad.manual_seed(0)
    assert sorted(tetragrad.randperm(100).tolist()) == list(range(100))
    assert tetragrad.randperm(0).shape == (0,)
    weights = Tensor([0.0, 1.0, 3.0])
    drawn = weights.multinomial(4000, replacement=True).numpy()
    assert abs((drawn == 2).mean() - 0.75) < 0.03
    assert (drawn > 0).all()
    assert sorted(Tensor([1.0, 0.0, 2.0]).multinomial(2).tolist()) == [0, 2]
    rows = tetragrad.ones(3, 5).multinomial(5)
    assert [sorted(row) for row in rows.tolist()] == [list(range(5))] * 3


def test_changes_in_place() -> None:
    tetragrad.manual_seed(0)
    x = tetragrad.zeros(10000)
    assert abs(x.normal_(2.0, 0.5).mean().item() - 2) < 0.03
    assert abs(x.uniform_(-1, 3).mean().item() - 1) < 0.05
    assert abs(x.bernoulli_(0.3).mean().item() - 0.3) < 0.02
    assert abs(x.exponential_(2.0).mean().item() - 0.5) < 0.03
    dropped = tetragrad.ones(10000).dropout(0.25).numpy()
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((dropped == 0).mean() - 0.25) < 0.02
