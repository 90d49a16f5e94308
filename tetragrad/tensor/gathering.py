"""Gather: elements chosen by an index tensor.

There is no primitive. A gather is a one-hot contraction,
``Σ_n where(n == index, x[n], 0)``; the compiler recognises it and loads at the index.

Negative indices count from the end. Where the host knows the index (numbers, lists,
arrays, and tensors whose values are in its memory) one that is outside of its
dimension raises IndexingError. Of an index that is still to be computed, such an
element matches nothing: a gather gives 0 there and a scatter drops the element.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, IndexingError, ShapeError
from tetragrad.engine import capture
from tetragrad.engine import realize as engine
from tetragrad.engine.capture import user_line
from tetragrad.engine.memory import Memory
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce as reductions
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import Buffer, Constant, constant
from tetragrad.graph.markers import InRange, out_of_range
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, Shape
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import by_parts
from tetragrad.tensor.joining import JoiningMethods
from tetragrad.tensor.promotion import (
    broadcast_shapes,
    normal_dim,
)
from tetragrad.tensor.reductions import drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: How many flat indices are taken apart together.
PLACES = 1 << 15

#: Index dtypes that hold every position of a dimension; narrower ones are widened.
_WIDE = (dtypes.int32, dtypes.int64)


def wrap_negative(index: Node, size: int, dim: int | None = None) -> Node:
    """Indices from the front, in a dtype that holds every position.

    Raises:
        IndexingError: an index that the host knows is outside of the dimension.
    """
    if not index.dtype.is_integer:
        raise DTypeError(
            f"an index tensor of {index.dtype}",
            hint="indices are integers (or bools, as a mask); write x.long()",
        )
    known = known_elements(index)
    if known is not None:
        check_known_indices(known, size, dim)
    index = index if index.dtype in _WIDE else ops.Cast(index, dtypes.int64)
    if known is None and index.numel:
        index = InRange(index, _worst(index, size), size, _place(dim), user_line())
    is_negative = ops.Lt(index, full_like(index, 0))
    return ops.Where(is_negative, ops.Add(index, full_like(index, size)), index)


def _worst(index: Node, size: int) -> Node:
    """The element that is out of range if any is."""
    everywhere = tuple(range(index.ndim))
    highest = graph.Reshape(reductions.Max(index, everywhere), ())
    lowest = graph.Reshape(reductions.Min(index, everywhere), ())
    is_inside = ops.Lt(highest, full_like(highest, size))
    return ops.Where(is_inside, lowest, highest)


def _place(dim: int | None) -> str:
    return "the tensor" if dim is None else f"dimension {dim}"


def total(op: type[reductions.Reduce], node: Node, dim: int) -> Node:
    """Reduce one dimension and drop it."""
    return drop_dims(op(node, (dim,)), (dim,))


def chosen(is_chosen: Node, body: Node, dim: int) -> Node:
    """The one element along ``dim`` that is chosen, or zero."""
    masked = ops.Where(is_chosen, body, full_like(body, 0))
    op = reductions.Max if body.dtype.is_bool else reductions.Sum
    if not masked.shape[dim]:
        return broadcast_to(constant(0, body.dtype), _without(masked.shape, dim))
    return total(op, masked, dim)


def _without(shape: Shape, dim: int) -> Shape:
    return (*shape[:dim], *shape[dim + 1 :])


def take_along(source: Node, index: Node, dim: int) -> Node:
    """Gather with an index of the source's number of dimensions, from the front."""
    size = source.shape[dim]
    # Other dimensions of the index may be smaller than the source's.
    bounds = tuple(
        (0, have if axis == dim else want)
        for axis, (have, want) in enumerate(zip(source.shape, index.shape, strict=True))
    )
    source = graph.Shrink(source, bounds)
    shape = (*index.shape[: dim + 1], size, *index.shape[dim + 1 :])
    spread_source = broadcast_to(with_one(source, dim), shape)
    spread_index = broadcast_to(with_one(index, dim + 1), shape)
    where = broadcast_to(positions(size, dim + 1, len(shape), index.dtype), shape)
    return chosen(ops.Eq(where, spread_index), spread_source, dim + 1)


def with_one(node: Node, dim: int) -> Node:
    return graph.Reshape(node, (*node.shape[:dim], 1, *node.shape[dim:]))


