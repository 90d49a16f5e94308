"""Tensors where NumPy expects arrays: reading without a copy, functions, testing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import ExchangeError


def test_reading_shares_the_memory_and_may_not_write() -> None:
    value = Tensor([[1.0, 2.0], [3.0, 4.0]])
    array = np.asarray(value)
    assert not array.flags.writeable
    assert np.shares_memory(array, np.asarray(value))
    assert array.tolist() == [[1, 2], [3, 4]]


def test_what_was_read_stays_when_the_tensor_is_written_to() -> None:
    value = Tensor([1.0, 2.0])
    array = np.asarray(value)
    value.add_(1)
    value.realize()
    del value
    others = [Tensor([8.0, 9.0]).realize() for _ in range(8)]
    assert array.tolist() == [1, 2]
    del others


def test_copies_may_be_written() -> None:
    value = Tensor([1.0, 2.0])
    for array in (np.array(value), value.numpy(), value.__array__(copy=True)):
        array[0] = 9
    assert value.tolist() == [1, 2]


def test_conversion_on_the_way() -> None:
    value = Tensor([1.5, 2.5])
    assert np.asarray(value, np.int64).tolist() == [1, 2]
    assert value.__array__(np.float64).dtype == np.float64
    with pytest.raises(ExchangeError, match="without a copy"):
        value.__array__(np.float64, copy=False)


def test_views_and_dtypes() -> None:
    value = Tensor(np.arange(12.0).reshape(3, 4))
    for view in (value.T, value[1:, ::2], value.flip(1), value[0].expand(2, 4)):
        assert np.array_equal(np.asarray(view), view.numpy())
    narrow = Tensor([1.0, 2.0]).bfloat16()
    assert np.asarray(narrow).dtype == narrow.numpy().dtype
    turning = Tensor([1 + 2j, 3j])
    assert np.asarray(turning).tolist() == [1 + 2j, 3j]
    assert np.asarray(Tensor.zeros(0, 3)).shape == (0, 3)
    assert np.asarray(Tensor(5)).item() == 5


def test_a_gradient_is_not_lost() -> None:
    with pytest.raises(tetragrad.GradientError, match="detach"):
        np.asarray(Tensor([1.0], requires_grad=True))


def test_functions_of_numpy_give_arrays() -> None:
    value = Tensor([1.0, 2.0])
    assert np.add(value, 1).tolist() == [2, 3]
    assert np.sum(value) == 3
    assert np.mean(value, axis=0) == 1.5
    assert np.concatenate([value, [3]]).tolist() == [1, 2, 3]
    assert np.stack((value, value)).shape == (2, 2)
    assert np.where(value > 1, value, 0).tolist() == [0, 2]
    assert np.interp(x=value, xp=[0, 4], fp=Tensor([0.0, 8.0])).tolist() == [2, 4]


def test_operators_give_tensors() -> None:
    value, array = Tensor([1.0, 2.0]), np.ones(2, np.float32)
    for result in (value + array, array + value, array * value, array < value):
        assert isinstance(result, Tensor)


def test_numpy_testing() -> None:
    value = Tensor([1.0, 2.0])
    np.testing.assert_allclose(value, [1, 2])
    np.testing.assert_array_equal(value, Tensor([1.0, 2.0]))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        np.testing.assert_allclose(value, [1, 3])


def test_interface_of_arrays() -> None:
    described = Tensor([[1, 2, 3]]).__array_interface__
    assert (described["shape"], described["typestr"]) == ((1, 3), "<i8")


def test_buffer_protocol() -> None:
    value = Tensor([1.0, 2.0])
    view = value.__buffer__(0)
    assert (view.readonly, view.tolist()) == (True, [1, 2])
    if sys.version_info >= (3, 12):
        assert memoryview(value).tolist() == [1, 2]
