"""Searching, sorting, sets and truth.

Source: "Searching functions", "Sorting functions", "Set functions" and "Utility
functions" of the Python array API standard 2025.12. Indices are int64.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor, joining
from tetragrad.tensor import arithmetic as tensors
from tetragrad.tensor.promotion import normal_dim
from tetragrad.xp.array import Array
from tetragrad.xp.base import Scalar, tensor_of, wrap
from tetragrad.xp.kinds import BOOLEAN, NUMERIC, REAL, operands
from tetragrad.xp.manipulation import Axes, axes_of

# --- searching ------------------------------------------------------------------------


def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the largest element is, the first of several; real-valued dtypes.

    >>> xp.argmax(xp.asarray([1, 5, 5]))
    Array(1)

    Raises:
        ShapeError: there are no elements.
    """
    tensor = tensor_of(x, "argmax")
    REAL.check(tensor.dtype, "argmax")
    return wrap(tensor.argmax(axis, keepdims))


def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Where the smallest element is, the first of several; real-valued dtypes.

    >>> xp.argmin(xp.asarray([5, 1, 1]))
    Array(1)

    Raises:
        ShapeError: there are no elements.
    """
    tensor = tensor_of(x, "argmin")
    REAL.check(tensor.dtype, "argmin")
    return wrap(tensor.argmin(axis, keepdims))


def count_nonzero(
    x: Array, /, *, axis: Axes | None = None, keepdims: bool = False
) -> Array:
    """How many elements are not zero; all dtypes.

    >>> xp.count_nonzero(xp.asarray([1, 0, 2]))
    Array(2)
    """
    tensor = tensor_of(x, "count_nonzero")
    counted = tensor.bool().long()
    axes = axes_of(axis, tensor.ndim)
    return wrap(counted.sum(axes, keepdims) if axes else counted)


def nonzero(x: Array, /) -> tuple[Array, ...]:
    """The places of elements that are not zero: one array of indices for each axis.

    >>> xp.nonzero(xp.asarray([0, 3, 4]))
    (Array([1, 2]),)

    Raises:
        ShapeError: the array has no axes.
    """
    tensor = tensor_of(x, "nonzero")
    if not tensor.ndim:
        raise ShapeError("nonzero() of an array without axes", hint="use x != 0")
    places = np.nonzero(tensor.numpy())
    return tuple(wrap(Tensor(place, dtypes.int64)) for place in places)


def searchsorted(
    x1: Array,
    x2: Array | int | float,
    /,
    *,
    side: Literal["left", "right"] = "left",
    sorter: Array | None = None,
) -> Array:
    """Where the numbers of x2 would be put into x1, which is a vector in order.

    With 'left' before the numbers that are equal, with 'right' after them. ``sorter``
    holds the indices that put x1 in order. Real-valued dtypes.

    >>> xp.searchsorted(xp.asarray([1, 3, 5]), xp.asarray([3, 4]))
    Array([1, 2])

    Raises:
        ShapeError: x1 has not one axis.
    """
    vector, values = operands(x1, x2)
    REAL.check(vector.dtype, "searchsorted")
    if vector.ndim != 1:
        raise ShapeError(f"searchsorted() in an array of shape {vector.shape}")
    if sorter is not None:
        vector = vector.index_select(0, tensor_of(sorter, "searchsorted"))
    found = vector.searchsorted(values.ravel(), side=side)
    return wrap(found.reshape(values.shape))


def where(condition: Array, x1: Array | Scalar, x2: Array | Scalar, /) -> Array:
    """x1 where the condition holds, else x2; all three broadcast.

    All dtypes; the result has the common one of x1 and x2.

    >>> xp.where(xp.asarray([True, False]), xp.asarray([1, 2]), 0)
    Array([1, 0])

    Raises:
        DTypeError: the condition is not boolean.
    """
    mask = tensor_of(condition, "where")
    BOOLEAN.check(mask.dtype, "where")
    if isinstance(x1, Array) or isinstance(x2, Array):
        chosen: list[Any] = operands(x1, x2)
    else:
        from tetragrad.xp.creation import asarray

        chosen = operands(asarray(x1), asarray(x2))
    return wrap(tensors.where(mask, *chosen))


# --- sorting --------------------------------------------------------------------------


def sort(
    x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Array:
    """The elements of an axis in order; real-valued dtypes. NaN is the largest.

    >>> xp.sort(xp.asarray([3, 1, 2]), descending=True)
    Array([3, 2, 1])
    """
    tensor = tensor_of(x, "sort")
    REAL.check(tensor.dtype, "sort")
    return wrap(tensor.sort(axis, descending, stable).values)


def argsort(
    x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Array:
    """Where the elements of an axis in order are; real-valued dtypes.

    >>> xp.argsort(xp.asarray([3, 1, 2]))
    Array([1, 2, 0])
    """
    tensor = tensor_of(x, "argsort")
    REAL.check(tensor.dtype, "argsort")
    return wrap(tensor.sort(axis, descending, stable).indices)


# --- sets -----------------------------------------------------------------------------


class UniqueAll(NamedTuple):
    """Different values, where each is first, which is where, and how often."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Different values, and how often each occurs."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Different values, and which of them stands where."""

    values: Array
    inverse_indices: Array


def isin(x1: Array | int, x2: Array | int, /, *, invert: bool = False) -> Array:
    """Where the elements of x1 are among those of x2, or not; all dtypes.

    >>> xp.isin(xp.asarray([1, 2, 3]), xp.asarray([2, 4]))
    Array([False,  True, False])
    """
    elements, wanted = operands(x1, x2)
    found = elements.unsqueeze(-1).eq(wanted.ravel()).any(-1)
    return wrap(found.logical_not() if invert else found)


def unique_all(x: Array, /) -> UniqueAll:
    """The different values with first places, inverse and counts; found by the host.

    NaN differs from NaN, and 0 equals -0. All dtypes.

    >>> xp.unique_all(xp.asarray([3, 1, 3])).indices
    Array([1, 0])
    """
    tensor = tensor_of(x, "unique_all")
    elements = tensor.numpy()
    values, first, inverse, counts = np.unique(
        elements,
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=False,
    )
    places = [first, inverse.reshape(elements.shape), counts]
    found = [wrap(Tensor(place, dtypes.int64)) for place in places]
    return UniqueAll(wrap(Tensor(values)), *found)


def unique_counts(x: Array, /) -> UniqueCounts:
    """The different values, and how often each occurs.

    >>> xp.unique_counts(xp.asarray([3, 1, 3])).counts
    Array([1, 2])
    """
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Array, /) -> UniqueInverse:
    """The different values, and which of them stands where.

    >>> xp.unique_inverse(xp.asarray([3, 1, 3])).inverse_indices
    Array([1, 0, 1])
    """
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Array, /) -> Array:
    """The different values, in order.

    >>> xp.unique_values(xp.asarray([3, 1, 3]))
    Array([1, 3])
    """
    return unique_all(x).values


# --- truth and differences ------------------------------------------------------------


def all(x: Array, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Whether all elements are nonzero; of none, they are. All dtypes.

    >>> xp.all(xp.asarray([True, False]))
    Array(False)
    """
    tensor = tensor_of(x, "all")
    axes = axes_of(axis, tensor.ndim)
    return wrap(tensor.all(axes, keepdims) if axes else tensor.bool())


def any(x: Array, /, *, axis: Axes | None = None, keepdims: bool = False) -> Array:
    """Whether an element is nonzero; of none, none is. All dtypes.

    >>> xp.any(xp.asarray([True, False]))
    Array(True)
    """
    tensor = tensor_of(x, "any")
    axes = axes_of(axis, tensor.ndim)
    return wrap(tensor.any(axes, keepdims) if axes else tensor.bool())


def diff(
    x: Array,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Array | None = None,
    append: Array | None = None,
) -> Array:
    """Each element less the one before it, n times; numeric dtypes.

    ``prepend`` and ``append`` are joined to x along the axis before.

    >>> xp.diff(xp.asarray([1, 4, 9]))
    Array([3, 5])
    """
    given = [entry for entry in (prepend, x, append) if entry is not None]
    pieces = operands(*given)
    NUMERIC.check(pieces[0].dtype, "diff")
    axis = normal_dim(axis, pieces[0].ndim)
    joined = joining.cat(pieces, axis) if len(pieces) > 1 else pieces[0]
    return wrap(joined.diff(n, axis))