def take_rows(source: Node, index: Node, dim: int) -> Node:
    """Replace dimension ``dim`` by the index's dimensions: whole rows are chosen."""
    size = source.shape[dim]
    before, after = source.shape[:dim], source.shape[dim + 1 :]
    count = index.numel
    shape = (*before, count, size, *after)
    flat = graph.Reshape(index, (*(1 for _ in before), count, 1, *(1 for _ in after)))
    where = broadcast_to(positions(size, dim + 1, len(shape), index.dtype), shape)
    spread = broadcast_to(with_one(source, dim), shape)
    rows = chosen(ops.Eq(where, broadcast_to(flat, shape)), spread, dim + 1)
    return graph.Reshape(rows, (*before, *index.shape, *after))


def of_vectors(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method with (dim, index, …) that takes a number for a vector of one element."""

    @functools.wraps(method)
    def lifted(self: Any, dim: int, index: Any, *args: Any, **kwargs: Any) -> Any:
        if self.ndim and index.ndim:
            return method(self, dim, index, *args, **kwargs)

        def widen(value: Any) -> Any:
            is_number = isinstance(value, TensorBase) and not value.ndim
            return value.reshape(1) if is_number else value

        rest = [widen(value) for value in args]
        options = {name: widen(value) for name, value in kwargs.items()}
        found = method(widen(self), dim, widen(index), *rest, **options)
        return found.reshape(()) if found.shape == (1,) and not self.ndim else found

    return lifted


def check_index(name: str, tensor: TensorBase, dim: int, index: TensorBase) -> int:
    """The dimension from the front, if the index fits the tensor."""
    dim = normal_dim(dim, tensor.ndim)
    shape = index.shape
    fits = len(shape) == tensor.ndim and all(
        want <= have or axis == dim
        for axis, (want, have) in enumerate(zip(shape, tensor.shape, strict=False))
    )
    if not fits:
        raise ShapeError(
            f"{name} of shape {tensor.shape} with an index of shape {shape}",
            hint=f"the index needs {tensor.ndim} dimensions, none larger than the "
            f"tensor's except dimension {dim}",
        )
    return dim


class GatheringMethods(JoiningMethods):
    """Methods that choose elements by an index tensor."""

    __slots__ = ()

    @by_parts
    def gather(self, dim: int, index: TensorBase) -> Tensor:
        """For each element of the index, the element at that place along ``dim``.

        >>> Tensor([[1, 2], [3, 4]]).gather(1, Tensor([[1], [0]]))
        tensor([[2],
                [3]])
        """
        if not index.node.numel:
            return self.result(broadcast_to(constant(0, self.dtype), index.shape))
        if not (self.ndim and index.ndim):
            vector: Any = self.reshape(-1)
            return vector.gather(dim, index.reshape(-1)).reshape(index.shape)  # type: ignore[attr-defined]
        dim = check_index("gather()", self, dim, index)
        places = wrap_negative(index.node, self.shape[dim], dim)
        return self.result(take_along(self.node, places, dim))

    @also_axis
    def take_along_dim(self, indices: Tensor, dim: int | None = None) -> Tensor:
        """Like ``gather``; the other dimensions broadcast.

        >>> Tensor([[3, 1], [2, 4]]).take_along_dim(Tensor([[1], [0]]), 1)
        tensor([[1],
                [2]])
        """
        if dim is None:
            return self.ravel().gather(0, indices.ravel())
        dim = normal_dim(dim, self.ndim)
        own, other = list(self.shape), list(indices.shape)
        own[dim] = other[dim] = 1
        shape = list(broadcast_shapes(tuple(own), tuple(other)))
        shape[dim] = indices.shape[dim]
        spread = list(shape)
        spread[dim] = self.shape[dim]
        return self.expand(spread).gather(dim, indices.expand(shape))

    @by_parts
    @of_vectors
    @also_axis
    def index_select(self, dim: int, index: TensorBase) -> Tensor:
        """The slices of a dimension that a vector of indices names.

        >>> Tensor([[1, 2], [3, 4]]).index_select(1, Tensor([1, 1, 0]))
        tensor([[2, 2, 1],
                [4, 4, 3]])
        """
        if index.ndim > 1:
            raise ShapeError(
                f"index_select() with an index of shape {index.shape}",
                hint="the index is a vector; x[index] takes any shape",
            )
        dim = normal_dim(dim, self.ndim)
        flat = graph.Reshape(index.node, (index.node.numel,))
        places = wrap_negative(flat, self.shape[dim], dim)
        return self.result(take_rows(self.node, places, dim))

    @by_parts
    def take(self, index: TensorBase) -> Tensor:
        """Elements by their place in row-major order.

        >>> Tensor([[1, 2], [3, 4]]).take(Tensor([0, 3]))
        tensor([1, 4])
        """
        places = wrap_negative(index.node, self.numel())
        return self.result(take_rows(self.ravel().node, places, 0))

    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where the mask holds, as a vector; counts on the host.

        >>> Tensor([1, 2, 3]).masked_select(Tensor([True, False, True]))
        tensor([1, 3])
        """
        shape = broadcast_shapes(self.shape, mask.shape)
        found = np.flatnonzero(mask.expand(shape).read())
        return self.expand(shape).ravel().index_select(0, self.tensor_class(found))

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """The indices of the elements that are not zero; counts on the host.

        >>> Tensor([0, 7, 8]).nonzero()
        tensor([[1],
                [2]])
        """
        rows = places_of(np.flatnonzero(self.read()), self.shape)
        if not as_tuple:
            return self.tensor_class(rows)
        # PyTorch takes a number for a vector of one element here.
        columns = rows.T if self.ndim else np.zeros((1, len(rows)), np.int64)
        return tuple(self.tensor_class(column.copy()) for column in columns)

    argwhere = nonzero

    def one_hot(self, num_classes: int = -1) -> Tensor:
        """1 at the index that each element names, 0 elsewhere; a new last dimension.

        >>> Tensor([0, 2]).one_hot(3)
        tensor([[1, 0, 0],
                [0, 0, 1]])
        """
        if not self.dtype.is_integer:
            raise DTypeError(
                f"one_hot() of {self.dtype}", hint="classes are integers: x.long()"
            )
        if num_classes < 0:
            num_classes = int(self.read().max()) + 1
        known = known_elements(self.node)
        if known is not None and not 0 <= int(known.min()) <= known.max() < num_classes:
            raise IndexingError(
                f"one_hot() of values from {known.min()} to {known.max()} with "
                f"{num_classes} classes",
                hint=f"values are between 0 and {num_classes - 1}",
            )
        shape = (*self.shape, num_classes)
        where = positions(num_classes, self.ndim, self.ndim + 1, self.dtype)
        spread = broadcast_to(with_one(self.node, self.ndim), shape)
        hits = ops.Eq(spread, broadcast_to(where, shape))
        return self.tensor_class.from_node(ops.Cast(hits, dtypes.int64))


def places_of(flat: np.ndarray, shape: Shape) -> np.ndarray:
    """The index in each dimension, as a row for each flat index.

    A part at a time, which stays in the cache, and with 32 bits where they are enough:
    the division of 64 takes four times as long.
    """
    rows = np.empty((len(flat), len(shape)), np.int64)
    short = np.uint32 if math.prod(shape) < 1 << 32 else np.int64
    for start in range(0, len(flat), PLACES):
        rest: Any = flat[start : start + PLACES].astype(short)
        part = rows[start : start + PLACES]
        for dim in range(len(shape) - 1, 0, -1):
            above = rest // short(shape[dim])
            part[:, dim] = rest - above * short(shape[dim])
            rest = above
        if shape:
            part[:, 0] = rest
    return rows


def known_elements(index: Node) -> np.ndarray | None:
    """The elements of an index that the host can see now, in any shape."""
    if not index.numel:
        return None
    while isinstance(index, graph.Reshape | graph.Expand | graph.Permute):
        index = index.sources[0]
    if isinstance(index, Constant):
        return index.array
    if capture.active() is not None:
        return None
    found = index if isinstance(index, Buffer) else engine.known_values().get(index)
    if found is None or not isinstance(found.memory, Memory):
        return None
    elements: np.ndarray = found.memory.view(found.shape, found.dtype)
    return elements


def check_known_indices(array: np.ndarray, size: int, dim: int | None) -> None:
    """Raise IndexingError for indices that the host knows to be out of range."""
    if not array.size or (-size <= int(array.min()) and int(array.max()) < size):
        return
    wrong = (array < -size) | (array >= size)
    if wrong.any():
        value = int(np.asarray(array)[wrong].flat[0])
        raise out_of_range(value, size, _place(dim))
