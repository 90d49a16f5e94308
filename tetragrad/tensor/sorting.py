"""Order: sorting, selection of the largest, and counting of values.

Values are compared as integer keys of the same order, so that NaN is above all others
and equal values keep their order (sorting is stable).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.engine import realize as engine
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.cumulative import CumulativeMethods, running
from tetragrad.tensor.gathering import take_along
from tetragrad.tensor.joining import pad_dim
from tetragrad.tensor.promotion import common_dtype, normal_dim
from tetragrad.tensor.reductions import ValuesAndIndices, drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: Rows up to this length are sorted by counting, longer ones by a network.
COUNTING_LIMIT = 2048

#: How many rounds of the network are computed at once: each doubles what is read.
ROUNDS_AT_ONCE = 2

_SIGNED = {8: dtypes.int8, 16: dtypes.int16, 32: dtypes.int32, 64: dtypes.int64}
_UNSIGNED = {8: dtypes.uint8, 16: dtypes.uint16, 32: dtypes.uint32, 64: dtypes.uint64}


def ordered_key(node: Node) -> Node:
    """An integer for each value, in the same order; NaN is largest, -0 equals 0."""
    if node.dtype.is_bool:
        return ops.Cast(node, dtypes.int32)
    if not node.dtype.is_floating_point:
        return node
    # Without the sign, bits of floats count upwards; negative ones count backwards.
    bits = ops.Bitcast(node, _SIGNED[node.dtype.bits])
    zero = full_like(bits, 0)
    largest = full_like(bits, dtypes.highest(bits.dtype))
    key = ops.Where(ops.Lt(bits, zero), ops.Xor(bits, largest), bits)
    key = ops.Where(ops.Eq(node, full_like(node, 0)), zero, key)
    return ops.Where(ops.Eq(node, node), key, largest)


def unsigned_key(node: Node) -> Node:
    """The ordered key as an unsigned integer, for a search bit by bit."""
    key = ordered_key(node)
    if not key.dtype.is_signed:
        return key
    flipped = ops.Xor(key, full_like(key, dtypes.lowest(key.dtype)))
    return ops.Bitcast(flipped, _UNSIGNED[key.dtype.bits])


def sorted_order(key: Node) -> Node:
    """The places of the elements of the last dimension, smallest first; stable."""
    if key.shape[-1] <= COUNTING_LIMIT:
        return _order_by_counting(key)
    return _order_by_network(key)


def _order_by_counting(key: Node) -> Node:
    """An element's rank is the number of elements that go before it."""
    size, dim = key.shape[-1], key.ndim - 1
    shape = (*key.shape, size)
    own = broadcast_to(graph.Reshape(key, (*key.shape, 1)), shape)
    row = graph.Reshape(key, (*key.shape[:-1], 1, size))
    other = broadcast_to(row, shape)
    own_place = broadcast_to(positions(size, dim, dim + 2), shape)
    other_place = broadcast_to(positions(size, dim + 1, dim + 2), shape)
    is_tie = ops.And(ops.Eq(other, own), ops.Lt(other_place, own_place))
    goes_before = ops.Or(ops.Lt(other, own), is_tie)
    before = reduce.Sum(ops.Cast(goes_before, dtypes.int64), (dim + 1,))
    rank = graph.Reshape(before, key.shape)
    return _inverted(rank, size)


def _inverted(rank: Node, count: int) -> Node:
    """For each rank below ``count``, the place of the element that has it."""
    size, dim = rank.shape[-1], rank.ndim - 1
    shape = (*rank.shape[:-1], count, size)
    spread = graph.Reshape(rank, (*rank.shape[:-1], 1, size))
    wanted = broadcast_to(positions(count, dim, dim + 2), shape)
    place = broadcast_to(positions(size, dim + 1, dim + 2), shape)
    hits = ops.Eq(wanted, broadcast_to(spread, shape))
    found = ops.Where(hits, place, full_like(place, 0))
    return drop_dims(reduce.Sum(found, (dim + 1,)), (dim + 1,))


