"""Order: sorting, selection of the largest, and counting of values.

Values are compared as integer keys of the same order, so that NaN is above all others
and equal values keep their order (sorting is stable).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import (
    DTypeError,
    IndexingError,
    ShapeError,
    TetragradError,
)
from tetragrad.engine import realize as engine
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.cumulative import CumulativeMethods
from tetragrad.tensor.formulas.arithmetic import not_above_nodes
from tetragrad.tensor.gathering import take_along, take_rows
from tetragrad.tensor.ordering import (
    kth_largest_key,
    largest_places,
    sorted_order,
    unsigned_key,
)
from tetragrad.tensor.promotion import broadcast_shapes, common_dtype, normal_dim
from tetragrad.tensor.reductions import ValuesAndIndices, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class SortingMethods(CumulativeMethods):
    """Methods that put in order, select and count."""

    __slots__ = ()

    def _dim_last(self, dim: int) -> tuple[Tensor, int]:
        dim = normal_dim(dim, self.ndim)
        moved = self.reshape(1) if not self.ndim else self.movedim(dim, -1)
        return moved, dim

    def _from_last(self, tensor: Tensor, dim: int) -> Tensor:
        return tensor.movedim(-1, dim) if self.ndim else tensor.reshape(())

    @also_axis
    def sort(
        self, dim: int = -1, descending: bool = False, stable: bool = True
    ) -> ValuesAndIndices:
        """The elements of a dimension in order, and where they were; always stable.

        >>> Tensor([3, 1, 2]).sort().values
        tensor([1, 2, 3])
        """
        moved, dim = self._dim_last(dim)
        key = unsigned_key(moved.node)
        order = sorted_order(ops.Not(key) if descending else key)
        values = moved.result(take_along(moved.node, order, moved.ndim - 1))
        indices = moved.result(order)
        return ValuesAndIndices(
            self._from_last(values, dim), self._from_last(indices, dim)
        )

    @also_axis
    def argsort(
        self, dim: int = -1, descending: bool = False, stable: bool = True
    ) -> Tensor:
        """Where the elements in order are.

        >>> Tensor([3, 1, 2]).argsort()
        tensor([1, 2, 0])
        """
        return self.sort(dim, descending, stable).indices

    def msort(self) -> Tensor:
        """The elements of the first dimension in order.

        >>> Tensor([3, 1, 2]).msort()
        tensor([1, 2, 3])
        """
        return self.sort(0).values

    @also_axis
    def topk(
        self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
    ) -> ValuesAndIndices:
        """The k largest (or smallest) elements of a dimension, and where they are.

        They are sorted, whether ``sorted`` is asked for or not; of equal elements
        the first are taken.

        >>> Tensor([3, 1, 2]).topk(2)
        ValuesAndIndices(values=tensor([3, 2]), indices=tensor([0, 2]))
        """
        moved, dim = self._dim_last(dim)
        size = moved.shape[-1]
        if not 0 <= k <= size:
            raise ShapeError(
                f"topk({k}) of a dimension with {size} elements",
                hint=f"k is between 0 and {size}",
            )
        if k == 0:
            empty = moved.cut(moved.ndim - 1, 0, 0)
            return ValuesAndIndices(
                self._from_last(empty, dim), self._from_last(empty.long(), dim)
            )
        key = unsigned_key(moved.node)
        key = key if largest else ops.Not(key)
        places = largest_places(key, k)
        values = moved.result(take_along(moved.node, places, moved.ndim - 1))
        return ValuesAndIndices(
            self._from_last(values, dim), self._from_last(moved.result(places), dim)
        )

    @also_axis
    def kthvalue(
        self, k: int, dim: int = -1, keepdim: bool = False
    ) -> ValuesAndIndices:
        """The k-th smallest element of a dimension (from 1), and where it is first.

        >>> Tensor([3, 1, 2]).kthvalue(2).values
        tensor(2)
        """
        moved, dim = self._dim_last(dim)
        size = moved.shape[-1]
        if not 1 <= k <= size:
            raise ShapeError(
                f"kthvalue({k}) of a dimension with {size} elements",
                hint=f"k is between 1 and {size}",
            )
        key = ops.Not(unsigned_key(moved.node))
        threshold = broadcast_to(kth_largest_key(key, k), key.shape)
        last = key.ndim - 1
        place = broadcast_to(positions(size, last, key.ndim), key.shape)
        found = ops.Where(ops.Eq(key, threshold), place, full_like(place, size))
        places = reduce.Min(found, (last,))
        values = moved.result(take_along(moved.node, places, last))
        indices = moved.result(places)
        pair = self._from_last(values, dim), self._from_last(indices, dim)
        if keepdim or not self.ndim:
            return ValuesAndIndices(*pair)
        return ValuesAndIndices(*(entry.squeeze(dim) for entry in pair))

    @also_axis
    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The middle element: the lower of two. With ``dim``, (values, indices).

        >>> Tensor([4.0, 1.0, 3.0, 2.0]).median()
        tensor(2.)
        """
        if dim is None:
            return self.ravel().median(0).values
        size = self.shape[normal_dim(dim, self.ndim)] if self.ndim else 1
        if not size:
            raise ShapeError(f"median() of nothing: shape {self.shape}")
        middle = self.kthvalue((size + 1) // 2, dim, True)
        if not self.ndim:
            return middle
        places = middle.indices
        if self.dtype.is_floating_point:
            # NaN anywhere makes the median NaN.
            is_nan = self.isnan()
            first = is_nan.long().argmax(dim, True)
            places = first.where(is_nan.any(dim, True), places)
        values = self.gather(dim, places)
        if keepdim:
            return ValuesAndIndices(values, places)
        return ValuesAndIndices(values.squeeze(dim), places.squeeze(dim))

    @also_axis
    def quantile(
        self,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> Tensor:
        """The value below which a share q of the elements lies.

        Between two elements ``interpolation`` chooses: 'linear', 'lower', 'higher',
        'nearest' or 'midpoint'. NaN among the elements makes the result NaN.

        >>> Tensor([1.0, 2.0, 3.0]).quantile(0.25)
        tensor(1.5000)
        """
        return self._quantile(q, dim, keepdim, interpolation, skip_nan=False)

    @also_axis
    def nanquantile(
        self,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> Tensor:
        """``quantile`` of the elements that are not NaN.

        >>> Tensor([1.0, float('nan'), 3.0]).nanquantile(0.5)
        tensor(2.)
        """
        return self._quantile(q, dim, keepdim, interpolation, skip_nan=True)

    def _quantile(
        self, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool
    ) -> Tensor:
        if dim is None or not self.ndim:
            flat = self.ravel()._quantile(q, 0, False, interpolation, skip_nan)
            if not keepdim:
                return flat
            return flat.reshape(*flat.shape, *(1 for _ in self.shape))
        dim = normal_dim(dim, self.ndim)
        whole: Any = self
        shares: Any = q if isinstance(q, TensorBase) else whole.new_tensor(q)
        known = shares.detach().read()
        if ((known < 0) | (known > 1)).any():
            raise ShapeError(f"quantile() of {known}", hint="q is between 0 and 1")
        ordered = whole.sort(dim).values.movedim(dim, 0)
        is_number = whole == whole
        last = is_number.sum(dim).unsqueeze(0) - 1
        if not skip_nan:
            last = last.full_like(whole.shape[dim] - 1)
        lead = shares.reshape(-1, *(1 for _ in whole.shape[1:])).to(self.dtype)
        result = _between(ordered, lead * last.clamp(min=0), interpolation)
        has_nan = is_number.all(dim).logical_not().unsqueeze(0)
        all_nan = last < 0 if skip_nan else has_nan
        result = result.masked_fill(all_nan, math.nan)
        if keepdim:
            result = result.unsqueeze(dim + 1)
        return result if shares.ndim else result.squeeze(0)

    # --- counting ---------------------------------------------------------------------

    def unique(
        self,
        sorted: bool = True,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Any:
        """The different values in order; found by the host.

        >>> Tensor([3, 1, 3]).unique()
        tensor([1, 3])
        """
        found = np.unique(
            self.read(), return_inverse=True, return_counts=True, axis=dim
        )
        values, inverse, counts = found
        shape = self.shape if dim is None else (self.shape[dim],)
        parts = [self.tensor_class(values)]
        if return_inverse:
            parts.append(self.tensor_class(inverse.reshape(shape).astype(np.int64)))
        if return_counts:
            parts.append(self.tensor_class(counts.astype(np.int64)))
        return parts[0] if len(parts) == 1 else tuple(parts)

    def unique_consecutive(
        self,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Any:
        """The first of every run of equal values; found by the host.

        With ``return_inverse`` and ``return_counts`` follow the run of each element
        and the length of each run.

        >>> Tensor([3, 3, 1, 3]).unique_consecutive()
        tensor([3, 1, 3])
        """
        array = self.read()
        rows = array.reshape(-1) if dim is None else np.moveaxis(array, dim, 0)
        flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
        starts = np.ones(len(rows), bool)
        starts[1:] = (flat[1:] != flat[:-1]).any(1)
        first = np.flatnonzero(starts)
        values = rows[first]
        parts = [values if dim is None else np.moveaxis(values, 0, dim)]
        if return_inverse:
            inverse = np.cumsum(starts) - 1
            parts.append(inverse.reshape(array.shape) if dim is None else inverse)
        if return_counts:
            parts.append(np.diff(np.append(first, len(rows))))
        made = [self.tensor_class(np.array(part, order="C")) for part in parts]
        return made[0] if len(made) == 1 else tuple(made)

    def nonzero_static(self, *, size: int, fill_value: int = -1) -> Tensor:
        """The first ``size`` rows of ``nonzero``; missing ones hold ``fill_value``.

        The result's shape does not depend on the values.

        >>> Tensor([0, 7]).nonzero_static(size=2)
        tensor([[ 1],
                [-1]])
        """
        found = np.argwhere(self.read())[:size]
        rows = np.full((size, self.ndim), fill_value, np.int64)
        rows[: len(found)] = found
        return self.tensor_class(rows)

    def bincount(self, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
        """How often each number from 0 on occurs; the host reads the largest.

        >>> Tensor([1, 3, 1]).bincount()
        tensor([0, 2, 0, 1])
        """
        if not self.dtype.is_integer or self.ndim != 1:
            raise DTypeError(
                f"bincount() of {self.dtype} and shape {self.shape}",
                hint="it counts vectors of integers",
            )
        numbers = self.read()
        if numbers.min(initial=0) < 0:
            raise IndexingError(
                f"bincount() of {int(numbers.min())}: it counts numbers from 0 on",
                hint="subtract the smallest number first",
            )
        cls = self.tensor_class
        if weights is None or not numbers.size:
            counts = np.bincount(numbers.astype(np.int64, copy=False))
            missing = max(minlength - len(counts), 0)
            padded = np.pad(counts.astype(np.int64, copy=False), (0, missing))
            return cls(padded, device=self.device)
        length = max(minlength, int(numbers.max(initial=-1)) + 1)
        source = weights if weights.dtype is dtypes.float32 else weights.double()
        target = cls.zeros(length, dtype=source.dtype)
        return target.scatter_add(0, self.alias(), source)

    def searchsorted(
        self,
        values: Any,
        *,
        out_int32: bool = False,
        right: bool = False,
        side: str | None = None,
        sorter: Tensor | None = None,
    ) -> Tensor:
        """Where values would be put into this sorted last dimension.

        Args:
            out_int32: give int32 instead of int64.
            right: put a value behind equal ones; ``side='right'`` says the same.
            sorter: the order in which the elements are sorted, if they are not.

        >>> Tensor([1, 3, 5]).searchsorted(Tensor([3, 4]))
        tensor([1, 2])
        """
        if sorter is not None:
            whole: Any = self
            inside = whole.gather(-1, sorter) if sorter.numel() else whole
            return inside.searchsorted(
                values, out_int32=out_int32, right=right, side=side
            )
        wanted = values if isinstance(values, TensorBase) else self.tensor_class(values)
        dtype = common_dtype(self, wanted)
        edges: Node = ops.Cast(self.node, dtype)
        value: Node = ops.Cast(wanted.node, dtype)
        is_right = right if side is None else side == "right"
        counted = dtypes.int32 if out_int32 else dtypes.int64
        found = _places_by_halving(edges, value, is_right=is_right)
        return self.tensor_class.from_node(ops.Cast(found, counted))

    def bucketize(
        self, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
    ) -> Tensor:
        """Which interval between the boundaries each value lies in.

        >>> Tensor([1.5, 3.0]).bucketize(Tensor([1.0, 2.0, 3.0]))
        tensor([1, 2])
        """
        return boundaries.searchsorted(self, out_int32=out_int32, right=right)

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
        """How many values lie in each of ``bins`` equal intervals.

        >>> Tensor([1.0, 2.0, 2.5]).histc(bins=2, min=1, max=3)
        tensor([1., 2.])
        """
        if bins < 1:
            raise ShapeError(f"histc() into {bins} bins", hint="use 1 or more")
        low, high = min, max
        if low == high and self.numel():
            low, high = self.amin().item(), self.amax().item()
        if low == high:
            low, high = low - 1, high + 1
        flat = self.ravel()
        inside = (flat >= low) & (flat <= high)
        place = ((flat - low) / (high - low) * bins).floor().clamp(0, bins - 1)
        safe = place.masked_fill(inside.logical_not(), 0).long()
        counted = inside.to(self.dtype)
        target = self.tensor_class.zeros(bins, dtype=self.dtype)
        return target.scatter_add(0, safe, counted)

    def isin(self, test_elements: Tensor) -> Tensor:
        """Where the element is one of the test elements.

        >>> Tensor([1, 2, 3]).isin(Tensor([2, 4]))
        tensor([False,  True, False])
        """
        return self.unsqueeze(-1).eq(test_elements.ravel()).any(-1)


def _between(ordered: Tensor, place: Tensor, interpolation: str) -> Tensor:
    """What stands at a place of the first dimension that may be between two."""
    rounded = {
        "linear": place,
        "midpoint": (place.floor() + place.ceil()) * 0.5,
        "lower": place.floor(),
        "higher": place.ceil(),
        "nearest": place.round(),
    }
    if interpolation not in rounded:
        raise TetragradError(
            f"quantile() with interpolation={interpolation!r}",
            hint=f"use one of {', '.join(rounded)}",
        )
    place = rounded[interpolation].expand(
        (place.shape[0], *broadcast_shapes(place.shape[1:], ordered.shape[1:]))
    )
    below = ordered.gather(0, place.floor().detach().long())
    above = ordered.gather(0, place.ceil().detach().long())
    return below.lerp(above, place - place.floor().detach())


def _places_by_halving(edges: Node, value: Node, *, is_right: bool) -> Node:
    """How many of the sorted edges come before each value: one bit after the other.

    A place may move on by a power of two if the edge before which it would then stand
    still comes before the value.
    """
    size, dim = edges.shape[-1], edges.ndim - 1
    place: Node = broadcast_to(constant(0, dtypes.int64), value.shape)
    for bit in reversed(range(size.bit_length())):
        further = ops.Add(place, full_like(place, 1 << bit))
        last = ops.Sub(further, full_like(place, 1))
        inside = ops.Lt(last, full_like(place, size))
        probe = ops.Where(inside, last, full_like(place, 0))
        edge = take_rows(edges, probe, 0) if dim == 0 else take_along(edges, probe, dim)
        # As in PyTorch, every edge is before NaN, and a NaN is before every value.
        is_behind = ops.Lt(value, edge) if is_right else not_above_nodes(value, edge)
        is_before = ops.Not(is_behind)
        place = ops.Where(ops.And(inside, is_before), further, place)
        # A chain of gathers, each of which needs the one before, is no single kernel.
        (place,) = engine.realize([place])
    return place
