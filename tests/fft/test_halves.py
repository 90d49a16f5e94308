"""Real transforms by halves, against NumPy in double precision."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

SIZES = (66, 130, 131, 254, 1000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["rfft", "ihfft"])
def test_of_real(name: str, size: int) -> None:
    x = np.random.default_rng(size).standard_normal((2, size))
    found = getattr(tetragrad.fft, name)(Tensor(x)).numpy()
    np.testing.assert_allclose(found, getattr(np.fft, name)(x), atol=1e-11)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["irfft", "hfft"])
def test_to_real(name: str, size: int) -> None:
    """The imaginary parts of the ends, which are given here, do not count."""
    random = np.random.default_rng(size)
    parts = random.standard_normal((2, 2, size // 2 + 1))
    half = parts[0] + 1j * parts[1]
    found = getattr(tetragrad.fft, name)(Tensor(half), size).numpy()
    np.testing.assert_allclose(found, getattr(np.fft, name)(half, size), atol=1e-10)


def test_sums_and_conjugates_of_complex_numbers() -> None:
    random = np.random.default_rng(1)
    x, y = random.standard_normal((2, 3, 4)) + 1j * random.standard_normal((2, 3, 4))
    a, b = Tensor(x), Tensor(y)
    np.testing.assert_array_equal((a + b).numpy(), x + y)
    np.testing.assert_array_equal((a - b).conj().numpy(), (x - y).conj())
    np.testing.assert_array_equal((a + 1j).conj().numpy(), (x + 1j).conj())
