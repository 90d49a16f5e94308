"""Dtypes, what they hold, and how arrays get from one to another.

Source: "Data type functions" of the Python array API standard 2025.12.
"""

from __future__ import annotations

from tetragrad.core.dtypes import DType, Kind
from tetragrad.core.errors import DTypeError
from tetragrad.tensor import dtype_limits
from tetragrad.tensor.dtype_limits import FloatLimits, IntegerLimits
from tetragrad.xp.array import Array
from tetragrad.xp.base import Scalar, tensor_of, wrap
from tetragrad.xp.kinds import INTEGERS, common_dtype


def _dtype_of(value: DType | Array) -> DType:
    return value if isinstance(value, DType) else tensor_of(value, "dtype").dtype


def astype(
    x: Array, dtype: DType, /, *, copy: bool = True, device: str | None = None
) -> Array:
    """The array in another dtype (and on another device).

    Floats are cut off to integers; anything but zero is true. With ``copy=False``
    an array that fits already is returned as it is.

    >>> xp.astype(xp.asarray([1.7]), xp.int64)
    Array([1])

    Raises:
        DTypeError: complex numbers to real ones; take xp.real(x).
    """
    tensor = tensor_of(x, "astype")
    if tensor.dtype.is_complex and not (dtype.is_complex or dtype.is_bool):
        raise DTypeError(
            f"astype() of {tensor.dtype} to {dtype} would lose the imaginary part",
            hint="take xp.real(x) or xp.abs(x)",
        )
    fits = dtype is tensor.dtype and device in (None, tensor.device)
    if fits:
        return wrap(tensor.clone()) if copy else x
    return wrap(tensor.to(dtype=dtype, device=device))


def can_cast(from_: DType | Array, to: DType, /) -> bool:
    """Whether values of one dtype are converted to the other by promotion.

    >>> xp.can_cast(xp.int8, xp.int16)
    True
    """
    try:
        return common_dtype([_dtype_of(from_), to]) is to
    except DTypeError:
        return False


def finfo(type: DType | Array, /) -> FloatLimits:
    """The limits of a floating-point dtype; of a complex one, those of its parts.

    >>> xp.finfo(xp.float32).eps
    1.1920928955078125e-07

    Raises:
        DTypeError: another dtype.
    """
    return dtype_limits.finfo(_dtype_of(type))


def iinfo(type: DType | Array, /) -> IntegerLimits:
    """The limits of an integer dtype.

    >>> xp.iinfo(xp.uint8).max
    255

    Raises:
        DTypeError: another dtype.
    """
    return dtype_limits.iinfo(_dtype_of(type))


#: The standard's names for kinds of dtypes.
KINDS: dict[str, tuple[Kind, ...]] = {
    "bool": (Kind.BOOL,),
    "signed integer": (Kind.SIGNED,),
    "unsigned integer": (Kind.UNSIGNED,),
    "integral": INTEGERS,
    "real floating": (Kind.FLOAT,),
    "complex floating": (Kind.COMPLEX,),
    "numeric": (*INTEGERS, Kind.FLOAT, Kind.COMPLEX),
}


def isdtype(
    dtype: DType, kind: DType | str | tuple[DType | str | tuple[DType | str, ...], ...]
) -> bool:
    """Whether a dtype is of a kind: a dtype, a name such as 'integral', or any of many.

    >>> xp.isdtype(xp.int8, "integral")
    True

    Raises:
        DTypeError: there is no such kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, entry) for entry in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in KINDS:
        raise DTypeError(f"kind {kind!r}", hint=f"use a dtype or one of {list(KINDS)}")
    return dtype.kind in KINDS[kind]


def result_type(*arrays_and_dtypes: Array | Scalar | DType) -> DType:
    """The dtype that an operation on these arrays, numbers and dtypes gives.

    >>> xp.result_type(xp.int8, xp.uint8)
    int16

    Raises:
        DTypeError: they have no common dtype.
    """
    return common_dtype(arrays_and_dtypes)
