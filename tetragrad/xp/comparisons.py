"""Comparisons, logic and bits of elements.

Source: "Element-wise functions" of the Python array API standard 2025.12. Arrays of
two arguments broadcast and are converted to their common dtype; either may be a Python
number. Other dtypes than those named raise DTypeError, shapes that do not broadcast
ShapeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.tensor import Tensor
from tetragrad.xp import kinds, operations
from tetragrad.xp.operations import binary, unary

if TYPE_CHECKING:
    from tetragrad.xp.array import Array


def equal(
    x1: Array | bool | int | float | complex,
    x2: Array | bool | int | float | complex,
    /,
) -> Array:
    """Where the elements are equal; NaN equals nothing. All dtypes.

    >>> xp.equal(xp.asarray([1, 2]), 2)
    Array([False,  True])
    """
    return operations.EQUAL(x1, x2)


def not_equal(
    x1: Array | bool | int | float | complex,
    x2: Array | bool | int | float | complex,
    /,
) -> Array:
    """Where the elements differ. All dtypes.

    >>> xp.not_equal(xp.asarray([1, 2]), 2)
    Array([ True, False])
    """
    return operations.NOT_EQUAL(x1, x2)


def less(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """Where x1 is less than x2. Real-valued dtypes.

    >>> xp.less(xp.asarray([1, 2]), 2)
    Array([ True, False])
    """
    return operations.LESS(x1, x2)


def less_equal(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """Where x1 is less than x2 or equal. Real-valued dtypes.

    >>> xp.less_equal(xp.asarray([1, 3]), 2)
    Array([ True, False])
    """
    return operations.LESS_EQUAL(x1, x2)


def greater(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """Where x1 is greater than x2. Real-valued dtypes.

    >>> xp.greater(xp.asarray([1, 3]), 2)
    Array([False,  True])
    """
    return operations.GREATER(x1, x2)


def greater_equal(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """Where x1 is greater than x2 or equal. Real-valued dtypes.

    >>> xp.greater_equal(xp.asarray([1, 2]), 2)
    Array([False,  True])
    """
    return operations.GREATER_EQUAL(x1, x2)


def logical_and(x1: Array | bool, x2: Array | bool, /) -> Array:
    """Where both hold. Booleans.

    >>> xp.logical_and(xp.asarray([True, False]), True)
    Array([ True, False])
    """
    return binary("logical_and", x1, x2, Tensor.logical_and, kinds.BOOLEAN)


def logical_or(x1: Array | bool, x2: Array | bool, /) -> Array:
    """Where at least one holds. Booleans.

    >>> xp.logical_or(xp.asarray([True, False]), True)
    Array([True, True])
    """
    return binary("logical_or", x1, x2, Tensor.logical_or, kinds.BOOLEAN)


def logical_xor(x1: Array | bool, x2: Array | bool, /) -> Array:
    """Where exactly one holds. Booleans.

    >>> xp.logical_xor(xp.asarray([True, False]), True)
    Array([False,  True])
    """
    return binary("logical_xor", x1, x2, Tensor.logical_xor, kinds.BOOLEAN)


def logical_not(x: Array, /) -> Array:
    """Where the element does not hold. Booleans.

    >>> xp.logical_not(xp.asarray([True, False]))
    Array([False,  True])
    """
    return unary("logical_not", x, Tensor.logical_not, kinds.BOOLEAN)


def bitwise_and(x1: Array | int | bool, x2: Array | int | bool, /) -> Array:
    """The bits set in both. Integer dtypes and bool.

    >>> xp.bitwise_and(xp.asarray([5, 6]), 3)
    Array([1, 2])
    """
    return operations.AND(x1, x2)


def bitwise_or(x1: Array | int | bool, x2: Array | int | bool, /) -> Array:
    """The bits set in at least one. Integer dtypes and bool.

    >>> xp.bitwise_or(xp.asarray([5, 6]), 3)
    Array([7, 7])
    """
    return operations.OR(x1, x2)


def bitwise_xor(x1: Array | int | bool, x2: Array | int | bool, /) -> Array:
    """The bits set in exactly one. Integer dtypes and bool.

    >>> xp.bitwise_xor(xp.asarray([5, 6]), 3)
    Array([6, 5])
    """
    return operations.XOR(x1, x2)


def bitwise_invert(x: Array, /) -> Array:
    """All bits inverted; of booleans, the logical not. Integer dtypes and bool.

    >>> xp.bitwise_invert(xp.asarray([0, 5]))
    Array([-1, -6])
    """
    return operations.INVERT(x)


def bitwise_left_shift(x1: Array | int, x2: Array | int, /) -> Array:
    """Bits moved left; by the width or more gives 0. Integer dtypes.

    >>> xp.bitwise_left_shift(xp.asarray([1, 3]), 2)
    Array([ 4, 12])
    """
    return operations.LEFT(x1, x2)


def bitwise_right_shift(x1: Array | int, x2: Array | int, /) -> Array:
    """Bits moved right, keeping the sign. Integer dtypes.

    >>> xp.bitwise_right_shift(xp.asarray([8, -8]), 2)
    Array([ 2, -2])
    """
    return operations.RIGHT(x1, x2)
