"""Kinds of dtypes, and what values of two dtypes combine to.

Source: "Type promotion rules" of the Python array API standard 2025.12. Within a kind
the wider dtype wins. Kinds do not mix, except real and complex floating-point numbers:
an integer array and a floating-point one have no common dtype until one is converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, Kind, complex_dtype, promote
from tetragrad.core.errors import DTypeError
from tetragrad.core.frozen import frozen
from tetragrad.tensor import Tensor
from tetragrad.xp.base import ArrayBase, Scalar

INTEGERS = (Kind.UNSIGNED, Kind.SIGNED)


@frozen(slots=True)
class Kinds:
    """Which dtypes a function is defined on, and how the standard calls them."""

    text: str
    members: tuple[Kind, ...]

    def check(self, dtype: DType, name: str) -> None:
        """Raise DTypeError for a dtype of another kind."""
        if dtype.kind not in self.members:
            raise DTypeError(
                f"{name}() of {dtype}: it takes {self.text} dtypes",
                hint="convert the array first with xp.astype(x, dtype)",
            )


ANY = Kinds("all", tuple(Kind))
BOOLEAN = Kinds("boolean", (Kind.BOOL,))
INTEGER = Kinds("integer", INTEGERS)
INTEGER_OR_BOOLEAN = Kinds("integer and boolean", (*INTEGERS, Kind.BOOL))
REAL_FLOATING = Kinds("real floating-point", (Kind.FLOAT,))
FLOATING = Kinds("floating-point", (Kind.FLOAT, Kind.COMPLEX))
REAL = Kinds("real-valued", (*INTEGERS, Kind.FLOAT))
NUMERIC = Kinds("numeric", (*INTEGERS, Kind.FLOAT, Kind.COMPLEX))
COMPLEX = Kinds("complex floating-point", (Kind.COMPLEX,))


def join(lhs: DType, rhs: DType) -> DType:
    """The dtype that values of two dtypes combine to.

    >>> join(dtypes.int8, dtypes.uint8)
    int16

    Raises:
        DTypeError: the standard leaves it open.
    """
    signs_differ = {lhs.kind, rhs.kind} == set(INTEGERS)
    no_wider_integer = signs_differ and dtypes.uint64 in (lhs, rhs)
    both = {lhs.kind, rhs.kind}
    of_one_kind = any(both <= set(group) for group in _GROUPS)
    if not of_one_kind or no_wider_integer:
        raise DTypeError(
            f"{lhs} and {rhs} have no common dtype in the array API standard",
            hint="convert one of the arrays with xp.astype(x, dtype)",
        )
    return promote(lhs, rhs)


_GROUPS = ((Kind.BOOL,), INTEGERS, (Kind.FLOAT, Kind.COMPLEX))


def with_scalar(dtype: DType, value: Scalar) -> DType:
    """The dtype of an array that meets a Python number: the array's, if it can.

    >>> with_scalar(dtypes.float64, 1j)
    complex128

    Raises:
        DTypeError: the number is of a kind that the dtype's values do not mix with.
    """
    if isinstance(value, bool):
        fits = dtype.is_bool
    elif isinstance(value, int):
        fits = not dtype.is_bool
    else:
        fits = dtype.is_floating_point or dtype.is_complex
    if not fits:
        raise DTypeError(
            f"the {type(value).__name__} {value!r} with an array of {dtype}",
            hint="convert the array first with xp.astype(x, dtype)",
        )
    if isinstance(value, int) and dtype.is_integer:
        _check_range(value, dtype)
    return complex_dtype(dtype) if isinstance(value, complex) else dtype


def _check_range(value: int, dtype: DType) -> None:
    limits = np.iinfo(dtype.numpy)
    if not limits.min <= value <= limits.max:
        raise DTypeError(
            f"{value} does not fit into {dtype}, which holds {limits.min} to "
            f"{limits.max}",
            hint="use a wider dtype: xp.asarray(value, dtype=...)",
        )


def common_dtype(values: Sequence[Any]) -> DType:
    """The dtype that arrays, dtypes and Python numbers combine to."""
    found: DType | None = None
    for value in values:
        if isinstance(value, ArrayBase | DType):
            own = value if isinstance(value, DType) else value.to_tensor().dtype
            found = own if found is None else join(found, own)
    if found is None:
        raise DTypeError(
            f"none of {', '.join(map(repr, values)) or 'no values'} is an array",
            hint="give at least one array: xp.asarray(...)",
        )
    for value in values:
        if isinstance(value, bool | int | float | complex):
            found = with_scalar(found, value)
        elif not isinstance(value, ArrayBase | DType):
            raise DTypeError(
                f"{type(value).__name__} {value!r} is neither an array nor a number",
                hint="convert it first with xp.asarray(...)",
            )
    return found


def operands(*values: Any) -> list[Tensor]:
    """Tensors of the dtype that the values combine to."""
    dtype = common_dtype(values)
    return [in_dtype(value, dtype) for value in values]


def in_dtype(value: Any, dtype: DType) -> Tensor:
    """An array or a number as a tensor of a dtype."""
    if isinstance(value, ArrayBase):
        return value.to_tensor().to(dtype)
    return Tensor.full((), value, dtype=dtype)
