"""The array object: a handle on a tensor, strict about dtypes, shared with tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor, xp
from tetragrad.core.errors import TetragradError
from tetragrad.core.settings import override

STRICT: tuple[Callable[[], Any], ...] = (
    lambda: xp.asarray([1]) + xp.asarray([1.0]),
    lambda: xp.asarray([1]) + 1.5,
    lambda: xp.asarray([True]) + xp.asarray([True]),
    lambda: xp.asarray([1], dtype=xp.uint64) + xp.asarray([1]),
    lambda: xp.asarray([1], dtype=xp.uint8) + 256,
    lambda: xp.asarray([1]) / 2,
    lambda: xp.sin(xp.asarray([1])),
    lambda: xp.asarray([1j]) < 1,
    lambda: xp.asarray([1.0]) & True,
    lambda: xp.mean(xp.asarray([1])),
    lambda: xp.asarray([1.0, 2.0]).__bool__(),
    lambda: xp.astype(xp.asarray([1j]), xp.float32),
    lambda: xp.add(1, 2),
    lambda: xp.sum([1, 2]),
    lambda: xp.where(xp.asarray([1]), 1, 2),
    lambda: float(xp.asarray(1j)),
    lambda: xp.take(xp.asarray([1]), xp.asarray([0.0])),
    lambda: xp.concat([xp.asarray([1]), xp.asarray([1.0])]),
)


@pytest.mark.parametrize("program", STRICT)
def test_kinds_do_not_mix(program: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        program()


def test_numbers_take_the_dtype_of_the_array() -> None:
    assert (xp.asarray([1], dtype=xp.int8) + 1).dtype is xp.int8
    assert (2 * xp.asarray([1.0], dtype=xp.float64)).dtype is xp.float64
    assert (xp.asarray([1.0], dtype=xp.float64) * 1j).dtype is xp.complex128
    assert (xp.asarray([1.0]) + xp.asarray(1j)).dtype is xp.complex64


def test_elements_are_shared_with_the_tensor() -> None:
    tensor = Tensor([1.0, 2.0])
    array = xp.asarray(tensor)
    array[0] = 5.0
    array *= 2
    assert tensor.tolist() == [10, 4]
    tensor.add_(1)
    assert array.to_tensor().tolist() == [11, 5]
    assert xp.asarray(tensor, copy=True).to_tensor().storage is not tensor.storage


def test_copy_false_shares_or_raises() -> None:
    memory = np.zeros(2)
    array = xp.asarray(memory, copy=False)
    memory[1] = 3
    assert array.to_tensor().tolist() == [0, 3]
    with pytest.raises(ValueError, match="nothing to share"):
        xp.asarray([1, 2], copy=False)


def test_views_write_through() -> None:
    array = xp.zeros((2, 3))
    array[:, 1] = 1.0
    row = array[0, ...]
    row += 1.0
    assert array.to_tensor().tolist() == [[1, 2, 1], [0, 1, 0]]


def test_namespace_by_version() -> None:
    array = xp.asarray(1)
    assert array.__array_namespace__(api_version="2024.12") is xp
    assert xp.__array_api_version__ == "2025.12"
    with pytest.raises(TetragradError, match="use one of"):
        array.__array_namespace__(api_version="2020.01")


def test_numbers_from_arrays_without_axes() -> None:
    assert int(xp.asarray(3)) == 3
    assert complex(xp.asarray(1 + 2j)) == 1 + 2j
    assert [10, 20][xp.asarray(1)] == 20
    assert bool(xp.asarray(0.0)) is False


def test_other_libraries_read_arrays() -> None:
    array = xp.asarray([[1, 2], [3, 4]])
    assert np.asarray(array).tolist() == [[1, 2], [3, 4]]
    assert np.from_dlpack(array).tolist() == [[1, 2], [3, 4]]
    assert xp.from_dlpack(np.asarray([1.5])).dtype is xp.float64


def test_empty_and_single() -> None:
    empty = xp.zeros((0, 3))
    assert xp.sum(empty, axis=0).to_tensor().tolist() == [0, 0, 0]
    assert bool(xp.all(empty))
    assert not bool(xp.any(empty))
    assert xp.concat([empty, xp.ones((1, 3))]).shape == (1, 3)
    assert xp.prod(xp.zeros((0,), dtype=xp.complex64)).to_tensor().item() == 1
    assert xp.expand_dims(xp.asarray(1), axis=0).shape == (1,)


def test_the_standards_special_cases() -> None:
    infinite, one, zero = xp.asarray(float("inf")), xp.asarray(1.0), xp.asarray(0.0)
    assert float(xp.floor_divide(infinite, one)) == float("inf")
    assert str(float(xp.floor_divide(one, -infinite))) == "-0.0"
    assert str(float(xp.remainder(zero, -one))) == "-0.0"
    assert np.isnan(float(xp.sign(xp.asarray(float("nan")))))


def test_compiled_kernels_compute_complex_numbers() -> None:
    """The other tests of complex tensors run on the reference; this one compiles."""
    with override(device="cpu"):
        assert xp.tile(xp.asarray([[1j, 2.0]]), (0, 1)).to_tensor().tolist() == []
        array = xp.asarray([1 + 2j, 3 - 1j, -0.5j])
        expected = np.asarray([1 + 2j, 3 - 1j, -0.5j], np.complex64)
        found = xp.exp(array) * xp.conj(array) / (array + 2)
        wanted = np.exp(expected) * expected.conj() / (expected + 2)
        np.testing.assert_allclose(np.asarray(found), wanted, 1e-5)
        np.testing.assert_allclose(
            np.asarray(xp.vecdot(array, array)), np.vdot(expected, expected), 1e-6
        )
