"""Graphs that differ in where slices begin, or in integers: compiled once for all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, optim
from tetragrad.core.settings import override
from tetragrad.engine import realize as engine
from tetragrad.engine import varying
from tetragrad.graph.movement import Reshape, Shrink
from tetragrad.nn import functional as F

DATA = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    # Earlier tests may have run graphs of the same outlines, or of other sizes, and
    # left work that the next graph would do.
    gc.collect()
    Tensor.zeros(1).add(1.0).realize()
    engine.forget_schedules()
    varying.forget()
    yield
    varying.forget()


def check_each(
    compute: Callable[[int], Tensor],
    expected: Callable[[int], np.ndarray],
    compiled: list[int],
    at_most: int = 2,
    values: range = range(3, 11),
) -> None:
    """Every value gives what is expected, and few of them are compiled."""
    for value in values:
        np.testing.assert_allclose(
            compute(value).numpy(), expected(value), rtol=1e-6, atol=1e-6
        )
    assert len(compiled) <= at_most


def test_slices_that_lie_together(compiled):
    data = tetragrad.tensor(DATA)
    check_each(
        lambda i: data[i : i + 7] * 2 + 1, lambda i: DATA[i : i + 7] * 2 + 1, compiled
    )


def test_slices_that_lie_apart(compiled):
    image = tetragrad.tensor(DATA.reshape(10, 30))
    check_each(
        lambda i: image[:, i : i + 4].sum(1),
        lambda i: DATA.reshape(10, 30)[:, i : i + 4].sum(1),
        compiled,
    )


def test_slices_of_what_is_moved(compiled):
    data = tetragrad.tensor(DATA)
    turned = np.flip(DATA.T, 0)
    check_each(
        lambda i: data.T.flip(0)[1, i : i + 9 : 2].exp(),
        lambda i: np.exp(turned[1, i : i + 9 : 2]),
        compiled,
    )


def test_a_slice_by_itself_is_a_copy(compiled):
    data = tetragrad.tensor(DATA.copy())
    rows = [data[i].clone().realize() for i in range(8)]
    data.zero_().realize()
    for row, expected in zip(rows, DATA, strict=False):
        np.testing.assert_array_equal(row.numpy(), expected)


def test_integers(compiled):
    counts = tetragrad.tensor(np.arange(12))
    check_each(
        lambda t: counts * t + (counts > t) + counts.remainder(t),
        lambda t: np.arange(12) * t + (np.arange(12) > t) + np.arange(12) % t,
        compiled,
    )


def test_a_full_tensor_of_integers_as_an_index(compiled):
    table = tetragrad.tensor(DATA)
    check_each(
        lambda t: table[Tensor.full((4,), t, dtype=tetragrad.int64)].cos(),
        lambda t: np.cos(DATA[[t] * 4]),
        compiled,
    )


def test_an_index_that_somebody_holds(compiled):
    table = tetragrad.tensor(DATA)
    kept = [Tensor.full((4,), t, dtype=tetragrad.int64) for t in (5, 7)]
    kept[1].realize()
    compiled.clear()
    check_each(
        lambda t: table[Tensor.full((4,), t, dtype=tetragrad.int64)].sin(),
        lambda t: np.sin(DATA[[t] * 4]),
        compiled,
    )
    assert kept[0].tolist() == [5] * 4


def test_rows_and_elements_that_are_written(compiled):
    rows, expected = tetragrad.zeros(12, 6), np.zeros((12, 6), np.float32)
    for i in range(10):
        rows[i] = tetragrad.tensor(DATA[i])
        rows.realize()
        rows[i + 1, 2:5] = 7.0
        expected[i], expected[i + 1, 2:5] = DATA[i], 7.0
        np.testing.assert_array_equal(rows.numpy(), expected)
    assert len(compiled) <= 6


def test_integers_that_are_written_one_after_the_other(compiled):
    found = tetragrad.zeros(20, dtype=tetragrad.int64)
    found[1] = 1
    for i in range(2, 20):
        found[i] = found[i - 1] + found[i - 2]
        if i % 3 == 0:
            found.sum().item()
    assert found.tolist()[-3:] == [1597, 2584, 4181]


def test_gradients_of_rows(compiled):
    weight = tetragrad.tensor(DATA, requires_grad=True)
    for i in range(8):
        weight.grad = None
        weight[i].square().sum().backward()
        expected = np.zeros_like(DATA)
        expected[i] = 2 * DATA[i]
        np.testing.assert_array_equal(weight.grad.numpy(), expected)
    assert len(compiled) <= 3


def test_what_is_padded_with_keeps_its_integer(compiled):
    counts = tetragrad.tensor(np.arange(5))
    check_each(
        lambda t: F.pad(counts, (1, 2), value=t) + t,
        lambda t: np.pad(np.arange(5), (1, 2), constant_values=t) + t,
        compiled,
        at_most=8,
    )


def test_an_index_out_of_range_is_still_an_error():
    table = tetragrad.tensor(DATA)
    for t in (3, 4, 5):
        table[Tensor.full((2,), t, dtype=tetragrad.int64)].numpy()
    with pytest.raises(IndexError, match="50"):
        table[Tensor.full((2,), 50, dtype=tetragrad.int64)].numpy()


def test_only_what_differs_becomes_an_argument(compiled):
    data = tetragrad.tensor(DATA)
    fixed = lambda i: (data[:3] * data[i : i + 3] + 4).sum()  # noqa: E731
    check_each(fixed, lambda i: (DATA[:3] * DATA[i : i + 3] + 4).sum(), compiled)
    (outline,) = varying.outlines()
    assert len(outline.differing) == 1


def test_a_training_step_over_slices(compiled):
    def losses(fused: bool) -> list[float]:
        data = tetragrad.tensor(DATA)
        model = nn.Linear(5, 1)
        with tetragrad.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.25)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        found = []
        for start in range(0, 40, 5):
            rows = (
                data[start : start + 5]
                if fused
                else tetragrad.tensor(DATA[start : start + 5])
            )
            loss = F.mse_loss(model(rows[:, :5]), rows[:, 5:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    apart = losses(False)
    del compiled[:]
    np.testing.assert_allclose(losses(True), apart, rtol=1e-6)
    assert len(compiled) <= 4


def test_values_that_are_held_are_kept(compiled):
    data = tetragrad.tensor(DATA)
    for start in range(6):
        part = data[start : start + 3]
        squares = part * part
        total = squares.sum()
        total.item()
        expected = DATA[start : start + 3] ** 2
        np.testing.assert_allclose(squares.numpy(), expected, rtol=1e-6)


def test_on_the_reference_device():
    with override(device="reference"):
        data = tetragrad.tensor(DATA)
        for start in range(4):
            got = (data[start : start + 2] + start).numpy()
            np.testing.assert_allclose(got, DATA[start : start + 2] + start, rtol=1e-6)


def test_where_a_slice_begins_in_memory():
    whole = tetragrad.tensor(DATA.reshape(5, 10, 6)).storage.value
    together = Shrink(Reshape(whole, (50, 6)), ((7, 9), (0, 6)))
    assert varying._where(together) == (whole, 42)
    row = Shrink(whole, ((3, 4), (2, 3), (1, 5)))
    assert varying._where(row) == (whole, 3 * 60 + 2 * 6 + 1)
    assert varying._where(Shrink(whole, ((0, 5), (2, 3), (0, 6)))) is None
    assert varying._where(Shrink(whole, ((1, 2), (0, 10), (0, 5)))) is None


def test_where_the_host_sees_no_memory(compiled, monkeypatch):
    device = engine.device("cpu")
    monkeypatch.setattr(type(device), "has_host_memory", False)
    data = tetragrad.tensor(DATA)
    check_each(lambda i: data[i : i + 7] + i, lambda i: DATA[i : i + 7] + i, compiled)
    del compiled[:]
    # What lies apart is read at positions: the host cannot copy it.
    check_each(
        lambda i: data[:, i : i + 2].sin(),
        lambda i: np.sin(DATA[:, i : i + 2]),
        compiled,
        values=range(1, 5),
    )


def written(
    array: np.ndarray | Tensor, first: int, count: int, value: object
) -> object:
    """A copy with some rows replaced, and an element of one of them increased."""
    array = array.copy() if isinstance(array, np.ndarray) else array.clone()
    array[first : first + count] = value
    array[first + 1, 2] += 1
    return array


def test_rows_that_are_written_at_another_place(compiled):
    data, rows = tetragrad.tensor(DATA), np.full((3, 6), -0.5, np.float32)
    check_each(
        lambda i: written(data, i, 3, tetragrad.tensor(rows)),
        lambda i: written(DATA, i, 3, rows),
        compiled,
        at_most=3,
    )


def test_other_numbers_of_rows_that_are_set_to_a_number(compiled):
    data, base = tetragrad.tensor(DATA).long(), DATA.astype(np.int64)
    check_each(
        lambda i: written(data, 2, i, i),
        lambda i: written(base, 2, i, i),
        compiled,
        at_most=3,
    )


def test_slices_of_what_is_still_to_be_computed(compiled):
    data = tetragrad.tensor(DATA)
    check_each(
        lambda i: (data.exp() + data[0])[i : i + 4, 1:3],
        lambda i: (np.exp(DATA) + DATA[0])[i : i + 4, 1:3],
        compiled,
    )


def test_scores_of_ever_more_keys(compiled):
    """Scores beyond the last key are not stored: two such stores share an address."""
    random = np.random.default_rng(0)
    cache, keys = tetragrad.zeros(2, 32, 2, 8), np.zeros((2, 8, 2, 8), np.float32)
    for place in range(1, 8):
        keys[:, place] = random.standard_normal((2, 2, 8))
        cache[:, place : place + 1] = tetragrad.tensor(keys[:, place : place + 1])
        known = cache[:, : place + 1, :, None].expand(2, place + 1, 2, 2, 8)
        known = known.reshape(2, place + 1, 4, 8).transpose(1, 2)
        query = random.standard_normal((2, 4, 1, 8)).astype(np.float32)
        scores = tetragrad.tensor(query) @ known.transpose(2, 3) / 2.83
        repeated = keys[:, : place + 1].repeat(2, axis=2)
        expected = query @ repeated.transpose(0, 2, 3, 1) / 2.83
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-6)
