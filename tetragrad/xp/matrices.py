"""Products of matrices and vectors.

Source: "Linear algebra functions" of the Python array API standard 2025.12. Vectors of
complex numbers are conjugated where the standard says so: in ``vecdot``, on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor import einsum as sums
from tetragrad.tensor.promotion import normal_dim
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.kinds import NUMERIC, operands
from tetragrad.xp.operations import binary

if TYPE_CHECKING:
    from tetragrad.xp.array import Array


def matmul_arrays(x1: Array, x2: Array) -> Array:
    """The product that ``x1 @ x2`` and ``xp.matmul(x1, x2)`` are."""
    return binary("matmul", x1, x2, Tensor.matmul, NUMERIC)


def matmul(x1: Array, x2: Array, /) -> Array:
    """The matrix product over the last two axes; the others broadcast.

    An array with one axis is a row on the left and a column on the right. Numeric
    dtypes.

    >>> xp.matmul(xp.asarray([[1, 2], [3, 4]]), xp.asarray([1, 1]))
    Array([3, 7])

    Raises:
        ShapeError: the last size of x1 is not the last but one of x2, or an array
            has no axes.
    """
    return matmul_arrays(x1, x2)


def matrix_transpose(x: Array, /) -> Array:
    """The last two axes exchanged; all dtypes.

    >>> xp.matrix_transpose(xp.asarray([[1, 2]])).shape
    (2, 1)

    Raises:
        ShapeError: the array has fewer than two axes.
    """
    return wrap(tensor_of(x, "matrix_transpose").mT)


def tensordot(
    x1: Array,
    x2: Array,
    /,
    *,
    axes: int | tuple[Sequence[int], Sequence[int]] = 2,
) -> Array:
    """Sums of products over axes of both arrays; numeric dtypes.

    ``axes`` is how many last axes of x1 and first axes of x2, or the axes of each.
    Those that remain of x1 stand before those that remain of x2.

    >>> xp.tensordot(xp.ones((2, 3)), xp.ones((3, 4)), axes=1).shape
    (2, 4)

    Raises:
        ShapeError: paired axes differ in size.
    """
    lhs, rhs = operands(x1, x2)
    NUMERIC.check(lhs.dtype, "tensordot")
    return wrap(sums.tensordot(lhs, rhs, axes))


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The sum of conj(x1) * x2 along an axis; numeric dtypes.

    ``axis`` is negative: it counts from the end, as the other axes broadcast.

    >>> xp.vecdot(xp.asarray([1j, 2.0]), xp.asarray([1j, 3.0]))
    Array(7.+0.j)

    Raises:
        ShapeError: the arrays differ in size along the axis.
    """
    lhs, rhs = operands(x1, x2)
    NUMERIC.check(lhs.dtype, "vecdot")
    first, second = normal_dim(axis, lhs.ndim), normal_dim(axis, rhs.ndim)
    if lhs.shape[first] != rhs.shape[second]:
        raise ShapeError(
            f"vecdot() of shapes {lhs.shape} and {rhs.shape}: axis {axis} has "
            f"{lhs.shape[first]} and {rhs.shape[second]} elements"
        )
    left, right = lhs.movedim(first, -1), rhs.movedim(second, -1)
    product = left.conj().unsqueeze(-2).matmul(right.unsqueeze(-1))
    return wrap(product.squeeze(-1).squeeze(-1))
