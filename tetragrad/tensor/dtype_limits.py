"""What dtypes hold, and how they combine: finfo, iinfo, can_cast, promote_types."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tetragrad.core.dtypes import (
    DType,
    Kind,
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    part_dtype,
    to_dtype,
)
from tetragrad.core.errors import DTypeError
from tetragrad.core.frozen import frozen
from tetragrad.tensor.promotion import PYTHON_DTYPES, common_dtype, default_float


@frozen(slots=True)
class FloatLimits:
    """What ``finfo`` says of a floating-point dtype."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType

    @property
    def tiny(self) -> float:
        """The smallest normal number: its older name."""
        return self.smallest_normal


@frozen(slots=True)
class IntegerLimits:
    """What ``iinfo`` says of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: Any = None) -> FloatLimits:
    """The limits of a floating-point dtype; of a complex one, those of its parts.

    >>> tetragrad.finfo(tetragrad.float32).eps
    1.1920928955078125e-07

    Raises:
        DTypeError: another dtype.
    """
    dtype = default_float() if type is None else to_dtype(type)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise DTypeError(f"finfo() of {dtype}", hint="use iinfo() for integers")
    part = part_dtype(dtype)
    limits = ml_dtypes.finfo(part.numpy)  # type: ignore[no-untyped-call]
    return FloatLimits(
        bits=part.bits,
        eps=float(limits.eps),
        max=float(limits.max),
        min=float(limits.min),
        smallest_normal=float(limits.smallest_normal),
        dtype=part,
    )


def iinfo(type: Any) -> IntegerLimits:
    """The limits of an integer dtype.

    >>> tetragrad.iinfo(tetragrad.uint8).max
    255

    Raises:
        DTypeError: another dtype.
    """
    dtype = to_dtype(type)
    if not dtype.is_integer:
        raise DTypeError(f"iinfo() of {dtype}", hint="use finfo() for floats")
    limits = np.iinfo(dtype.numpy)
    return IntegerLimits(dtype.bits, int(limits.max), int(limits.min), dtype)


def promote_types(type1: Any, type2: Any) -> DType:
    """The dtype that an operation on tensors of these two dtypes gives.

    >>> tetragrad.promote_types(tetragrad.int32, tetragrad.float16)
    float16
    """
    return common_dtype(*(_example(to_dtype(entry)) for entry in (type1, type2)))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether an operation in place may write one dtype to the other.

    Complex numbers do not become real, nor floats integers, nor numbers bools; what
    is rounded, or does not fit, is no reason.

    >>> tetragrad.can_cast(tetragrad.float64, tetragrad.float32)
    True
    >>> tetragrad.can_cast(tetragrad.float32, tetragrad.int64)
    False
    """
    return _rank(to_dtype(from_)) <= _rank(to_dtype(to))


def _rank(dtype: DType) -> int:
    """bool, integers, floats, complex numbers: their order."""
    order = (Kind.BOOL, Kind.SIGNED, Kind.FLOAT, Kind.COMPLEX)
    return 1 if dtype.is_integer else order.index(dtype.kind)


def _example(dtype: DType) -> Any:
    from tetragrad.tensor.tensor import Tensor

    return Tensor.zeros(1, dtype=dtype)


def get_default_dtype() -> DType:
    """The dtype of tensors that are made of Python floats: float32 unless changed.

    >>> tetragrad.get_default_dtype()
    float32
    """
    return default_float()


def set_default_dtype(d: Any) -> None:
    """From now on Python floats become this dtype, in the whole process.

    Complex numbers get parts of that width, or of 32 bits if it is less. What exists
    already stays as it is.

    Args:
        d: float16, bfloat16, float32 or float64.

    Raises:
        DTypeError: another dtype.

    >>> tetragrad.set_default_dtype(tetragrad.float64)
    >>> Tensor([1.5]).dtype
    float64
    >>> tetragrad.set_default_dtype(tetragrad.float32)
    """
    dtype = to_dtype(d)
    if dtype not in (float16, bfloat16, float32, float64):
        raise DTypeError(
            f"set_default_dtype() of {dtype}, which is not a float to compute with",
            hint="use float16, bfloat16, float32 or float64",
        )
    PYTHON_DTYPES[float] = dtype
    PYTHON_DTYPES[complex] = complex128 if dtype is float64 else complex64
