"""Gather and scatter: elements chosen, or placed, by an index tensor.

There is no primitive for either. A gather is a one-hot contraction,
``Σ_n where(n == index, x[n], 0)``, and a scatter its transpose; the compiler recognises
both forms and loads, or adds, at the index.

Negative indices count from the end. Where the host knows the index (numbers, lists,
arrays, and tensors whose values are in its memory) one that is outside of its
dimension raises IndexingError. Of an index that is still to be computed, such an
element matches nothing: a gather gives 0 there and a scatter drops the element.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, IndexingError, ShapeError, TetragradError
from tetragrad.engine import capture
from tetragrad.engine import realize as engine
from tetragrad.engine.capture import user_line
from tetragrad.engine.memory import Memory
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce as reductions
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import Buffer, constant
from tetragrad.graph.markers import InRange, out_of_range
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, Shape
from tetragrad.tensor.arithmetic import in_place, minimum_nodes
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import by_parts
from tetragrad.tensor.joining import JoiningMethods, pad_dim
from tetragrad.tensor.promotion import (
    Operand,
    broadcast_shapes,
    combine,
    normal_dim,
    to_operand,
)
from tetragrad.tensor.reductions import drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

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
    spread_source = broadcast_to(_with_one(source, dim), shape)
    spread_index = broadcast_to(_with_one(index, dim + 1), shape)
    where = broadcast_to(positions(size, dim + 1, len(shape), index.dtype), shape)
    return chosen(ops.Eq(where, spread_index), spread_source, dim + 1)


def _with_one(node: Node, dim: int) -> Node:
    return graph.Reshape(node, (*node.shape[:dim], 1, *node.shape[dim:]))


def take_rows(source: Node, index: Node, dim: int) -> Node:
    """Replace dimension ``dim`` by the index's dimensions: whole rows are chosen."""
    size = source.shape[dim]
    before, after = source.shape[:dim], source.shape[dim + 1 :]
    count = index.numel
    shape = (*before, count, size, *after)
    flat = graph.Reshape(index, (*(1 for _ in before), count, 1, *(1 for _ in after)))
    where = broadcast_to(positions(size, dim + 1, len(shape), index.dtype), shape)
    spread = broadcast_to(_with_one(source, dim), shape)
    rows = chosen(ops.Eq(where, broadcast_to(flat, shape)), spread, dim + 1)
    return graph.Reshape(rows, (*before, *index.shape, *after))


def spread_for_scatter(
    index: Node, source: Node, size: int, dim: int
) -> tuple[Node, Node]:
    """For every target position and every element: whether it goes there, and it."""
    shape = (*index.shape[:dim], size, *index.shape[dim:])
    where = broadcast_to(positions(size, dim, len(shape), index.dtype), shape)
    hits = ops.Eq(where, broadcast_to(_with_one(index, dim), shape))
    return hits, broadcast_to(_with_one(source, dim), shape)


_SCATTERS = {
    "sum": reductions.Sum,
    "prod": reductions.Prod,
    "amax": reductions.Max,
    "amin": reductions.Min,
}


def scatter_reduce_nodes(
    op: type[reductions.Reduce], index: Node, source: Node, size: int, dim: int
) -> Node:
    """For every position along ``dim``, the elements whose index it is, combined."""
    hits, spread = spread_for_scatter(index, source, size, dim)
    neutral = full_like(spread, op.identity(spread.dtype))
    return total(op, ops.Where(hits, spread, neutral), dim + 1)


def scatter_last(target: Node, index: Node, source: Node, dim: int) -> Node:
    """Put elements at their index; of several with one index the last stays.

    For each position the largest element number with that index is found first, and
    then that element is gathered.
    """
    count = index.shape[dim]
    if not count or not index.numel:
        return target
    number = broadcast_to(positions(count, dim, index.ndim), index.shape)
    hits, spread = spread_for_scatter(index, number, target.shape[dim], dim)
    none = full_like(spread, -1)
    last = total(reductions.Max, ops.Where(hits, spread, none), dim + 1)
    values = take_along(source, last, dim)
    is_hit = ops.Not(ops.Lt(last, full_like(last, 0)))
    return _over(target, is_hit, values, dim)


