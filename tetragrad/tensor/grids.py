"""Tensors set side by side, and the indices of grids and triangles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import to_dtype
from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.joining import cat, hstack, meshgrid, stack, vstack
from tetragrad.tensor.promotion import common_dtype, default_float

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def _for_each(tensors: tuple[Any, ...], widen: Any) -> Any:
    """Apply to one tensor, or to each of several (``f(x, y)`` and ``f([x, y])``)."""
    if len(tensors) == 1 and isinstance(tensors[0], TensorBase):
        return widen(tensors[0])
    listed = tensors[0] if len(tensors) == 1 else tensors
    return tuple(widen(entry) for entry in listed)


def atleast_1d(*tensors: Any) -> Any:
    """The tensor, or each of several, with at least one dimension.

    >>> tetragrad.atleast_1d(Tensor(3)).shape
    (1,)
    """
    return _for_each(tensors, lambda entry: entry if entry.ndim else entry.reshape(1))


def atleast_2d(*tensors: Any) -> Any:
    """The tensor, or each of several, with at least two; a vector is a row.

    >>> tetragrad.atleast_2d(Tensor([1, 2])).shape
    (1, 2)
    """
    return _for_each(tensors, _as_matrix)


def _as_matrix(tensor: Tensor) -> Tensor:
    return tensor.reshape(1, -1) if tensor.ndim < 2 else tensor


def atleast_3d(*tensors: Any) -> Any:
    """The tensor, or each of several, with at least three; a matrix is in front.

    >>> tetragrad.atleast_3d(Tensor([[1, 2]])).shape
    (1, 2, 1)
    """

    def widen(tensor: Tensor) -> Tensor:
        return _as_matrix(tensor).unsqueeze(-1) if tensor.ndim < 3 else tensor

    return _for_each(tensors, widen)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors side by side; a vector is a column.

    >>> tetragrad.column_stack([Tensor([1, 2]), Tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    return hstack(
        [entry.reshape(-1, 1) if entry.ndim < 2 else entry for entry in tensors]
    )


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors behind one another, along the third dimension.

    >>> tetragrad.dstack([Tensor([1, 2]), Tensor([3, 4])]).shape
    (1, 2, 2)
    """
    return cat([atleast_3d(entry) for entry in tensors], 2)


row_stack = vstack


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of one element from each vector, as rows.

    >>> tetragrad.cartesian_prod(Tensor([1, 2]), Tensor([3, 4])).tolist()
    [[1, 3], [1, 4], [2, 3], [2, 4]]
    """
    for entry in tensors:
        if entry.ndim > 1:
            raise ShapeError(f"cartesian_prod() of shape {entry.shape}: give vectors")
    if len(tensors) == 1:
        return tensors[0].reshape(-1)
    return stack([grid.ravel() for grid in meshgrid(*tensors)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to choose r elements of a vector, in order, as rows.

    >>> tetragrad.combinations(Tensor([1, 2, 3])).tolist()
    [[1, 2], [1, 3], [2, 3]]
    """
    if input.ndim != 1 or r < 0:
        raise ShapeError(
            f"combinations() of {r} elements of shape {input.shape}",
            hint="give a vector, and r of 0 or more",
        )
    if r == 0:
        return input.cut(0, 0, 0)
    if r > input.shape[0] and not (with_replacement and input.shape[0]):
        return input.cut(0, 0, 0).reshape(0, r)
    choose = (
        itertools.combinations_with_replacement
        if with_replacement
        else itertools.combinations
    )
    rows = np.array(list(choose(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return input.index_select(0, type(input)(rows.ravel())).reshape(rows.shape)


# --- indices --------------------------------------------------------------------------


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """The places of a matrix's lower triangle: a row of rows, a row of columns.

    >>> tetragrad.tril_indices(2, 2).tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    return _indices(np.tril_indices(row, offset, col), dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """The places of a matrix's upper triangle: a row of rows, a row of columns.

    >>> tetragrad.triu_indices(2, 2).tolist()
    [[0, 0, 1], [0, 1, 1]]
    """
    return _indices(np.triu_indices(row, offset, col), dtype, device)


def _indices(places: tuple[Any, ...], dtype: Any, device: Any) -> Tensor:
    wanted = dtypes.int64 if dtype is None else to_dtype(dtype)
    return TensorBase.tensor_class(np.stack(places), wanted, device)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in a tensor of this shape, of places in row-major order.

    >>> [entry.tolist() for entry in tetragrad.unravel_index(Tensor([3]), (2, 2))]
    [[1], [1]]

    Raises:
        IndexingError: a place that the host knows is beyond the shape.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(map(int, shape))
    count = math.prod(sizes)
    elements = indices.detach().numpy()
    if elements.size and not -count <= elements.min() <= elements.max() < count:
        raise IndexingError(
            f"unravel_index() of places from {elements.min()} to {elements.max()} in "
            f"shape {sizes}, which has {count} elements"
        )
    places = indices.remainder(count) if count else indices
    found = []
    for size in reversed(sizes):
        found.append(places.remainder(max(size, 1)))
        places = places.floor_divide(max(size, 1))
    return tuple(reversed(found))


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Vandermonde's matrix of a vector: row i holds powers of x[i].

    Args:
        x: shape (n,), real or complex; integers give int64.
        N: the number of columns, n if left out.
        increasing: begin with the power 0 instead of N - 1.

    >>> tetragrad.vander(Tensor([2, 3]), 3)
    tensor([[4, 2, 1],
            [9, 3, 1]])

    Raises:
        ShapeError: x has not one dimension, or N is negative.
    """
    if x.ndim != 1 or (N is not None and N < 0):
        raise ShapeError(
            f"vander() of shape {x.shape} with {N} columns",
            hint="pass a vector and a number that is not negative",
        )
    from tetragrad.tensor.linalg.products import vander as matrix_of

    source = x.long() if x.dtype.is_integer or x.dtype.is_bool else x
    powers = matrix_of(source, N)
    return powers if increasing else powers.flip(1)


def scalar_tensor(
    value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of one number, without dimensions; float32 unless ``dtype`` says so.

    >>> tetragrad.scalar_tensor(2)
    tensor(2.)
    """
    wanted = default_float() if dtype is None else to_dtype(dtype)
    return TensorBase.tensor_class(value, wanted, device, requires_grad)


def result_type(first: Any, second: Any) -> Any:
    """The dtype that an operation on two tensors or numbers gives.

    >>> tetragrad.result_type(Tensor([1]), 1.0)
    float32
    """
    return common_dtype(first, second)
