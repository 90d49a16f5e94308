"""Element types, and the one table that says how two of them combine.

>>> promote(int32, float16)
float16
>>> promote(uint8, int8)
int16
"""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from typing import Any, Final

import numpy as np

from tetragrad.core.errors import DTypeError, UnsupportedError
from tetragrad.core.frozen import frozen


class Kind(IntEnum):
    """Categories in the order in which promotion prefers them."""

    BOOL = 0
    UNSIGNED = 1
    SIGNED = 2
    FLOAT = 3
    COMPLEX = 4


@frozen(eq=False)
class DType:
    """One element type. There is one object per type, compared by identity.

    What code generation asks of it for every value is worked out once.

    >>> tetragrad.float32.itemsize, tetragrad.int64.is_integer
    (4, True)
    """

    name: str
    kind: Kind
    bits: int

    @cached_property
    def numpy(self) -> np.dtype:
        """NumPy's dtype. The types it lacks come from ml_dtypes, once one is needed."""
        if self.name in np.sctypeDict:
            return np.dtype(self.name)
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, self.name))

    @cached_property
    def itemsize(self) -> int:
        """Bytes that one element takes in memory."""
        return self.bits // 8

    @cached_property
    def is_floating_point(self) -> bool:
        return self.kind is Kind.FLOAT

    @cached_property
    def is_complex(self) -> bool:
        return self.kind is Kind.COMPLEX

    @cached_property
    def is_integer(self) -> bool:
        return self.kind in (Kind.SIGNED, Kind.UNSIGNED)

    @cached_property
    def is_bool(self) -> bool:
        return self.kind is Kind.BOOL

    @cached_property
    def is_signed(self) -> bool:
        return self.kind >= Kind.SIGNED

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        return (by_name, (self.name,))


bool_: Final = DType("bool", Kind.BOOL, 8)
uint8: Final = DType("uint8", Kind.UNSIGNED, 8)
uint16: Final = DType("uint16", Kind.UNSIGNED, 16)
uint32: Final = DType("uint32", Kind.UNSIGNED, 32)
uint64: Final = DType("uint64", Kind.UNSIGNED, 64)
int8: Final = DType("int8", Kind.SIGNED, 8)
int16: Final = DType("int16", Kind.SIGNED, 16)
int32: Final = DType("int32", Kind.SIGNED, 32)
int64: Final = DType("int64", Kind.SIGNED, 64)
float8_e4m3fn: Final = DType("float8_e4m3fn", Kind.FLOAT, 8)
float8_e5m2: Final = DType("float8_e5m2", Kind.FLOAT, 8)
float16: Final = DType("float16", Kind.FLOAT, 16)
bfloat16: Final = DType("bfloat16", Kind.FLOAT, 16)
float32: Final = DType("float32", Kind.FLOAT, 32)
float64: Final = DType("float64", Kind.FLOAT, 64)
complex64: Final = DType("complex64", Kind.COMPLEX, 64)
complex128: Final = DType("complex128", Kind.COMPLEX, 128)

ALL: Final = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
    float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64,
    complex64, complex128,
)  # fmt: skip

# The dtypes that arithmetic accepts; float8 is stored and cast only.
ARITHMETIC: Final = tuple(
    dtype for dtype in ALL if dtype.bits > 8 or not dtype.is_floating_point
)

