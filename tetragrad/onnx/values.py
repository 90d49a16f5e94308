"""What flows between the nodes of an ONNX graph, and how one kind becomes another.

A value is a tensor on a device, or it lives on the host: an array (of constants and
shapes, of strings, of element types that no device computes with), a list (a
sequence), a dict (a map), or None (an input that was left out, an empty optional).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import ml_dtypes
import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, FileFormatError
from tetragrad.tensor import Tensor

Value: TypeAlias = "Tensor | np.ndarray | list[Any] | dict[Any, Any] | None"

#: An array that the host knows; operators annotate with it what they must know.
Host: TypeAlias = np.ndarray

#: ONNX's numbers for element types.
ELEMENT_TYPES: Final[dict[int, np.dtype]] = {
    number: np.dtype(numpy_type)
    for number, numpy_type in {
        1: np.float32,
        2: np.uint8,
        3: np.int8,
        4: np.uint16,
        5: np.int16,
        6: np.int32,
        7: np.int64,
        8: object,
        9: np.bool_,
        10: np.float16,
        11: np.float64,
        12: np.uint32,
        13: np.uint64,
        14: np.complex64,
        15: np.complex128,
        16: ml_dtypes.bfloat16,
        17: ml_dtypes.float8_e4m3fn,
        18: ml_dtypes.float8_e4m3fnuz,
        19: ml_dtypes.float8_e5m2,
        20: ml_dtypes.float8_e5m2fnuz,
        21: ml_dtypes.uint4,
        22: ml_dtypes.int4,
        23: ml_dtypes.float4_e2m1fn,
        24: ml_dtypes.float8_e8m0fnu,
        25: ml_dtypes.uint2,
        26: ml_dtypes.int2,
    }.items()
}
ELEMENT_NUMBERS: Final = {dtype: number for number, dtype in ELEMENT_TYPES.items()}

STRING: Final = np.dtype(object)

#: Types to store, not to compute in: their arrays stay on the host until a cast.
STORED_ONLY: Final = frozenset(
    ELEMENT_TYPES[number] for number in (8, *range(17, 27))
) | {np.dtype(np.complex64), np.dtype(np.complex128)}

#: What a device computes with in place of integers of fewer than 8 bits.
CARRIERS: Final[dict[np.dtype, np.dtype]] = {
    np.dtype(ml_dtypes.uint4): np.dtype(np.uint8),
    np.dtype(ml_dtypes.int4): np.dtype(np.int8),
    np.dtype(ml_dtypes.uint2): np.dtype(np.uint8),
    np.dtype(ml_dtypes.int2): np.dtype(np.int8),
}


def element_type(number: int) -> np.dtype:
    """The NumPy dtype of one of ONNX's element types."""
    if number not in ELEMENT_TYPES:
        raise FileFormatError(f"there is no ONNX element type number {number}")
    return ELEMENT_TYPES[number]


def is_on_host(value: Value) -> bool:
    """Whether the host knows the value without asking a device."""
    return not isinstance(value, Tensor)


def to_tensor(value: Value) -> Tensor:
    """The value as a tensor; a single element becomes a constant of the graph."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    array = array.astype(CARRIERS.get(array.dtype, array.dtype))
    if array.dtype in STORED_ONLY:
        raise DTypeError(
            f"an array of {name_of(array.dtype)} where a device has to compute",
            hint="convert it first, in the model, with Cast or DequantizeLinear",
        )
    if array.size == 1:
        dtype = dtypes.from_numpy(array.dtype)
        element = float(array.item()) if dtype.is_floating_point else array.item()
        return Tensor.full(array.shape, element, dtype=dtype)
    return Tensor(array)


def to_host(value: Value) -> np.ndarray:
    """The value as an array that the host knows; reads what is on a device."""
    if isinstance(value, Tensor):
        return value.read()
    return np.asarray(value)


def dtype_of(value: Value) -> np.dtype:
    """The element type of a tensor or array, as a NumPy dtype."""
    if isinstance(value, Tensor):
        return value.dtype.numpy
    assert isinstance(value, np.ndarray)
    return value.dtype


def cast_tensor(value: Tensor, dtype: np.dtype) -> Tensor:
    """The tensor in the dtype that stands for a NumPy dtype."""
    return value.to(dtypes.from_numpy(dtype))


def name_of(dtype: np.dtype) -> str:
    """An element type's name, as a user writes it."""
    return "string" if dtype == STRING else dtype.name
