"""Scatter: elements placed by an index tensor, the transpose of a gather.

There is no primitive. A scatter is ``Σ_m where(n == index[m], x[m], 0)``; the compiler
recognises it and adds at the index. Indices are those of ``gathering.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce as reductions
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.arithmetic import in_place
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import by_parts
from tetragrad.tensor.formulas.arithmetic import minimum_nodes
from tetragrad.tensor.gathering import (
    GatheringMethods,
    check_index,
    of_vectors,
    take_along,
    total,
    with_one,
    wrap_negative,
)
from tetragrad.tensor.joining import pad_dim
from tetragrad.tensor.promotion import (
    Operand,
    broadcast_shapes,
    combine,
    normal_dim,
    to_operand,
)
from tetragrad.tensor.reductions import positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def spread_for_scatter(
    index: Node, source: Node, size: int, dim: int
) -> tuple[Node, Node]:
    """For every target position and every element: whether it goes there, and it."""
    shape = (*index.shape[:dim], size, *index.shape[dim:])
    where = broadcast_to(positions(size, dim, len(shape), index.dtype), shape)
    hits = ops.Eq(where, broadcast_to(with_one(index, dim), shape))
    return hits, broadcast_to(with_one(source, dim), shape)


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
    neutral = op.identity(spread.dtype)
    if not index.shape[dim]:
        # Nothing goes anywhere, and a maximum of nothing has no value.
        shape = (*index.shape[:dim], size, *index.shape[dim + 1 :])
        return broadcast_to(constant(neutral, spread.dtype), shape)
    masked = ops.Where(hits, spread, full_like(spread, neutral))
    return total(op, masked, dim + 1)


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


class ScatteringMethods(GatheringMethods):
    """Methods that place elements by an index tensor."""

    __slots__ = ()

    @by_parts
    @of_vectors
    def scatter_add(self, dim: int, index: TensorBase, src: TensorBase) -> Tensor:
        """self with each element of ``src`` added at its index along ``dim``.

        >>> Tensor([0, 0, 0]).scatter_add(0, Tensor([1, 1]), Tensor([5, 6]))
        tensor([ 0, 11,  0])
        """
        return self._scatter("scatter_add()", dim, index, src, "sum", True)

    @of_vectors
    def scatter_reduce(
        self,
        dim: int,
        index: TensorBase,
        src: TensorBase,
        reduce: str,
        *,
        include_self: bool = True,
    ) -> Tensor:
        """Elements with one index combined by 'sum', 'prod', 'mean', 'amax', 'amin'.

        >>> x = Tensor([1.0, 2.0])
        >>> x.scatter_reduce(0, Tensor([0, 0]), Tensor([5.0, 7.0]), "amax")
        tensor([7., 2.])
        """
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
        if not index.node.numel:
            return self.result(self.node)
        dim = check_index(name, self, dim, index)
        # Bools add up to whether any holds, and multiply to whether all do.
        how = _OF_BOOLS.get(how, how) if self.dtype.is_bool else how
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
        if not self.dtype.is_floating_point:
            return summed.floor_divide(count.clamp(min=1))
        return summed / count.clamp(min=1)

    @by_parts
    @of_vectors
    def scatter(
        self,
        dim: int,
        index: TensorBase,
        src: Any = None,
        *,
        value: Any = None,
        reduce: str | None = None,
    ) -> Tensor:
        """self with each element of ``src`` (or one value) put at its index.

        Of several elements with one index the last one stays; with ``reduce``, 'add'
        or 'multiply', all of them are combined with self.

        >>> Tensor([0, 0, 0]).scatter(0, Tensor([2, 0]), Tensor([5, 6]))
        tensor([6, 0, 5])
        """
        if not index.node.numel:
            return self.result(self.node)
        dim = check_index("scatter()", self, dim, index)
        given = to_operand(src if value is None else value)
        own = self.node
        if reduce is not None:
            return self._scatter_with(reduce, dim, index, given)
        if isinstance(given, TensorBase):
            source = _fitted("scatter()", given, index, own)
        else:
            source = broadcast_to(constant(given, own.dtype), index.shape)
        places = wrap_negative(index.node, own.shape[dim], dim)
        return combine(scatter_last(own, places, source, dim), self, given)

    def _scatter_with(
        self, reduce: str, dim: int, index: TensorBase, given: Any
    ) -> Tensor:
        names = {"add": "sum", "multiply": "prod"}
        if reduce not in names:
            raise TetragradError(
                f"scatter() with reduce={reduce!r}", hint="use 'add' or 'multiply'"
            )
        if not isinstance(given, TensorBase):
            spread = broadcast_to(constant(given, self.dtype), index.shape)
            given = self.tensor_class.from_node(spread)
        return self._scatter("scatter()", dim, index, given, names[reduce], True)

    @of_vectors
    def index_add(
        self, dim: int, index: TensorBase, source: Tensor, *, alpha: float = 1
    ) -> Tensor:
        """self with slices of ``source`` added at the indices of a dimension.

        >>> Tensor([0, 0]).index_add(0, Tensor([1, 1]), Tensor([5, 6]))
        tensor([ 0, 11])
        """
        # Products of bools are bools, as PyTorch's are here.
        scaled = source if alpha == 1 else (source * alpha).to(source.dtype)
        return self.scatter_add(dim, self._spread_index(dim, index, source), scaled)

    @of_vectors
    def index_copy(self, dim: int, index: TensorBase, source: Tensor) -> Tensor:
        """self with slices of ``source`` at the indices of a dimension.

        >>> Tensor([1, 2, 3]).index_copy(0, Tensor([0, 2]), Tensor([7, 9]))
        tensor([7, 2, 9])
        """
        return self.scatter(dim, self._spread_index(dim, index, source), source)

    @of_vectors
    def index_fill(self, dim: int, index: TensorBase, value: Operand) -> Tensor:
        """self with one value at the indices of a dimension.

        >>> Tensor([1, 2, 3]).index_fill(0, Tensor([0, 2]), 7)
        tensor([7, 2, 7])
        """
        dim = normal_dim(dim, self.ndim)
        places = wrap_negative(index.node, self.shape[dim], dim)
        size = self.shape[dim]
        hits = scatter_reduce_nodes(reductions.Max, places, _true(places), size, 0)
        shape = tuple(size if axis == dim else 1 for axis in range(self.ndim))
        mask = self.tensor_class.from_node(graph.Reshape(hits, shape))
        return self.masked_fill(mask, value)

    @of_vectors
    def index_reduce(
        self,
        dim: int,
        index: TensorBase,
        source: Tensor,
        reduce: str,
        *,
        include_self: bool = True,
    ) -> Tensor:
        """self with slices of ``source`` combined at the indices of a dimension.

        ``reduce`` is 'prod', 'mean', 'amax' or 'amin'; without ``include_self`` only
        the slices count where there are any.

        >>> Tensor([2, 3]).index_reduce(0, Tensor([1, 1]), Tensor([5, 6]), 'prod')
        tensor([ 2, 90])
        """
        places = self._spread_index(dim, index, source)
        return self.scatter_reduce(
            dim, places, source, reduce, include_self=include_self
        )

    def put(
        self, index: TensorBase, source: TensorBase, accumulate: bool = False
    ) -> Tensor:
        """Elements of ``source`` at places in row-major order; or added there.

        >>> Tensor([[1, 2], [3, 4]]).put(Tensor([1, 2]), Tensor([8, 9]))
        tensor([[1, 8],
                [9, 4]])
        """
        flat: Any = self.ravel()
        places, values = (entry.reshape(-1) for entry in (index, source))  # type: ignore[attr-defined]
        put = flat.scatter_add if accumulate else flat.scatter
        return put(0, places, values).reshape(self.shape)

    def _spread_index(self, dim: int, index: TensorBase, source: Tensor) -> Tensor:
        dim = normal_dim(dim, self.ndim)
        count = index.node.numel
        if source.shape[dim : dim + 1] != (count,):
            raise ShapeError(
                f"{count} indices for a source of shape {source.shape} along "
                f"dimension {dim}",
                hint="the index has one place for each slice of the source",
            )
        shape = tuple(count if axis == dim else 1 for axis in range(self.ndim))
        spread = broadcast_to(graph.Reshape(index.node, shape), source.shape)
        return self.tensor_class.from_node(spread)

    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """Where the mask holds, the next element of ``source``; counts on the host.

        >>> mask = Tensor([True, False, True])
        >>> Tensor([1, 2, 3]).masked_scatter(mask, Tensor([7, 9]))
        tensor([7, 2, 9])
        """
        shape = broadcast_shapes(self.shape, mask.shape)
        if shape != self.shape:
            return self.expand(shape).masked_scatter(mask, source)
        spread = mask.expand(shape)
        found = np.flatnonzero(spread.read())
        if source.numel() < len(found):
            raise ShapeError(
                f"masked_scatter(): {len(found)} places for {source.numel()} elements",
                hint="give the source an element for each True of the mask",
            )
        flat, values = self.ravel(), source.ravel().narrow(0, 0, len(found))
        index = self.tensor_class(found)
        return flat.scatter(0, index, values).reshape(self.shape)

    scatter_ = in_place(scatter)
    scatter_add_ = in_place(scatter_add)
    scatter_reduce_ = in_place(scatter_reduce)
    index_add_ = in_place(index_add)
    index_copy_ = in_place(index_copy)
    index_fill_ = in_place(index_fill)
    masked_scatter_ = in_place(masked_scatter)
    index_reduce_ = in_place(index_reduce)
    put_ = in_place(put)


def _true(node: Node) -> Node:
    return broadcast_to(constant(True, dtypes.bool_), node.shape)


_COMBINE: dict[str, Callable[[Node, Node], Node]] = {
    "sum": ops.Add,
    "prod": ops.Mul,
    "amax": ops.Maximum,
    "amin": minimum_nodes,
}

_OF_BOOLS = {"sum": "amax", "prod": "amin"}


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
