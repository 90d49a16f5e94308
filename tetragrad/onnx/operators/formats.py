"""Casts on the host: to and from strings, and types of 8 bits and fewer."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tetragrad.core import dtypes
from tetragrad.graph.elementwise import cast_array as cast_numbers
from tetragrad.onnx.values import STORED_ONLY, STRING, Host

_FLOAT8 = frozenset(
    map(
        np.dtype,
        (
            ml_dtypes.float8_e4m3fn,
            ml_dtypes.float8_e4m3fnuz,
            ml_dtypes.float8_e5m2,
            ml_dtypes.float8_e5m2fnuz,
        ),
    )
)
_FLOAT4 = np.dtype(ml_dtypes.float4_e2m1fn)
_EXPONENT = np.dtype(ml_dtypes.float8_e8m0fnu)
#: Integers of fewer than 8 bits, and how many bits they have.
_NARROW = {
    np.dtype(ml_dtypes.uint4): 4,
    np.dtype(ml_dtypes.int4): 4,
    np.dtype(ml_dtypes.uint2): 2,
    np.dtype(ml_dtypes.int2): 2,
}


def cast_array(
    array: Host, dtype: np.dtype, saturate: bool = True, round_mode: str = "up"
) -> Host:
    """The array in another type, by ONNX's rules."""
    if array.dtype == dtype:
        return array
    if dtype == STRING:
        return _to_strings(array)
    if array.dtype == STRING:
        numbers = _from_strings(array)
        return cast_array(numbers, dtype, saturate, round_mode)
    if dtype in _FLOAT8:
        return _to_float8(array, dtype, saturate)
    if dtype == _EXPONENT:
        return _to_exponent(array.astype(np.float32), saturate, round_mode)
    if dtype in _NARROW:
        return _to_narrow(array, dtype)
    if dtype == _FLOAT4:
        return np.asarray(array.astype(np.float32).astype(dtype))
    if array.dtype in STORED_ONLY:
        return array.astype(np.float32).astype(dtype)
    return np.asarray(cast_numbers(array, dtypes.from_numpy(dtype)))


def _to_strings(array: Host) -> Host:
    """The shortest text that reads as the same number."""
    result = np.empty(array.shape, object)
    for place, entry in np.ndenumerate(array):
        result[place] = _text(entry)
    return result


def _text(entry: Any) -> str:
    if isinstance(entry, bool | np.bool_):
        return "1" if entry else "0"
    if isinstance(entry, np.floating) or type(entry).__module__ == "ml_dtypes":
        text = np.format_float_positional(np.float32(entry), trim="0", unique=True)
        text = str(entry) if isinstance(entry, np.floating) else text
        return {"nan": "NaN", "inf": "INF", "-inf": "-INF"}.get(text, text)
    return str(entry)


def _from_strings(array: Host) -> Host:
    result = np.empty(array.shape, np.float64)
    for place, entry in np.ndenumerate(array):
        result[place] = float(entry)
    return result


def _to_float8(array: Host, dtype: np.dtype, saturate: bool) -> Host:
    """Too large values become the largest, or what the format has for them."""
    numbers = array.astype(np.float32)
    if not saturate:
        with np.errstate(over="ignore", invalid="ignore"):
            return numbers.astype(dtype)
    limits: Any = ml_dtypes.finfo
    largest = float(limits(dtype).max)
    return np.asarray(np.clip(numbers, -largest, largest).astype(dtype))


def _to_exponent(numbers: Host, saturate: bool, round_mode: str) -> Host:
    """A power of two: the next one up, down, or the nearer one."""
    bits = numbers.view(np.uint32)
    exponent = ((bits >> 23) & 0xFF).astype(np.int64)
    mantissa = bits & 0x7FFFFF
    if round_mode == "up":
        exponent = exponent + (mantissa > 0)
    elif round_mode == "nearest":
        exponent = exponent + (mantissa >= 0x400000)
    is_special = ~np.isfinite(numbers)
    exponent = np.clip(exponent, 0, 254 if saturate else 255)
    exponent = np.where(is_special, 254 if saturate else 255, exponent)
    exponent = np.where(np.isnan(numbers), 255, exponent)
    return np.asarray(exponent.astype(np.uint8).view(_EXPONENT))


def _to_narrow(array: Host, dtype: np.dtype) -> Host:
    """Integers of few bits keep the lowest ones."""
    bits = _NARROW[dtype]
    whole = array.astype(np.float64) if array.dtype in STORED_ONLY else array
    if whole.dtype.kind not in "iub":
        whole = np.trunc(whole.astype(np.float64)).astype(np.int64)
    low = whole.astype(np.int64) & ((1 << bits) - 1)
    limits: Any = ml_dtypes.iinfo
    if limits(dtype).min < 0:
        low = np.where(low >= 1 << (bits - 1), low - (1 << bits), low)
    return np.asarray(low.astype(np.int8).astype(dtype))
