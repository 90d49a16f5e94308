"""A replay reads the same part of another buffer that the capture read."""

from __future__ import annotations

import numpy as np

import tetragrad
from tetragrad import Tensor


def _numbers(start: int) -> np.ndarray:
    return np.arange(start, start + 128, dtype=np.float32).reshape(2, 64)


def test_the_second_row_of_an_argument() -> None:
    """Its offset is a multiple of a cache line, and so part of the address."""
    step = tetragrad.jit(lambda x, other: x[1] + other)
    other = Tensor.ones(64).realize()
    for start in (0, 1000, 5, 7):
        result = step(Tensor(_numbers(start)), other)
        np.testing.assert_array_equal(result.numpy(), _numbers(start)[1] + 1)


def test_both_rows_in_one_kernel() -> None:
    step = tetragrad.jit(lambda x: x[0] * 2 + x[1])
    for start in (0, 1000, 5):
        expected = _numbers(start)[0] * 2 + _numbers(start)[1]
        result = step(Tensor(_numbers(start)))
        np.testing.assert_array_equal(result.numpy(), expected)


def test_a_state_that_is_fed_back() -> None:
    step = tetragrad.jit(lambda state: tetragrad.stack([state[1], state[0] + 1]))
    state = Tensor(_numbers(0))
    expected = _numbers(0)
    for _ in range(5):
        state = step(state)
        expected = np.stack([expected[1], expected[0] + 1])
        np.testing.assert_array_equal(state.numpy(), expected)


def test_a_weight_that_is_replaced() -> None:
    weight = Tensor(_numbers(0))
    step = tetragrad.jit(lambda x: weight[1] + x)
    for start in (0, 50, 90):
        with tetragrad.no_grad():
            weight.copy_(Tensor(_numbers(start)))
        result = step(Tensor.zeros(64))
        np.testing.assert_array_equal(result.numpy(), _numbers(start)[1])