def _over(target: Node, is_hit: Node, values: Node, dim: int) -> Node:
    """Values over the target, which may be larger in the other dimensions."""
    for axis in range(target.ndim):
        missing = target.shape[axis] - values.shape[axis]
        if missing:
            is_hit = pad_dim(is_hit, axis, 0, missing, False)
            values = pad_dim(values, axis, 0, missing)
    return ops.Where(is_hit, values, target)


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
    """Methods that choose or place elements by an index tensor."""

    __slots__ = ()

    @by_parts
    def gather(self, dim: int, index: TensorBase) -> Tensor:
        """For each element of the index, the element at that place along ``dim``.

        >>> Tensor([[1, 2], [3, 4]]).gather(1, Tensor([[1], [0]]))
        tensor([[2],
                [3]])
        """
        if not self.ndim:
            return self.reshape(1).gather(0, index.reshape(1)).reshape(())  # type: ignore[attr-defined]
        dim = check_index("gather()", self, dim, index)
        places = wrap_negative(index.node, self.shape[dim], dim)
        return self.result(take_along(self.node, places, dim))

    def take_along_dim(self, indices: Tensor, dim: int | None = None) -> Tensor:
        """Like ``gather``; the other dimensions broadcast."""
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
    def index_select(self, dim: int, index: TensorBase) -> Tensor:
        """The slices of a dimension that a vector of indices names.

        >>> Tensor([[1, 2], [3, 4]]).index_select(1, Tensor([1, 1, 0]))
        tensor([[2, 2, 1],
                [4, 4, 3]])
        """
        if index.ndim > 1:
            raise ShapeError(f"index_select() with an index of shape {index.shape}")
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

    @by_parts
    def scatter_add(self, dim: int, index: TensorBase, src: TensorBase) -> Tensor:
        """self with each element of ``src`` added at its index along ``dim``.

        >>> Tensor([0, 0, 0]).scatter_add(0, Tensor([1, 1]), Tensor([5, 6]))
        tensor([ 0, 11,  0])
        """
        return self._scatter("scatter_add()", dim, index, src, "sum", True)

    def scatter_reduce(
        self,
        dim: int,
        index: TensorBase,
        src: TensorBase,
        reduce: str,
        *,
        include_self: bool = True,
    ) -> Tensor:
        """Elements with one index combined by 'sum', 'prod', 'mean', 'amax', 'amin'."""
        if reduce == "mean":
            return self._scatter_mean(dim, index, src, include_self)
        if reduce not in _SCATTERS:
            raise TetragradError(
                f"scatter_reduce() by {reduce!r}",
                hint=f"use one of {sorted([*_SCATTERS, 'mean'])}",
            )
        return self._scatter("scatter_reduce()", dim, index, src, reduce, include_self)

    def _scatter(
        self,
        name: str,
        dim: int,
        index: TensorBase,
        src: TensorBase,
        how: str,
        include_self: bool,
    ) -> Tensor:
        dim = check_index(name, self, dim, index)
        op = _SCATTERS[how]
        own = self.node
        source = _fitted(name, src, index, own)
        places = wrap_negative(index.node, own.shape[dim], dim)
        combined = scatter_reduce_nodes(op, places, source, own.shape[dim], dim)
        hits = scatter_reduce_nodes(
            reductions.Max, places, _true(places), own.shape[dim], dim
        )
        for axis in range(own.ndim):
            missing = own.shape[axis] - combined.shape[axis]
            neutral = op.identity(own.dtype)
            combined = pad_dim(combined, axis, 0, missing, neutral)
            hits = pad_dim(hits, axis, 0, missing, False)
        if include_self:
            return combine(_COMBINE[how](own, combined), self, src)
        return combine(ops.Where(hits, combined, own), self, src)

    def _scatter_mean(
        self, dim: int, index: TensorBase, src: TensorBase, include_self: bool
    ) -> Tensor:
        one = self.tensor_class.from_node(full_like(index.node, 1))
        counted = one.to(self.dtype)
        base = self.full_like(1 if include_self else 0)
        count = base.scatter_add(dim, index, counted)
        summed = self._scatter("scatter", dim, index, src, "sum", include_self)
        return summed / count.clamp(min=1)

    @by_parts
    def scatter(
        self, dim: int, index: TensorBase, src: Any = None, *, value: Any = None
    ) -> Tensor:
        """self with each element of ``src`` (or one value) put at its index.

        Of several elements with one index the last one stays.

        >>> Tensor([0, 0, 0]).scatter(0, Tensor([2, 0]), Tensor([5, 6]))
        tensor([6, 0, 5])
        """
        dim = check_index("scatter()", self, dim, index)
        given = to_operand(src if value is None else value)
        own = self.node
        if isinstance(given, TensorBase):
            source = _fitted("scatter()", given, index, own)
        else:
            source = broadcast_to(constant(given, own.dtype), index.shape)
        places = wrap_negative(index.node, own.shape[dim], dim)
        return combine(scatter_last(own, places, source, dim), self, given)

    def index_add(
        self, dim: int, index: TensorBase, source: Tensor, *, alpha: float = 1
    ) -> Tensor:
        """self with slices of ``source`` added at the indices of a dimension.

        >>> Tensor([0, 0]).index_add(0, Tensor([1, 1]), Tensor([5, 6]))
        tensor([ 0, 11])
        """
        scaled = source if alpha == 1 else source * alpha
        return self.scatter_add(dim, self._spread_index(dim, index, source), scaled)

    def index_copy(self, dim: int, index: TensorBase, source: Tensor) -> Tensor:
        """self with slices of ``source`` at the indices of a dimension."""
        return self.scatter(dim, self._spread_index(dim, index, source), source)

    def index_fill(self, dim: int, index: TensorBase, value: Operand) -> Tensor:
        """self with one value at the indices of a dimension."""
        dim = normal_dim(dim, self.ndim)
        places = wrap_negative(index.node, self.shape[dim], dim)
        size = self.shape[dim]
        hits = scatter_reduce_nodes(reductions.Max, places, _true(places), size, 0)
        shape = tuple(size if axis == dim else 1 for axis in range(self.ndim))
        mask = self.tensor_class.from_node(graph.Reshape(hits, shape))
        return self.masked_fill(mask, value)

    def _spread_index(self, dim: int, index: TensorBase, source: Tensor) -> Tensor:
        dim = normal_dim(dim, self.ndim)
        count = index.node.numel
        if source.shape[dim : dim + 1] != (count,):
            raise ShapeError(
                f"{count} indices for a source of shape {source.shape} along "
                f"dimension {dim}"
            )
        shape = tuple(count if axis == dim else 1 for axis in range(self.ndim))
        spread = broadcast_to(graph.Reshape(index.node, shape), source.shape)
        return self.tensor_class.from_node(spread)

    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where the mask holds, as a vector; counts on the host.

        >>> Tensor([1, 2, 3]).masked_select(Tensor([True, False, True]))
        tensor([1, 3])
        """
        shape = broadcast_shapes(self.shape, mask.shape)
        found = np.flatnonzero(mask.expand(shape).read())
        return self.expand(shape).ravel().index_select(0, self.tensor_class(found))

    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """Where the mask holds, the next element of ``source``; counts on the host."""
        spread = mask.expand(self.shape)
        found = np.flatnonzero(spread.read())
        if source.numel() < len(found):
            raise ShapeError(
                f"masked_scatter(): {len(found)} places for {source.numel()} elements"
            )
        flat, values = self.ravel(), source.ravel().narrow(0, 0, len(found))
        index = self.tensor_class(found)
        return flat.scatter(0, index, values).reshape(self.shape)

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """The indices of the elements that are not zero; counts on the host.

        >>> Tensor([0, 7, 8]).nonzero()
        tensor([[1],
                [2]])
        """
        found = np.nonzero(self.read()) if self.ndim else np.nonzero(self.read()[None])
        columns = [self.tensor_class(column.astype(np.int64)) for column in found]
        if as_tuple:
            return tuple(columns)
        rows = np.stack(found, 1) if self.ndim else np.zeros((len(found[0]), 0))
        return self.tensor_class(rows.astype(np.int64))

    argwhere = nonzero

    def one_hot(self, num_classes: int = -1) -> Tensor:
        """1 at the index that each element names, 0 elsewhere; a new last dimension.

        >>> Tensor([0, 2]).one_hot(3)
        tensor([[1, 0, 0],
                [0, 0, 1]])
        """
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
        spread = broadcast_to(_with_one(self.node, self.ndim), shape)
        hits = ops.Eq(spread, broadcast_to(where, shape))
        return self.tensor_class.from_node(ops.Cast(hits, dtypes.int64))

    scatter_ = in_place(scatter)
    scatter_add_ = in_place(scatter_add)
    scatter_reduce_ = in_place(scatter_reduce)
    index_add_ = in_place(index_add)
    index_copy_ = in_place(index_copy)
    index_fill_ = in_place(index_fill)
    masked_scatter_ = in_place(masked_scatter)


def _true(node: Node) -> Node:
    return broadcast_to(constant(True, dtypes.bool_), node.shape)


_COMBINE: dict[str, Callable[[Node, Node], Node]] = {
    "sum": ops.Add,
    "prod": ops.Mul,
    "amax": ops.Maximum,
    "amin": minimum_nodes,
}


def _fitted(name: str, source: TensorBase, index: TensorBase, own: Node) -> Node:
    """The part of the source that the index covers, in the target's dtype."""
    if not isinstance(source, TensorBase) or source.dtype is not own.dtype:
        given = getattr(source, "dtype", type(source).__name__)
        raise DTypeError(
            f"{name} of {given} into {own.dtype}", hint="convert the source first"
        )
    fits = source.ndim == index.ndim and all(
        have >= want for have, want in zip(source.shape, index.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{name} with an index of shape {index.shape} and a source of shape "
            f"{source.shape}",
            hint="the source must be at least as large as the index",
        )
    return graph.Shrink(source.node, tuple((0, size) for size in index.shape))


def known_elements(index: Node) -> np.ndarray | None:
    """The elements of an index that are in the host's memory now, in any shape."""
    if capture.active() is not None or not index.numel:
        return None
    while isinstance(index, graph.Reshape | graph.Expand | graph.Permute):
        index = index.sources[0]
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
