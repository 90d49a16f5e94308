"""Replays that write a tensor's next value where the last one lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tetragrad
from tetragrad import IndexingError, Tensor, nn, optim
from tetragrad.core.settings import settings
from tetragrad.engine import memory

SHAPES = [(30, 40), (7,), (300, 70)]

pytestmark = pytest.mark.skipif(
    settings().device not in ("cpu", "cuda"), reason="no program says what may be"
)


def model(seed: int = 0) -> list[nn.Parameter]:
    rng = np.random.default_rng(seed)
    parameters = [
        nn.Parameter(Tensor(rng.standard_normal(shape, np.float32))) for shape in SHAPES
    ]
    for parameter in parameters:
        parameter.grad = Tensor(rng.standard_normal(parameter.shape, np.float32))
    return parameters


def values(parameters: list[nn.Parameter]) -> list[np.ndarray]:
    return [entry.detach().numpy().copy() for entry in parameters]


def places(parameters: list[nn.Parameter]) -> list[int]:
    return [id(entry.storage.value) for entry in parameters]


def captured_steps(
    make: Callable[[list[nn.Parameter]], optim.Optimizer], count: int
) -> tuple[list[nn.Parameter], Callable[[], None]]:
    parameters = model()
    optimizer = make(parameters)
    step = tetragrad.jit(lambda: optimizer.step())
    for _ in range(count):
        step()
    return parameters, step


def plain_steps(
    make: Callable[[list[nn.Parameter]], optim.Optimizer], count: int
) -> list[nn.Parameter]:
    with tetragrad.core.settings.override(jit=False):
        return captured_steps(make, count)[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.RMSprop(p, lr=0.1, centered=True, momentum=0.5),
        lambda p: optim.LAMB(p, lr=0.1),
    ],
    ids=["sgd", "nesterov", "amsgrad", "adamw", "rmsprop", "lamb"],
)
def test_steps_give_the_same_values_as_uncaptured_ones(make: Callable) -> None:
    parameters, _ = captured_steps(make, 6)
    for got, wanted in zip(parameters, plain_steps(make, 6), strict=True):
        np.testing.assert_array_equal(got.detach().numpy(), wanted.detach().numpy())


def test_a_step_needs_no_second_buffer() -> None:
    parameters, step = captured_steps(lambda p: optim.AdamW(p, lr=0.1), 4)
    before, bytes_before = places(parameters), memory.allocated_bytes()
    for _ in range(3):
        step()
    assert places(parameters) == before
    assert memory.allocated_bytes() == bytes_before


@pytest.mark.parametrize(
    "keep",
    [
        lambda p: p.detach().clone(),
        lambda p: p.detach() * 1,
        lambda p: (p.detach() * 1).realize(),
        lambda p: np.asarray(p.detach()),
        lambda p: np.from_dlpack(p.detach().clone()),
    ],
    ids=["clone", "pending", "computed", "array", "dlpack"],
)
def test_what_somebody_holds_stays_as_it_was(keep: Callable) -> None:
    parameters, step = captured_steps(lambda p: optim.AdamW(p, lr=0.1), 4)
    wanted = values(parameters)
    held = [keep(entry) for entry in parameters]
    step()
    step()
    for entry, value, parameter in zip(held, wanted, parameters, strict=True):
        np.testing.assert_array_equal(np.asarray(entry), value)
        assert not np.array_equal(parameter.detach().numpy(), value)


def test_parameters_that_begin_as_one_buffer_part() -> None:
    first = Tensor(np.ones((4, 5), np.float32)).realize()
    parameters = [nn.Parameter(first.clone()), nn.Parameter(first.clone())]
    parameters[0].grad = Tensor(np.ones((4, 5), np.float32))
    parameters[1].grad = Tensor(np.full((4, 5), 2, np.float32))
    optimizer = optim.SGD(parameters, lr=0.25)
    step = tetragrad.jit(lambda: optimizer.step())
    for _ in range(4):
        step()
    np.testing.assert_array_equal(parameters[0].detach().numpy(), np.zeros((4, 5)))
    np.testing.assert_array_equal(parameters[1].detach().numpy(), -np.ones((4, 5)))
    np.testing.assert_array_equal(first.numpy(), np.ones((4, 5)))


def test_another_capture_that_reads_the_weights_sees_the_new_ones() -> None:
    parameters, step = captured_steps(lambda p: optim.SGD(p, lr=0.1), 4)
    total = tetragrad.jit(lambda: sum(entry.detach().sum() for entry in parameters))
    for _ in range(4):
        step()
        wanted = sum(entry.detach().numpy().sum() for entry in parameters)
        np.testing.assert_allclose(total().numpy(), wanted, rtol=1e-5)


def test_a_wrong_index_loses_nothing() -> None:
    table = nn.Embedding(5, 3)
    optimizer = optim.SGD(table.parameters(), lr=0.5)

    @tetragrad.jit
    def step(index: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = table(index).sum()
        loss.backward()
        optimizer.step()
        return loss

    good = Tensor(np.array([1, 2, 2]))
    for _ in range(4):
        step(good)
    before = table.weight.detach().numpy().copy()
    with pytest.raises(IndexingError):
        step(Tensor(np.array([1, 7, 2])))
    np.testing.assert_array_equal(table.weight.detach().numpy(), before)
    step(good)
    before[[1, 2]] -= np.array([[0.5], [1.0]], np.float32)
    np.testing.assert_allclose(table.weight.detach().numpy(), before, rtol=1e-6)


@pytest.mark.parametrize(
    "update",
    [
        lambda x: x.flip(0) + x,
        lambda x: x + x[:1],
        lambda x: x - x.sum(),
        lambda x: x.roll(1) * 2,
        lambda x: x.cumsum(0),
        lambda x: x @ x,
        lambda x: x.T + x,
        lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1),
        lambda x: x.sort(0).values,
        lambda x: tetragrad.where(x > 0, x * 0.5, x - 1),
    ],
)
def test_updates_that_read_other_elements(update: Callable) -> None:
    start = np.random.default_rng(3).standard_normal((37, 37), np.float32) / 8
    state, plain = Tensor(start), Tensor(start)

    @tetragrad.jit
    def step() -> None:
        state.copy_(update(state))

    for _ in range(5):
        step()
        plain = update(plain).realize()
    np.testing.assert_allclose(state.numpy(), plain.numpy(), rtol=1e-5, atol=1e-5)


def test_two_states_that_read_each_other() -> None:
    first, second = Tensor(np.arange(100.0)), Tensor(np.ones(100))

    @tetragrad.jit
    def step() -> None:
        old = first * 1
        first.copy_(first + second)
        second.copy_(old)

    a, b = np.arange(100.0), np.ones(100)
    for _ in range(7):
        step()
        a, b = a + b, a
    np.testing.assert_array_equal(first.numpy(), a)
    np.testing.assert_array_equal(second.numpy(), b)