def _order_by_network(key: Node) -> Node:
    """K. Batcher's bitonic network: log²(n) / 2 rounds that exchange neighbours."""
    size = key.shape[-1]
    length = 1 << (size - 1).bit_length()
    place = positions(length, key.ndim - 1, key.ndim)
    place = broadcast_to(place, (*key.shape[:-1], length))
    padded = pad_dim(key, key.ndim - 1, 0, length - size, dtypes.highest(key.dtype))
    lanes = _packed(padded, place)
    for number, (block, mirrored) in enumerate(_rounds(length), 1):
        lanes = _exchanged(lanes, block, mirrored=mirrored)
        if number % ROUNDS_AT_ONCE == 0:
            lanes = tuple(engine.realize(lanes))
    order = lanes[-1]
    if len(lanes) == 1:
        order = ops.And(order, full_like(order, (1 << 32) - 1))
    return pad_dim(order, order.ndim - 1, 0, size - length)


def _rounds(length: int) -> Iterator[tuple[int, bool]]:
    """The size of the blocks of each round, and whether its pairs are mirrored."""
    block = 2
    while block <= length:
        yield block, True
        half = block // 2
        while half > 1:
            yield half, False
            half //= 2
        block *= 2


def _packed(key: Node, place: Node) -> tuple[Node, ...]:
    """Key and place as one number where both fit, else as two."""
    if key.dtype.bits > 32:
        return key, place
    high = ops.Shl(ops.Cast(key, dtypes.int64), full_like(place, 32))
    return (ops.Or(high, place),)


