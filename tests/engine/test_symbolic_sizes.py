"""A graph with symbolic sizes is right for every value, and compiled once."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tetragrad
from tetragrad import Symbol, Tensor
from tetragrad.core.errors import ShapeError
from tetragrad.engine import realize
from tetragrad.graph.sizes import Size
from tetragrad.graph.symbolic import general_form
from tetragrad.graph.text import graph_text, names_of, parse_graph

MAXIMUM = 16
VALUES = (5, 7, MAXIMUM, 1, 3)
TOKENS = Symbol("tokens", MAXIMUM)

_random = np.random.default_rng(0)
MATRIX = _random.standard_normal((MAXIMUM, 8)).astype(np.float32)
HEADS = _random.standard_normal((2, MAXIMUM, 8)).astype(np.float32)
QUERY = _random.standard_normal((2, 3, 8)).astype(np.float32)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def attention(n: int) -> Tensor:
    keys = Tensor(HEADS)[:, :n]
    scores = Tensor(QUERY) @ keys.transpose(1, 2) * 0.3
    return scores.softmax(-1) @ keys


def attention_in_numpy(n: int) -> np.ndarray:
    keys = HEADS[:, :n]
    return softmax(QUERY @ keys.transpose(0, 2, 1) * 0.3, -1) @ keys


def write_last(n: int) -> Tensor:
    cache = Tensor(MATRIX)
    cache[n - 1 : n] = Tensor.ones(1, 8)
    return cache


def write_last_in_numpy(n: int) -> np.ndarray:
    cache = MATRIX.copy()
    cache[n - 1 : n] = 1
    return cache


CASES: dict[str, tuple[Callable[[int], Tensor], Callable[[int], np.ndarray]]] = {
    "elementwise": (lambda n: Tensor(MATRIX)[:n] * 2 + 1, lambda n: MATRIX[:n] * 2 + 1),
    "inner": (lambda n: Tensor(HEADS)[:, :n] * 2, lambda n: HEADS[:, :n] * 2),
    "sum": (lambda n: Tensor(MATRIX)[:n].sum(0), lambda n: MATRIX[:n].sum(0)),
    "mean": (lambda n: Tensor(MATRIX)[:n].mean(0), lambda n: MATRIX[:n].mean(0)),
    "max": (lambda n: Tensor(MATRIX)[:n].amax(0), lambda n: MATRIX[:n].max(0)),
    "prod": (lambda n: Tensor(MATRIX)[:n].prod(0), lambda n: MATRIX[:n].prod(0)),
    "argmax": (lambda n: Tensor(MATRIX)[:n].argmax(0), lambda n: MATRIX[:n].argmax(0)),
    "softmax": (
        lambda n: Tensor(MATRIX)[:n].softmax(0),
        lambda n: softmax(MATRIX[:n], 0),
    ),
    "value": (lambda n: Tensor(MATRIX) * n, lambda n: MATRIX * n),
    "last row": (lambda n: Tensor(MATRIX)[n - 1] * 2, lambda n: MATRIX[n - 1] * 2),
    "from a size on": (
        lambda n: Tensor(MATRIX)[n - 1 : n] + 1,
        lambda n: MATRIX[n - 1 : n] + 1,
    ),
    "contract": (
        lambda n: Tensor(MATRIX)[:n].T @ Tensor(MATRIX)[:n],
        lambda n: MATRIX[:n].T @ MATRIX[:n],
    ),
    "rows times matrix": (
        lambda n: Tensor(MATRIX)[:n] @ Tensor(MATRIX).T,
        lambda n: MATRIX[:n] @ MATRIX.T,
    ),
    "attention": (attention, attention_in_numpy),
    "running sum": (
        lambda n: Tensor.arange(MAXIMUM)[:n].float().cumsum(0),
        lambda n: np.arange(n, dtype=np.float32).cumsum(),
    ),
    "concatenate": (
        lambda n: tetragrad.cat([Tensor(MATRIX)[:n], Tensor(MATRIX)[:2]]) * 2,
        lambda n: np.concatenate([MATRIX[:n], MATRIX[:2]]) * 2,
    ),
    "assign": (write_last, write_last_in_numpy),
    "zeros": (lambda n: Tensor.zeros(n, 4) + 1, lambda n: np.ones((n, 4))),
    "reshape": (
        lambda n: Tensor(MATRIX)[:n].reshape(n * 8) * 2,
        lambda n: MATRIX[:n].reshape(-1) * 2,
    ),
    "inner factor": (
        lambda n: Tensor(HEADS)[:, :n].reshape(-1, 4) * 2,
        lambda n: HEADS[:, :n].reshape(-1, 4) * 2,
    ),
    "flip": (lambda n: Tensor(HEADS)[:, :n].flip(1), lambda n: HEADS[:, :n][:, ::-1]),
    "windows": (
        lambda n: Tensor(MATRIX)[: n + 3].unfold(0, 3, 1).sum(-1),
        lambda n: np.stack([MATRIX[: n + 3][i : i + 3].sum(0) for i in range(n + 1)]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_value_is_right_and_compiled_once(name: str) -> None:
    ours, theirs = CASES[name]
    compiled = []
    maximum = MAXIMUM - 3 if name == "windows" else MAXIMUM
    tokens = Symbol("tokens", maximum)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in VALUES:
            if value > maximum:
                continue
            got, want = ours(tokens.bind(value)), theirs(value)
            assert got.shape == want.shape
            np.testing.assert_allclose(got.numpy(), want, rtol=2e-5, atol=1e-5)
            compiled.append(set(realize._schedules))
    assert compiled[0] == compiled[-1]


def test_what_a_step_leaves_can_be_used_by_the_next() -> None:
    rows = (Tensor(HEADS)[:, : TOKENS.bind(6)] * 2).realize()
    np.testing.assert_allclose(rows.numpy(), HEADS[:, :6] * 2)
    np.testing.assert_allclose((rows + 1).sum(1).numpy(), (HEADS[:, :6] * 2 + 1).sum(1))


def test_gradients_of_symbolic_sizes() -> None:
    for value in (4, 9):
        x = Tensor(MATRIX, requires_grad=True)
        (x[: TOKENS.bind(value)] ** 2).sum().backward()
        want = np.where(np.arange(MAXIMUM)[:, None] < value, 2 * MATRIX, 0)
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_chains(data: st.DataObject) -> None:
    """Any sequence of steps on a value of symbolic size equals NumPy's."""
    value = data.draw(st.integers(1, MAXIMUM))
    ours, theirs = Tensor(HEADS)[:, : TOKENS.bind(value)], HEADS[:, :value]
    for _ in range(data.draw(st.integers(1, 4))):
        step = data.draw(st.sampled_from(sorted(STEPS)))
        ours, theirs = STEPS[step](ours), STEPS[step](theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some need the value, and say so.
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)


