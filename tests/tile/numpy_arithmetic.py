"""The operations that elementary functions are built from, on NumPy arrays."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tetragrad.core.dtypes import DType, bool_, from_numpy

# The upper 26 bits of a double's significand, for splitting it without overflow.
_UPPER_HALF = np.uint64(0xFFFFFFFFF8000000)


class NumpyArithmetic:
    """Every operation on whole arrays; counts what it was asked to do."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def dtype(self, value: np.ndarray) -> DType:
        return from_numpy(value.dtype)

    def constant(self, value: float, dtype: DType) -> np.ndarray:
        if not dtype.is_floating_point:
            value = int(value)
        return np.array(value, dtype.numpy)

    def _count(self, name: str, result: np.ndarray) -> np.ndarray:
        self.counts[name] += 1
        return result

    def add(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("add", lhs + rhs)

    def sub(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("sub", lhs - rhs)

    def mul(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("mul", lhs * rhs)

    def div(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("div", lhs / rhs)

    def fma(self, lhs: np.ndarray, rhs: np.ndarray, addend: np.ndarray) -> np.ndarray:
        fused = _fma_single if lhs.dtype == np.float32 else _fma_double
        return self._count("fma", fused(lhs, rhs, addend))

    def neg(self, value: np.ndarray) -> np.ndarray:
        return self._count("neg", -value)

    def floor(self, value: np.ndarray) -> np.ndarray:
        return self._count("floor", np.floor(value))

    def trunc(self, value: np.ndarray) -> np.ndarray:
        return self._count("trunc", np.trunc(value))

    def sqrt(self, value: np.ndarray) -> np.ndarray:
        return self._count("sqrt", np.sqrt(value))

    def max(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("max", np.maximum(lhs, rhs))

    def lt(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("lt", lhs < rhs)

    def eq(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("eq", lhs == rhs)

    def where(
        self, condition: np.ndarray, chosen: np.ndarray, otherwise: np.ndarray
    ) -> np.ndarray:
        assert self.dtype(condition) is bool_
        assert chosen.dtype == otherwise.dtype
        return self._count("where", np.where(condition, chosen, otherwise))

    def and_(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("and", lhs & rhs)

    def or_(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("or", lhs | rhs)

    def xor(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("xor", lhs ^ rhs)

    def shl(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("shl", np.left_shift(lhs, rhs))

    def shr(self, lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        return self._count("shr", np.right_shift(lhs, rhs))

    def cast(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        if value.dtype.kind == "f" and not dtype.is_floating_point:
            return self._count("cast", _saturate(value, dtype))
        return self._count("cast", value.astype(dtype.numpy))

    def bitcast(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        return np.ascontiguousarray(value).view(dtype.numpy).reshape(value.shape)


def _saturate(value: np.ndarray, dtype: DType) -> np.ndarray:
    limits = np.iinfo(dtype.numpy)
    inside = (value >= float(limits.min)) & (value < float(limits.max))
    result = np.where(inside, value, 0).astype(dtype.numpy)
    result = np.where(value < float(limits.min), limits.min, result)
    return np.where(value >= float(limits.max), limits.max, result)


def _fma_single(lhs: np.ndarray, rhs: np.ndarray, addend: np.ndarray) -> np.ndarray:
    """The product is exact in float64; the sum is rounded to odd, then once more."""
    product = lhs.astype(np.float64) * rhs.astype(np.float64)
    addend = addend.astype(np.float64)
    return _round_to_odd(product, addend).astype(np.float32)


def _fma_double(lhs: np.ndarray, rhs: np.ndarray, addend: np.ndarray) -> np.ndarray:
    """Correct to half an ULP and a little: three-term sum, the last two rounded."""
    product = lhs * rhs
    lhs_high, rhs_high = _upper_half(lhs), _upper_half(rhs)
    lhs_low, rhs_low = lhs - lhs_high, rhs - rhs_high
    lost = lhs_high * rhs_high - product
    lost = (lost + lhs_high * rhs_low + lhs_low * rhs_high) + lhs_low * rhs_low
    total, remainder = _two_sum(product, addend)
    exact = np.isfinite(product) & np.isfinite(total) & np.isfinite(lost)
    return np.where(exact, total + (remainder + lost), product + addend)


def _upper_half(value: np.ndarray) -> np.ndarray:
    return (np.asarray(value).view(np.uint64) & _UPPER_HALF).view(np.float64)


def _two_sum(lhs: np.ndarray, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = lhs + rhs
    part = total - lhs
    return total, (lhs - (total - part)) + (rhs - part)


def _round_to_odd(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """lhs + rhs in float64 with an odd last bit if inexact, so that rounding again
    to float32 gives what one rounding would (Boldo and Melquiond 2008)."""
    total, lost = _two_sum(lhs, rhs)
    inexact = np.isfinite(total) & np.isfinite(lost) & (lost != 0)
    bits = np.asarray(total).view(np.int64)
    is_even = (bits & 1) == 0
    # Away from zero if the exact sum is larger in magnitude, towards it otherwise.
    step = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where(inexact & is_even, bits + step, bits).view(np.float64)