def _exchanged(
    lanes: tuple[Node, ...], block: int, *, mirrored: bool
) -> tuple[Node, ...]:
    """Within each block, order the pairs across its middle.

    ``mirrored`` pairs the first element with the last, as the first round of a merge
    needs; otherwise elements half a block apart are paired.
    """
    whole = lanes[0].shape
    *batch, length = whole
    shape = (*batch, length // block, 2, block // 2)
    flips = (len(shape) - 2, len(shape) - 1) if mirrored else (len(shape) - 2,)
    own = [graph.Reshape(lane, shape) for lane in lanes]
    partners = [graph.Flip(lane, flips) for lane in own]
    side = broadcast_to(positions(2, len(shape) - 2, len(shape)), shape)
    is_first = ops.Eq(side, full_like(side, 0))
    partner_is_less = _lexically_less(partners, own)
    # No two elements are equal, as their places differ.
    take_partner = ops.Eq(is_first, partner_is_less)
    return tuple(
        graph.Reshape(ops.Where(take_partner, partner, mine), whole)
        for partner, mine in zip(partners, own, strict=True)
    )


def _lexically_less(lhs: Sequence[Node], rhs: Sequence[Node]) -> Node:
    if len(lhs) == 1:
        return ops.Lt(lhs[0], rhs[0])
    is_tie = ops.And(ops.Eq(lhs[0], rhs[0]), ops.Lt(lhs[1], rhs[1]))
    return ops.Or(ops.Lt(lhs[0], rhs[0]), is_tie)


def kth_largest_key(key: Node, k: int) -> Node:
    """The k-th largest of unsigned keys along the last dimension, bit by bit.

    The largest threshold that at least k keys reach is built from its highest bit.
    """
    dim = key.ndim - 1
    threshold = broadcast_to(constant(0, key.dtype), (*key.shape[:-1], 1))
    for bit in reversed(range(key.dtype.bits)):
        candidate = ops.Or(threshold, full_like(threshold, 1 << bit))
        reaches = ops.Not(ops.Lt(key, broadcast_to(candidate, key.shape)))
        count = reduce.Sum(ops.Cast(reaches, dtypes.int64), (dim,))
        is_enough = ops.Not(ops.Lt(count, full_like(count, k)))
        threshold = ops.Where(is_enough, candidate, threshold)
    return threshold


def largest_places(key: Node, k: int) -> Node:
    """Where the k largest keys of the last dimension are; of equal ones the first."""
    dim = key.ndim - 1
    threshold = broadcast_to(kth_largest_key(key, k), key.shape)
    is_above = ops.Lt(threshold, key)
    is_equal = ops.Eq(threshold, key)
    above = ops.Cast(is_above, dtypes.int64)
    count_above = broadcast_to(reduce.Sum(above, (dim,)), key.shape)
    missing = ops.Sub(full_like(count_above, k), count_above)
    equal_so_far = running(reduce.Sum, ops.Cast(is_equal, dtypes.int64), dim)
    is_chosen_tie = ops.And(is_equal, ops.Not(ops.Lt(missing, equal_so_far)))
    is_chosen = ops.Or(is_above, is_chosen_tie)
    so_far = running(reduce.Sum, ops.Cast(is_chosen, dtypes.int64), dim)
    slot = ops.Sub(so_far, full_like(so_far, 1))
    nowhere = full_like(slot, -1)
    return _inverted(ops.Where(is_chosen, slot, nowhere), k)


class SortingMethods(CumulativeMethods):
    """Methods that put in order, select and count."""

    __slots__ = ()

    def _dim_last(self, dim: int) -> tuple[Tensor, int]:
        dim = normal_dim(dim, self.ndim)
        moved = self.reshape(1) if not self.ndim else self.movedim(dim, -1)
        return moved, dim

    def _from_last(self, tensor: Tensor, dim: int) -> Tensor:
        return tensor.movedim(-1, dim) if self.ndim else tensor.reshape(())

    def sort(
        self, dim: int = -1, descending: bool = False, stable: bool = True
    ) -> ValuesAndIndices:
        """The elements of a dimension in order, and where they were; always stable.

        >>> Tensor([3, 1, 2]).sort().values
        tensor([1, 2, 3])
        """
        moved, dim = self._dim_last(dim)
        key = ordered_key(moved.node)
        order = sorted_order(ops.Not(key) if descending else key)
        values = moved.result(take_along(moved.node, order, moved.ndim - 1))
        indices = moved.result(order)
        return ValuesAndIndices(
            self._from_last(values, dim), self._from_last(indices, dim)
        )

    def argsort(
        self, dim: int = -1, descending: bool = False, stable: bool = True
    ) -> Tensor:
        """Where the elements in order are.

        >>> Tensor([3, 1, 2]).argsort()
        tensor([1, 2, 0])
        """
        return self.sort(dim, descending, stable).indices

    def msort(self) -> Tensor:
        """The elements of the first dimension in order."""
        return self.sort(0).values

    def topk(
        self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
    ) -> ValuesAndIndices:
        """The k largest (or smallest) elements of a dimension, and where they are.

        They are selected, not sorted: a threshold is searched bit by bit.

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
        if sorted:
            chosen = take_along(key, places, moved.ndim - 1)
            order = sorted_order(ops.Not(chosen))
            places = take_along(places, order, moved.ndim - 1)
        values = moved.result(take_along(moved.node, places, moved.ndim - 1))
        return ValuesAndIndices(
            self._from_last(values, dim), self._from_last(moved.result(places), dim)
        )

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
        middle = self.kthvalue((size + 1) // 2, dim, keepdim)
        if not self.dtype.is_floating_point:
            return middle
        # NaN anywhere makes the median NaN, and it sorts last.
        last = self.kthvalue(size, dim, keepdim)
        has_nan = last.values.isnan()
        return ValuesAndIndices(
            last.values.where(has_nan, middle.values),
            self.isnan().long().argmax(dim, keepdim).where(has_nan, middle.indices),
        )

    def quantile(self, q: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The value below which a share q of the elements lies, interpolated.

        >>> Tensor([1.0, 2.0, 3.0]).quantile(0.25)
        tensor(1.5000)
        """
        if dim is None:
            flat = self.ravel().quantile(q, 0)
            if not keepdim:
                return flat
            return flat.reshape(*flat.shape, *(1 for _ in self.shape))
        dim = normal_dim(dim, self.ndim)
        shares = q.read() if isinstance(q, TensorBase) else np.asarray(q)
        if ((shares < 0) | (shares > 1)).any():
            raise ShapeError(f"quantile() of {shares}", hint="q is between 0 and 1")
        ordered = self.sort(dim).values.movedim(dim, 0)
        places = shares.reshape(-1).astype(np.float64) * (self.shape[dim] - 1)
        low, high = np.floor(places), np.ceil(places)
        cls = self.tensor_class
        weights = cls(places - low, self.dtype).reshape(
            -1, *(1 for _ in self.shape[1:])
        )
        below = ordered.index_select(0, cls(low.astype(np.int64)))
        above = ordered.index_select(0, cls(high.astype(np.int64)))
        result = below.lerp(above, weights)
        has_nan = self.isnan().any(dim).unsqueeze(0)
        result = result.masked_fill(has_nan, math.nan)
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
        largest = int(self.read().max(initial=-1))
        length = max(minlength, largest + 1)
        cls = self.tensor_class
        source = (
            cls.ones(self.shape, dtype=dtypes.int64) if weights is None else weights
        )
        target = cls.zeros(length, dtype=source.dtype)
        return target.scatter_add(0, self.alias(), source)

    def searchsorted(
        self, values: Any, *, right: bool = False, side: str | None = None
    ) -> Tensor:
        """Where values would be put into this sorted last dimension.

        >>> Tensor([1, 3, 5]).searchsorted(Tensor([3, 4]))
        tensor([1, 2])
        """
        wanted = values if isinstance(values, TensorBase) else self.tensor_class(values)
        dtype = common_dtype(self, wanted)
        node: Node = ops.Cast(self.node, dtype)
        value = graph.Reshape(ops.Cast(wanted.node, dtype), (*wanted.shape, 1))
        if self.ndim > 1:
            node = graph.Reshape(node, (*node.shape[:-1], 1, node.shape[-1]))
        shape = (*value.shape[:-1], node.shape[-1])
        edges, spread = broadcast_to(node, shape), broadcast_to(value, shape)
        is_right = right if side is None else side == "right"
        is_before = (
            ops.Not(ops.Lt(spread, edges)) if is_right else ops.Lt(edges, spread)
        )
        last = len(shape) - 1
        if not shape[last]:
            return self.tensor_class.zeros(shape[:-1], dtype=dtypes.int64)
        counts = reduce.Sum(ops.Cast(is_before, dtypes.int64), (last,))
        return self.tensor_class.from_node(drop_dims(counts, (last,)))

    def bucketize(self, boundaries: Tensor, *, right: bool = False) -> Tensor:
        """Which interval between the boundaries each value lies in."""
        return boundaries.searchsorted(self, right=right)

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
        """How many values lie in each of ``bins`` equal intervals."""
        low, high = min, max
        if low == high:
            low, high = self.amin().item(), self.amax().item()
        if low == high:
            low, high = low - 1, high + 1
        flat = self.ravel()
        inside = (flat >= low) & (flat <= high)
        place = ((flat - low) / (high - low) * bins).floor().clamp(0, bins - 1)
        safe = place.masked_fill(inside.logical_not(), 0).long()
        target = self.tensor_class.zeros(bins, dtype=self.dtype)
        return target.scatter_add(0, safe, inside.to(self.dtype))

    def isin(self, test_elements: Tensor) -> Tensor:
        """Where the element is one of the test elements.

        >>> Tensor([1, 2, 3]).isin(Tensor([2, 4]))
        tensor([False,  True, False])
        """
        return self.unsqueeze(-1).eq(test_elements.ravel()).any(-1)