STEPS: dict[str, Callable] = {
    "double": lambda x: x * 2 + 1,
    "center": lambda x: x - x.mean(1).reshape(x.shape[0], 1, x.shape[2]),
    "swap": lambda x: x.swapaxes(0, 2),
    "halve": lambda x: x[:, :, : max(1, x.shape[2] // 2)],
    "flip": lambda x: x[:, :, -1:] + x,
    "join": lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2], 1),
}


def test_a_size_that_must_be_known_is_compiled_for_its_value() -> None:
    with pytest.warns(
        UserWarning, match=r"this value of a size only.*number of windows 2 apart"
    ):
        got = Tensor(HEADS)[:, : TOKENS.bind(5)].unfold(1, 3, 2).sum(-1).numpy()
    want = HEADS[:, 0:3].sum(1), HEADS[:, 2:5].sum(1)
    np.testing.assert_allclose(got, np.stack(want, 1), rtol=1e-5, atol=1e-6)


def test_sizes_are_ints_that_remember() -> None:
    n = TOKENS.bind(5)
    assert (n, 8) == (5, 8) and hash(n) == 5 and f"{n}" == "5"
    assert repr(2 * n - 1) == "2*tokens-1=9"
    assert isinstance((4 * n) // 2, Size) and type(n // 2) is int
    assert type(n - n) is int


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"tokens cannot be 17: .* from 1 to 16"):
        TOKENS.bind(17)
    with pytest.raises(ShapeError, match="give 1 <= minimum <= maximum"):
        Symbol("rows", maximum=3, minimum=4)


def test_graphs_with_sizes_are_read_back_from_text() -> None:
    node = (Tensor(MATRIX)[: TOKENS.bind(3)] * 2).sum(0).node
    names = names_of([node])
    assert parse_graph(graph_text([node], names), names) == [node]


def test_explain_shows_what_serves_all_values() -> None:
    text = str((Tensor(MATRIX)[: TOKENS.bind(3)] * 2).explain())
    assert f"{MAXIMUM}" in text


def test_factors_of_a_product_are_masked_before_they_are_repeated() -> None:
    # Else a factor that is stored is as large as all products, and so is its memory.
    n = TOKENS.bind(5)
    x = Tensor(MATRIX)[:n]
    weights_gradient = (x * 2 - x.mean(0)).relu().T @ x.exp()
    text = graph_text(general_form([weights_gradient.node]).nodes)
    masks = [line for line in text.splitlines() if " = Where " in line]
    assert masks
    assert not [line for line in masks if f"[8,8,{MAXIMUM}]" in line]
