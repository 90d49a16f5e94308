"""Packed sequences beside PyTorch's, and recurrent layers that take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, nn
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.core.settings import override
from tetragrad.nn.utils import rnn

torch = pytest.importorskip("torch")
their_rnn = torch.nn.utils.rnn

LENGTHS = [2, 5, 1, 3]
SORTED = [5, 3, 2, 1]


@pytest.fixture(autouse=True)
def on_reference() -> Iterator[None]:
    """Every length would be compiled on its own."""
    with override(device="reference"):
        yield


def same(mine: Any, theirs: Any) -> None:
    """Compare nested tensors of both libraries."""
    if theirs is None:
        assert mine is None
    elif isinstance(mine, Tensor):
        assert mine.shape == tuple(theirs.shape)
        mine, theirs = mine.detach().numpy(), theirs.detach().numpy()
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    else:
        assert len(mine) == len(theirs)
        for ours, other in zip(mine, theirs, strict=True):
            same(ours, other)


def sequences(lengths: list[int]) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.normal(size=(length, 3)) for length in lengths]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(batch_first: bool, side: str) -> None:
    arrays = sequences(LENGTHS)
    mine = rnn.pad_sequence([Tensor(a) for a in arrays], batch_first, 7.0, side)
    theirs = their_rnn.pad_sequence(
        [torch.tensor(a) for a in arrays], batch_first, 7.0, side
    )
    same(mine, theirs)
    if side == "right":
        mine, theirs = (
            rnn.unpad_sequence(mine, LENGTHS, batch_first),
            their_rnn.unpad_sequence(theirs, torch.tensor(LENGTHS), batch_first),
        )
        same(mine, theirs)


@pytest.mark.parametrize("lengths", [LENGTHS, SORTED, [4], [2, 2, 2]])
@pytest.mark.parametrize("batch_first", [False, True])
def test_packing_and_back(lengths: list[int], batch_first: bool) -> None:
    arrays = sequences(lengths)
    is_sorted = lengths != LENGTHS
    mine = rnn.pack_sequence([Tensor(a) for a in arrays], is_sorted)
    theirs = their_rnn.pack_sequence([torch.tensor(a) for a in arrays], is_sorted)
    same(tuple(mine), tuple(theirs))
    for options in ({}, {"padding_value": 3.0, "total_length": 6}):
        same(
            rnn.pad_packed_sequence(mine, batch_first, **options),
            their_rnn.pad_packed_sequence(theirs, batch_first, **options),
        )
    same(rnn.unpack_sequence(mine), their_rnn.unpack_sequence(theirs))
    padded = np.zeros((5, len(lengths), 2)) + np.arange(5)[:, None, None]
    same(
        rnn.pack_padded_sequence(
            Tensor(padded), lengths, enforce_sorted=is_sorted
        ).data,
        their_rnn.pack_padded_sequence(
            torch.tensor(padded), lengths, enforce_sorted=is_sorted
        ).data,
    )


LAYERS: dict[str, Callable[[Any], Any]] = {
    "RNN": lambda n: n.RNN(3, 4, num_layers=2),
    "RNN relu": lambda n: n.RNN(3, 4, nonlinearity="relu", bidirectional=True),
    "LSTM": lambda n: n.LSTM(3, 4, num_layers=2, bidirectional=True),
    "LSTM projected": lambda n: n.LSTM(3, 4, proj_size=2, batch_first=True),
    "GRU": lambda n: n.GRU(3, 4, num_layers=2, bidirectional=True),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("lengths", [LENGTHS, SORTED])
def test_recurrent_layers(name: str, lengths: list[int]) -> None:
    theirs, ours = LAYERS[name](torch.nn).double(), LAYERS[name](nn).double()
    ours.load_state_dict(theirs.state_dict())
    arrays = sequences(lengths)
    is_sorted = lengths == SORTED
    mine = rnn.pack_sequence([Tensor(a) for a in arrays], is_sorted)
    other = their_rnn.pack_sequence([torch.tensor(a) for a in arrays], is_sorted)
    output, states = ours(mine)
    their_output, their_states = theirs(other)
    assert isinstance(output, rnn.PackedSequence)
    same(tuple(output), tuple(their_output))
    same(states, their_states)
    (output.data.square().sum() * 0.5).backward()
    (their_output.data.square().sum() * 0.5).backward()
    grads = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        same(parameter.grad, grads[key].grad)


def test_states_that_are_given() -> None:
    theirs, ours = torch.nn.GRU(3, 4).double(), nn.GRU(3, 4).double()
    ours.load_state_dict(theirs.state_dict())
    start = np.random.default_rng(1).normal(size=(1, 4, 4))
    arrays = sequences(LENGTHS)
    mine = ours(rnn.pack_sequence([Tensor(a) for a in arrays], False), Tensor(start))
    packed = their_rnn.pack_sequence([torch.tensor(a) for a in arrays], False)
    other = theirs(packed, torch.tensor(start))
    same(mine[1], other[1])
    same(mine[0].data, other[0].data)


def test_conversions() -> None:
    packed = rnn.pack_sequence([Tensor([1, 2]), Tensor([3])])
    assert packed.double().data.dtype.bits == 64
    assert packed.float().cpu().to("float16").data.dtype.bits == 16
    assert nn.utils.rnn is rnn


MISTAKES: list[tuple[Callable[[], Any], Any, str]] = [
    (lambda: rnn.pad_sequence([]), ShapeError, "of no sequences"),
    (
        lambda: rnn.pad_sequence([Tensor([1]), Tensor([[1]])]),
        ShapeError,
        "differ in their first size only",
    ),
    (lambda: rnn.pad_sequence([Tensor([1])], padding_side="top"), ValueError, "'top'"),
    (
        lambda: rnn.pack_sequence([Tensor([1]), Tensor([1, 2])]),
        ShapeError,
        "enforce_sorted=False",
    ),
    (
        lambda: rnn.pack_padded_sequence(Tensor.zeros(3, 2), [4, 1]),
        ShapeError,
        r"lengths \[4, 1\] and 2 sequences of 3 steps",
    ),
    (
        lambda: rnn.pad_packed_sequence(
            rnn.pack_sequence([Tensor([1, 2])]), total_length=1
        ),
        ShapeError,
        "of a sequence of 2 steps",
    ),
    (lambda: nn.GRU(1, 1)([1.0]), DTypeError, "GRU of a list"),
    (
        lambda: nn.GRU(2, 1)(rnn.pack_sequence([Tensor([[1.0]])])),
        ShapeError,
        "with 2 features",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_are_named(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
