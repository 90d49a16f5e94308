"""Division on vectors: exact for every operand, the near and the far."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor

INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32)
ROWS = 1031


def integers(dtype: type, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Dividends and divisors with every special case among them."""
    random = np.random.default_rng(5)
    info = np.iinfo(dtype)
    low, high = max(info.min, -largest), min(info.max, largest)
    lhs, rhs = random.integers(low, high, (2, ROWS), dtype, endpoint=True)
    rhs[:20], lhs[10:40], lhs[40:60] = 0, info.min, info.max
    rhs[20:30] = np.array(-1).astype(dtype)
    # Multiples, and what is just below them.
    factors = random.integers(1, 9, 200).astype(dtype)
    rhs[100:300] = factors
    lhs[100:300] = factors * np.arange(200, dtype=np.int64).astype(dtype)
    lhs[200:300] -= np.array(1).astype(dtype)
    return lhs, rhs


@pytest.mark.parametrize("largest", [100, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype: type, largest: int) -> None:
    lhs, rhs = integers(dtype, largest)
    safe = np.where(rhs == 0, 1, rhs).astype(dtype)
    with np.errstate(all="ignore"):
        quotients = np.where(rhs == 0, 0, lhs // safe).astype(dtype)
        remainders = np.where(rhs == 0, lhs, lhs % safe).astype(dtype)
    x, y = Tensor(lhs), Tensor(rhs)
    np.testing.assert_array_equal((x // y).numpy(), quotients)
    np.testing.assert_array_equal((x % y).numpy(), remainders)
    np.testing.assert_array_equal(x.gcd(y).numpy(), np.gcd(lhs, rhs))


def floats(dtype: type, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Dividends and divisors, of which the last are beside every special value."""
    random = np.random.default_rng(6)
    rhs = random.standard_normal(ROWS)
    lhs = random.standard_normal(ROWS) * scale
    lhs[:300] = rhs[:300] * random.integers(-5000, 5000, 300)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5.0, -5.0])
    pairs = np.stack(np.meshgrid(special, [*special, 3.0, -3.0]), -1).reshape(-1, 2)
    lhs[-len(pairs) :], rhs[-len(pairs) :] = pairs.T
    with np.errstate(over="ignore", under="ignore"):
        return lhs.astype(dtype), rhs.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float16, 1.0), (np.float16, 1e3)]
    + [
        (dtype, scale)
        for dtype in (np.float32, np.float64)
        for scale in (1.0, 1e4, 1e30, 1e-40)
    ],
)
def test_floats(dtype: type, scale: float) -> None:
    lhs, rhs = floats(dtype, scale)
    with np.errstate(all="ignore"):
        truncated = np.fmod(lhs.astype(np.float64), rhs.astype(np.float64))
    wanted = truncated.astype(dtype)
    found = Tensor(lhs).fmod(Tensor(rhs)).numpy()
    np.testing.assert_array_equal(found, wanted)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]))
    differs = (wanted != 0) & ((wanted < 0) != (rhs < 0))
    with np.errstate(all="ignore"):
        floored = np.where(differs, wanted + rhs, wanted)
    np.testing.assert_array_equal(Tensor(lhs).remainder(Tensor(rhs)).numpy(), floored)


def test_gradient_of_fmod_at_zero() -> None:
    x, y = Tensor([0.0, 7.0, -7.0]), Tensor([2.0, 2.0, 2.0])
    x.requires_grad_()
    y.requires_grad_()
    x.fmod(y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(y.grad.numpy(), [0.0, -3.0, 3.0])
