"""Replays that write a part of a buffer: the right part, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn, no_grad
from tetragrad.core.errors import IndexingError

ROWS, WIDTH = 32, 16


def number(value: int) -> Tensor:
    return Tensor(np.array(value, np.int64)).realize()


class Memory(nn.Module):
    """Keeps a row for each position, as attention keeps keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("keys", Tensor.zeros(2, ROWS, WIDTH))
        self.register_buffer("values", Tensor.zeros(2, ROWS, WIDTH))

    def forward(self, row: Tensor, position: Tensor) -> Tensor:
        self.keys[:, position] = row
        self.values[:, position] = row * 2
        total: Tensor = self.keys.sum((0, 1)) + self.values.sum((0, 1))
        return total


def is_narrow(memory: tetragrad.jit.JitFunction) -> bool:  # type: ignore[name-defined]
    (captured,) = memory.captures
    program = captured.program
    differs = program.narrow_launches != program.launches
    return bool(differs and program._in_place.is_everywhere)


@no_grad()
def test_rows_are_written_at_positions_of_the_day() -> None:
    memory = Memory()
    step = tetragrad.jit(memory)
    keys = np.zeros((2, ROWS, WIDTH), np.float32)
    generator = np.random.default_rng(0)
    for position in (0, 1, 2, 9, 31, -4, 2):
        row = generator.standard_normal((2, WIDTH)).astype(np.float32)
        total = step(Tensor(row), number(position))
        keys[:, position] = row
        np.testing.assert_array_equal(memory.keys.numpy(), keys)
        np.testing.assert_array_equal(memory.values.numpy(), keys * 2)
        np.testing.assert_allclose(total.numpy(), 3 * keys.sum((0, 1)), rtol=1e-5)
    assert is_narrow(step)


@no_grad()
def test_who_holds_the_old_value_keeps_it() -> None:
    memory = Memory()
    step = tetragrad.jit(memory)
    held, expected = [], []
    for position in range(8):
        step(Tensor(np.full((2, WIDTH), position + 1, np.float32)), number(position))
        if position % 3 == 2:
            held.append(memory.keys.clone())
            expected.append(memory.keys.numpy())
    for clone, values in zip(held, expected, strict=True):
        np.testing.assert_array_equal(clone.numpy(), values)
    wanted = np.repeat([*range(1, 9), *[0] * (ROWS - 8)], WIDTH).reshape(ROWS, WIDTH)
    np.testing.assert_array_equal(memory.keys.numpy()[1], wanted)


@no_grad()
def test_a_position_that_a_buffer_counts() -> None:
    class Counting(Memory):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("position", number(0))

        def forward(self, row: Tensor) -> Tensor:  # type: ignore[override]
            total = super().forward(row, self.position)
            self.position += 1
            return total

    memory = Counting()
    step = tetragrad.jit(memory)
    for position in range(6):
        step(Tensor(np.full((2, WIDTH), position + 1, np.float32)))
    assert memory.keys.numpy()[0, :8, 0].tolist() == [1, 2, 3, 4, 5, 6, 0, 0]
    assert memory.position.item() == 6


@no_grad()
def test_a_position_out_of_range_changes_nothing() -> None:
    memory = Memory()
    step = tetragrad.jit(memory)
    row = Tensor(np.ones((2, WIDTH), np.float32))
    for position in range(4):
        step(row, number(position))
    before = memory.keys.numpy()
    with pytest.raises(IndexingError, match="index 32 is out of range"):
        step(row, number(ROWS))
    np.testing.assert_array_equal(memory.keys.numpy(), before)
    step(row, number(4))
    assert memory.keys.numpy()[0, :6, 0].tolist() == [1, 1, 1, 1, 1, 0]


@no_grad()
@pytest.mark.parametrize("shape", [(), (1,)])
def test_an_index_that_is_an_argument_is_checked(shape: tuple[int, ...]) -> None:
    pick = tetragrad.jit(lambda x, index: x[index] * 2)
    x = Tensor([0.0, 1.0, 2.0])
    for value in (1, 2, -1):
        index = Tensor(np.full(shape, value, np.int64)).realize()
        assert pick(x, index).sum().item() == 2 * x.numpy()[value]
    with pytest.raises(IndexingError, match="index 3 is out of range"):
        pick(x, Tensor(np.full(shape, 3, np.int64)).realize())


@no_grad()
def test_a_set_in_a_module_is_no_change() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.names = {"scale", "shift"}
            self.scale = 3.0

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = x * getattr(self, "scale" if self.names else "")
            return result

    layer = Named()
    step = tetragrad.jit(layer)
    assert [step(Tensor([2.0])).item() for _ in range(3)] == [6.0] * 3
    assert len(step.captures) == 1
    layer.names.clear()
    with pytest.raises(AttributeError):
        step(Tensor([2.0]))


@no_grad()
def test_all_memories_of_a_model_are_written_in_place() -> None:
    """What words and positions are in range is known before, not after."""
    table = Tensor.rand(50, WIDTH).realize()
    first, second = Tensor.zeros(ROWS, WIDTH), Tensor.zeros(ROWS, WIDTH)

    @tetragrad.jit
    def step(word: Tensor, position: Tensor) -> Tensor:
        hidden = table[word]
        first[position] = hidden * 2
        hidden = hidden @ first.T @ first
        second[position] = hidden
        total: Tensor = hidden.sum(dim=0) + second.sum(dim=0)
        return total

    for position in range(5):
        place = Tensor(np.array([position, position + 9])).realize()
        step(place, place).realize()
    (captured,) = step.captures
    assert len(captured.program.replaced) == 2
