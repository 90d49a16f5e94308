"""An index that the host knows to be out of range raises, wherever it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tetragrad import IndexingError, Tensor, TetragradError, jit, nn, ones, vmap
from tetragrad.nn import functional

WRONG = Tensor([0, 7])


def assign(index: Tensor) -> Tensor:
    target = ones(3)
    target[index] = 5.0
    return target


USES: dict[str, Callable[[], Any]] = {
    "index": lambda: ones(3, 2)[WRONG],
    "index of a view": lambda: ones(3, 2)[WRONG.reshape(2, 1)],
    "index of the second dimension": lambda: ones(2, 3)[:, WRONG],
    "assignment": lambda: assign(WRONG),
    "embedding": lambda: functional.embedding(WRONG, ones(3, 2)),
    "Embedding": lambda: nn.Embedding(3, 2)(WRONG),
    "gather": lambda: ones(3).gather(0, WRONG),
    "take": lambda: ones(3).take(WRONG),
    "take_along_dim": lambda: ones(3).take_along_dim(WRONG, 0),
    "index_select": lambda: ones(3, 2).index_select(0, WRONG),
    "index_add": lambda: ones(3, 2).index_add(0, WRONG, ones(2, 2)),
    "scatter": lambda: ones(3).scatter(0, WRONG, ones(2)),
    "scatter_add": lambda: ones(3).scatter_add(0, WRONG, ones(2)),
}


@pytest.mark.parametrize("use", USES)
def test_a_known_index_out_of_range_raises(use: str) -> None:
    with pytest.raises(IndexingError, match="index 7 is out of range"):
        USES[use]()


def test_an_index_that_was_computed_is_known_too() -> None:
    index = (Tensor([0, 3]) + 4).realize()
    with pytest.raises(IndexingError, match="index 4 is out of range"):
        ones(3)[index]


def test_too_far_from_the_end() -> None:
    with pytest.raises(IndexingError, match="index -4 is out of range"):
        ones(3)[Tensor([-4])]
    assert Tensor([1, 2, 3])[Tensor([-3])].tolist() == [1]


def test_class_targets() -> None:
    scores = ones(2, 3)
    with pytest.raises(IndexingError, match="class target of 3 for 3 classes"):
        functional.cross_entropy(scores, Tensor([0, 3]))
    with pytest.raises(IndexingError, match="class target of -1 for 3 classes"):
        functional.nll_loss(scores, Tensor([0, -1]))
    ignored = functional.cross_entropy(scores, Tensor([0, -100]))
    assert ignored.item() == pytest.approx(1.0986, abs=1e-4)


def test_one_hot() -> None:
    with pytest.raises(IndexingError, match="values from 0 to 7 with 3 classes"):
        functional.one_hot(WRONG, 3)


def test_an_index_that_is_still_to_be_computed_raises_when_it_is_used() -> None:
    pending = ones(3)[Tensor([0, 3]) + 4]
    with pytest.raises(IndexingError, match="index 7 is out of range"):
        pending.tolist()
    scattered = ones(3).scatter_add(0, Tensor([0, 3]) + 4, ones(2))
    with pytest.raises(IndexingError, match="index 7 is out of range"):
        scattered.tolist()


def test_captured_functions_may_index() -> None:
    rows = jit(lambda table, index: table[index])
    for _ in range(2):
        assert rows(Tensor([1.0, 2.0]), Tensor([1, 0])).tolist() == [2.0, 1.0]


def test_an_empty_index_is_never_wrong() -> None:
    assert ones(3)[Tensor([], dtype="int64")].shape == (0,)


def test_weights_are_checked_where_they_are_computed() -> None:
    logits = Tensor([[0.5, -2.0], [1.0, 2.0]]) * 1.0
    drawn = logits.multinomial(1)
    with pytest.raises(TetragradError, match="negative") as caught:
        drawn.tolist()
    assert any(__file__ in note for note in caught.value.__notes__)
    assert logits.exp().multinomial(1).shape == (2, 1)


def test_replays_check_weights() -> None:
    @jit
    def draw(weights: Tensor) -> Tensor:
        return (weights * 2).multinomial(1)

    for _ in range(3):
        assert draw(Tensor([0.0, 1.0])).item() == 1
    with pytest.raises(TetragradError, match="negative"):
        draw(Tensor([-1.0, 1.0])).item()
    assert draw(Tensor([0.0, 1.0])).item() == 1


def test_mapped_functions_check_their_values() -> None:
    def loss(chance: Tensor) -> Tensor:
        return chance.binary_cross_entropy(ones(2))

    chances = Tensor([[0.5, 0.5], [1.0, 1.0]])
    assert vmap(loss)(chances).tolist()[1] == 0.0
    with pytest.raises(TetragradError, match="from 0 to 1"):
        vmap(loss)(chances + 0.2).tolist()
