"""Arithmetic, sizes and limits of elements.

Source: "Element-wise functions" of the Python array API standard 2025.12. Arrays of
two arguments broadcast and are converted to their common dtype; either may be a Python
number. Other dtypes than those named raise DTypeError, shapes that do not broadcast
ShapeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.core.errors import DTypeError
from tetragrad.tensor import Tensor
from tetragrad.xp import kinds, operations, special
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.operations import binary, unary

if TYPE_CHECKING:
    from tetragrad.xp.array import Array


def add(
    x1: Array | int | float | complex, x2: Array | int | float | complex, /
) -> Array:
    """The sum. Numeric dtypes.

    >>> xp.add(xp.asarray([1, 2]), 0)
    Array([1, 2])
    """
    return operations.ADD(x1, x2)


def subtract(
    x1: Array | int | float | complex, x2: Array | int | float | complex, /
) -> Array:
    """The difference x1 - x2. Numeric dtypes.

    >>> xp.subtract(xp.asarray([3, 2]), 1)
    Array([2, 1])
    """
    return operations.SUBTRACT(x1, x2)


def multiply(
    x1: Array | int | float | complex, x2: Array | int | float | complex, /
) -> Array:
    """The product. Numeric dtypes.

    >>> xp.multiply(xp.asarray([1, 2]), 3)
    Array([3, 6])
    """
    return operations.MULTIPLY(x1, x2)


def divide(
    x1: Array | int | float | complex, x2: Array | int | float | complex, /
) -> Array:
    """The quotient x1 / x2. Floating-point dtypes.

    >>> xp.divide(xp.asarray([1.0, 2.0]), 2)
    Array([0.5000, 1.0000])
    """
    return operations.DIVIDE(x1, x2)


def floor_divide(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The floor of the quotient; of integers, 0 where x2 is 0. Real-valued dtypes.

    >>> xp.floor_divide(xp.asarray([7, -7]), 2)
    Array([ 3, -4])
    """
    return operations.FLOOR_DIVIDE(x1, x2)


def remainder(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """What is left of x1 after whole times x2, with the sign of x2.

    Real-valued dtypes.

    >>> xp.remainder(xp.asarray([7, -7]), 4)
    Array([3, 1])
    """
    return operations.REMAINDER(x1, x2)


def pow(
    x1: Array | int | float | complex, x2: Array | int | float | complex, /
) -> Array:
    """x1 to the power x2; integers wrap. Numeric dtypes.

    >>> xp.pow(xp.asarray([2, 3]), 2)
    Array([4, 9])
    """
    return operations.POWER(x1, x2)


def negative(x: Array, /) -> Array:
    """-x. Numeric dtypes.

    >>> xp.negative(xp.asarray([1, -2]))
    Array([-1,  2])
    """
    return operations.NEGATE(x)


def positive(x: Array, /) -> Array:
    """+x, as a copy. Numeric dtypes.

    >>> xp.positive(xp.asarray([1, -2]))
    Array([ 1, -2])
    """
    return operations.POSITIVE(x)


def abs(x: Array, /) -> Array:
    """The size without the sign; of complex numbers, the distance from 0.

    Numeric dtypes.

    >>> xp.abs(xp.asarray([3.0 + 4.0j]))
    Array([5.])
    """
    return operations.ABSOLUTE(x)


def square(x: Array, /) -> Array:
    """x * x. Numeric dtypes.

    >>> xp.square(xp.asarray([3, -2]))
    Array([9, 4])
    """
    return unary("square", x, Tensor.square, kinds.NUMERIC)


def reciprocal(x: Array, /) -> Array:
    """1 / x. Floating-point dtypes.

    >>> xp.reciprocal(xp.asarray([4.0]))
    Array([0.2500])
    """
    return unary("reciprocal", x, Tensor.reciprocal, kinds.FLOATING)


def sign(x: Array, /) -> Array:
    """1, 0 or -1; of complex numbers, x / abs(x), and 0 of 0. Numeric dtypes.

    >>> xp.sign(xp.asarray([-2, 0, 3]))
    Array([-1,  0,  1])
    """
    return unary("sign", x, special.sign, kinds.NUMERIC)


def maximum(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The larger number; NaN if either is NaN. Real-valued dtypes.

    >>> xp.maximum(xp.asarray([1, 5]), 3)
    Array([3, 5])
    """
    return binary("maximum", x1, x2, Tensor.maximum, kinds.REAL)


def minimum(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The smaller number; NaN if either is NaN. Real-valued dtypes.

    >>> xp.minimum(xp.asarray([1, 5]), 3)
    Array([1, 3])
    """
    return binary("minimum", x1, x2, Tensor.minimum, kinds.REAL)


def hypot(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The square root of x1² + x2², without overflow. Real floating-point dtypes.

    >>> xp.hypot(xp.asarray([3.0]), 4.0)
    Array([5.])
    """
    return binary("hypot", x1, x2, Tensor.hypot, kinds.REAL_FLOATING)


def copysign(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The size of x1 with the sign of x2, also that of -0.

    Real floating-point dtypes.

    >>> xp.copysign(xp.asarray([1.0]), -0.0)
    Array([-1.])
    """
    return binary("copysign", x1, x2, Tensor.copysign, kinds.REAL_FLOATING)


def nextafter(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The number next to x1 in the direction of x2. Real floating-point dtypes.

    >>> xp.nextafter(xp.asarray([1.0]), 2.0) > 1.0
    Array([True])
    """
    return binary("nextafter", x1, x2, Tensor.nextafter, kinds.REAL_FLOATING)


def clip(
    x: Array,
    /,
    min: Array | int | float | None = None,
    max: Array | int | float | None = None,
) -> Array:
    """Numbers below ``min`` become ``min``, and those above ``max`` become ``max``.

    Real-valued dtypes; the result has the dtype of x. NaN stays, and NaN in a limit
    makes NaN.

    >>> xp.clip(xp.asarray([-1, 5, 20]), 0, 10)
    Array([ 0,  5, 10])

    Raises:
        DTypeError: a limit of a dtype that x's dtype does not hold.
    """
    tensor = tensor_of(x, "clip")
    kinds.REAL.check(tensor.dtype, "clip")
    given = [limit for limit in (min, max) if limit is not None]
    if kinds.common_dtype([x, *given]) is not tensor.dtype:
        raise DTypeError(
            f"clip() of {tensor.dtype} by limits of another dtype",
            hint="convert the limits with xp.astype(limit, x.dtype)",
        )
    found = tensor
    if min is not None:
        found = found.maximum(kinds.in_dtype(min, tensor.dtype))
    if max is not None:
        found = found.minimum(kinds.in_dtype(max, tensor.dtype))
    return wrap(found)