_BY_NAME: Final = {dtype.name: dtype for dtype in ALL} | {
    "half": float16, "float": float32, "double": float64, "short": int16,
    "int": int32, "long": int64, "byte": uint8, "char": int8,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip


#: Those that ``from_numpy`` has found, by NumPy's own.
_BY_NUMPY: dict[np.dtype[Any], DType] = {}


def by_name(name: str) -> DType:
    """The dtype called ``name``; PyTorch's short names (``half``) work too."""
    if name not in _BY_NAME:
        known = ", ".join(dtype.name for dtype in ALL)
        raise DTypeError(f"there is no dtype {name!r}", hint=f"use one of {known}")
    return _BY_NAME[name]


def from_numpy(numpy_dtype: object) -> DType:
    """The dtype of a NumPy array's elements."""
    # NumPy makes a dtype's name anew each time, which takes as long as ten look-ups.
    if isinstance(numpy_dtype, np.dtype) and numpy_dtype in _BY_NUMPY:
        return _BY_NUMPY[numpy_dtype]
    found = _named_like(numpy_dtype)
    _BY_NUMPY[found.numpy] = found
    return found


def _named_like(numpy_dtype: object) -> DType:
    wanted = np.dtype(numpy_dtype).newbyteorder("=")  # type: ignore[call-overload]
    found = _BY_NAME.get(wanted.name)
    if found is None or found.numpy != wanted:
        raise DTypeError(
            f"NumPy dtype {numpy_dtype!r} has no tetragrad equivalent",
            hint="convert the array first, for example with .astype(np.float32)",
        )
    return found


def check_real(dtype: DType) -> DType:
    """The dtype, unless it is one of complex numbers, which no node of a graph has."""
    if dtype.is_complex:
        raise UnsupportedError(
            f"a node of {dtype}: graphs hold real numbers only",
            hint="a complex tensor's node is real, with a last dimension of 2",
        )
    return dtype


def part_dtype(dtype: DType) -> DType:
    """The dtype of the real and the imaginary part; a real dtype is its own.

    >>> part_dtype(complex64)
    float32
    """
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def complex_dtype(dtype: DType) -> DType:
    """The dtype of complex numbers with parts at least as precise as ``dtype``.

    >>> complex_dtype(float64)
    complex128
    """
    return complex128 if dtype in (float64, complex128) else complex64


def to_dtype(value: object) -> DType:
    """Accept a DType, its name, a Python type, or a NumPy or PyTorch dtype."""
    if isinstance(value, DType):
        return value
    if isinstance(value, str):
        return by_name(value)
    python_types = {bool: bool_, int: int64, float: float32, complex: complex64}
    if isinstance(value, type) and value in python_types:
        return python_types[value]
    if type(value).__module__ == "torch":
        return by_name(str(value).removeprefix("torch."))
    try:
        return from_numpy(value)
    except TypeError:
        raise DTypeError(
            f"{value!r} is not a dtype",
            hint="pass tetragrad.float32, a name such as 'float32', or a NumPy dtype",
        ) from None


def _join_integers(lhs: DType, rhs: DType) -> DType:
    """int8 with uint8 needs int16; uint64 with a signed type has no wider integer."""
    if lhs.kind is rhs.kind:
        return lhs if lhs.bits >= rhs.bits else rhs
    signed, unsigned = (lhs, rhs) if lhs.kind is Kind.SIGNED else (rhs, lhs)
    if signed.bits > unsigned.bits:
        return signed
    wider = {8: int16, 16: int32, 32: int64, 64: float32}
    return wider[unsigned.bits]


def _join_floats(lhs: DType, rhs: DType) -> DType:
    """The wider; two different types of one width meet in the next width."""
    if lhs.bits != rhs.bits:
        return lhs if lhs.bits > rhs.bits else rhs
    return {8: float16, 16: float32}[lhs.bits]


def _join_complex(lhs: DType, rhs: DType) -> DType:
    needs_double = any(dtype in (complex128, float64) for dtype in (lhs, rhs))
    return complex128 if needs_double else complex64


def _join(lhs: DType, rhs: DType) -> DType:
    if lhs is rhs:
        return lhs
    if Kind.COMPLEX in (lhs.kind, rhs.kind):
        return _join_complex(lhs, rhs)
    if lhs.kind is Kind.FLOAT and rhs.kind is Kind.FLOAT:
        return _join_floats(lhs, rhs)
    if Kind.FLOAT in (lhs.kind, rhs.kind) or Kind.BOOL in (lhs.kind, rhs.kind):
        return lhs if lhs.kind > rhs.kind else rhs
    return _join_integers(lhs, rhs)


#: The promotion table: what two arrays of these dtypes combine to. The rules are
#: PyTorch's, extended to the unsigned types it leaves out.
PROMOTION: Final = {(lhs, rhs): _join(lhs, rhs) for lhs in ALL for rhs in ALL}


def promote(*dtypes: DType) -> DType:
    """The dtype in which values of all these dtypes are combined."""
    result = dtypes[0]
    for dtype in dtypes[1:]:
        result = PROMOTION[result, dtype]
    return result


def accumulation(dtype: DType) -> DType:
    """The dtype in which a sum or product of ``dtype`` values is carried."""
    return float32 if dtype in (float16, bfloat16) else dtype


def float_info(dtype: DType) -> Any:
    """The limits of a float dtype, as ``numpy.finfo`` gives them, of any width.

    >>> float(float_info(bfloat16).eps)
    0.0078125
    """
    import ml_dtypes

    return ml_dtypes.finfo(dtype.numpy)  # type: ignore[no-untyped-call]


def lowest(dtype: DType) -> int | float | bool:
    """The identity of max: no value of the dtype is smaller."""
    if dtype.is_floating_point:
        return float("-inf")
    return False if dtype.is_bool else int(np.iinfo(dtype.numpy).min)


def highest(dtype: DType) -> int | float | bool:
    """The identity of min: no value of the dtype is larger."""
    if dtype.is_floating_point:
        return float("inf")
    return True if dtype.is_bool else int(np.iinfo(dtype.numpy).max)
