"""Running totals: each element combined with all before it.

There is no primitive scan: a running sum is Σ_j where(i < j, 0, x[j]), a sum under a
triangular mask, which the compiler recognises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.gradient_rules import with_gradient
from tetragrad.tensor.joining import cat
from tetragrad.tensor.losses import LossMethods
from tetragrad.tensor.promotion import combine, normal_dim, to_node
from tetragrad.tensor.reductions import ValuesAndIndices, drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: Up to this length, a running sum of powers has a shift of its own at each place.
SUMMED_IN_PAIRS = 32


def running(op: type[reduce.Reduce], node: Node, dim: int) -> Node:
    """Every element along ``dim`` combined with all before it."""
    if not node.shape[dim]:
        return node
    body, is_later = _earlier(node, dim)
    neutral = full_like(body, op.identity(node.dtype))
    masked = ops.Where(is_later, neutral, body)
    return drop_dims(op(masked, (dim + 1,)), (dim + 1,))


def _earlier(node: Node, dim: int) -> tuple[Node, Node]:
    """x[j] for every pair (i, j) at (dim, dim + 1), and whether j is after i."""
    size = node.shape[dim]
    shape = (*node.shape[: dim + 1], *node.shape[dim:])
    spread = graph.Reshape(node, (*node.shape[:dim], 1, *node.shape[dim:]))
    here = broadcast_to(positions(size, dim, len(shape)), shape)
    there = broadcast_to(positions(size, dim + 1, len(shape)), shape)
    return broadcast_to(spread, shape), ops.Lt(here, there)


def _running_product(tensor: Any, dim: int) -> Tensor:
    """Each element times the product that ends before it, over distances 1, 2, 4, …"""
    size = tensor.shape[dim] if tensor.ndim else 1
    distance = 1
    while distance < size:
        head, tail = tensor.cut(dim, 0, distance), tensor.cut(dim, distance, size)
        earlier = tensor.cut(dim, 0, size - distance)
        tensor = cat([head, tail * earlier], dim)
        distance *= 2
    return tensor


def _last_extreme(node: Node, extreme: Node, dim: int) -> Node:
    """For each running extreme, the last place at which it stands.

    It stands where an element is the extreme of all up to itself; later elements that
    are not leave it unchanged. A NaN is the extreme from there on.
    """
    stands: Node = ops.Eq(node, extreme)
    if node.dtype.is_floating_point:
        stands = ops.Or(stands, ops.Not(ops.Eq(node, node)))
    place = broadcast_to(positions(node.shape[dim], dim, node.ndim), node.shape)
    return running(reduce.Max, ops.Where(stands, place, full_like(place, -1)), dim)


class CumulativeMethods(LossMethods):
    """Methods that carry a value along one dimension."""

    __slots__ = ()

    @also_axis
    def cumsum(self, dim: int, *, dtype: Any = None) -> Tensor:
        """The sum of each element and all before it; integers in int64.

        >>> Tensor([1, 2, 3]).cumsum(0)
        tensor([1, 3, 6])
        """
        return self._running(reduce.Sum, dim, dtype)

    @also_axis
    def cumprod(self, dim: int, *, dtype: Any = None) -> Tensor:
        """The product of each element and all before it; integers in int64.

        >>> Tensor([1, 2, 3]).cumprod(0)
        tensor([1, 2, 6])
        """
        return self._running(reduce.Prod, dim, dtype)

    def _running(self, op: type[reduce.Reduce], dim: int, dtype: Any) -> Tensor:
        dim = normal_dim(dim, self.ndim)
        wanted = self._sum_dtype(dtype)
        if wanted.is_complex and op is reduce.Prod:
            return _running_product(self.type(wanted), dim)
        node = to_node(self, wanted)
        return combine(
            running(op, node, dim) if self.ndim else node, self, dtype=wanted
        )

    @also_axis
    def cummax(self, dim: int) -> ValuesAndIndices:
        """The largest element so far, and the last place at which it stood.

        >>> Tensor([1, 3, 2]).cummax(0).values
        tensor([1, 3, 3])
        """
        return self._running_extreme(reduce.Max, dim)

    @also_axis
    def cummin(self, dim: int) -> ValuesAndIndices:
        """The smallest element so far, and the last place at which it stood.

        >>> Tensor([3, 1, 2]).cummin(0).values
        tensor([3, 1, 1])
        """
        return self._running_extreme(reduce.Min, dim)

    def _running_extreme(self, op: type[reduce.Reduce], dim: int) -> ValuesAndIndices:
        dim = normal_dim(dim, self.ndim)
        source = self.node
        if not source.ndim:
            index: Node = constant(0, dtypes.int64)
            return ValuesAndIndices(self.result(source), self.result(index))
        value = running(op, source, dim)
        index = _last_extreme(source, value, dim)

        def rule(upstream: Node) -> tuple[Node]:
            # Each output's gradient belongs to the element that it shows.
            body, _ = _earlier(upstream, dim)
            size = source.shape[dim]
            spread = graph.Reshape(index, (*index.shape[:dim], 1, *index.shape[dim:]))
            here = broadcast_to(positions(size, dim, body.ndim), body.shape)
            shown = ops.Eq(here, broadcast_to(spread, body.shape))
            masked = ops.Where(shown, body, full_like(body, 0))
            return (drop_dims(reduce.Sum(masked, (dim + 1,)), (dim + 1,)),)

        values = with_gradient(value, (source,), rule)
        return ValuesAndIndices(self.result(values), self.result(index))

    @also_axis
    def logcumsumexp(self, dim: int) -> Tensor:
        """log(Σ exp(x)) of each element and all before it, without overflow.

        >>> Tensor([0.0, 0.0]).logcumsumexp(0)
        tensor([0.0000, 0.6931])
        """
        dim = normal_dim(dim, self.ndim)
        if not self.ndim:
            return self.result(self.node)
        if self.shape[dim] > SUMMED_IN_PAIRS:
            return self._logcumsumexp_in_blocks(dim)
        # Far below the maximum exp() would vanish, so each place has its own shift.
        own = self.cummax(dim).values.detach()
        own = own.where(own.abs() != float("inf"), 0.0)
        body, is_later = _earlier(self.node, dim)
        shift = graph.Reshape(
            own.node, (*own.shape[: dim + 1], 1, *own.shape[dim + 1 :])
        )
        powers = ops.Exp(ops.Sub(body, broadcast_to(shift, body.shape)))
        masked = ops.Where(is_later, full_like(powers, 0), powers)
        total = drop_dims(reduce.Sum(masked, (dim + 1,)), (dim + 1,))
        return self.result(ops.Add(ops.Log(total), own.node))

    def _logcumsumexp_in_blocks(self, dim: int) -> Tensor:
        """What each block comes to, with what all blocks before it come to."""
        size, length = self.shape[dim], SUMMED_IN_PAIRS
        count = -(-size // length)
        # Nothing comes after the padding that it could change.
        moved = self.movedim(dim, -1).pad((0, count * length - size))
        inside = moved.unflatten(-1, (count, length)).logcumsumexp(-1)
        before = inside[..., :-1, -1].logcumsumexp(-1)
        rest = inside[..., 1:, :].logaddexp(before.unsqueeze(-1))
        joined = cat([inside[..., :1, :], rest], -2).flatten(-2)
        return joined[..., :size].movedim(-1, dim)

    @also_axis
    def diff(
        self,
        n: int = 1,
        dim: int = -1,
        prepend: Tensor | None = None,
        append: Tensor | None = None,
    ) -> Tensor:
        """Each element less the one before it, n times.

        ``prepend`` and ``append`` are set before and after the elements first.

        >>> Tensor([1, 4, 9]).diff()
        tensor([3, 5])
        """
        dim = normal_dim(dim, self.ndim)
        if not self.ndim:
            raise ShapeError(
                "diff() of a tensor without dimensions",
                hint="differences need a dimension, x.reshape(-1)",
            )
        if not n:
            return self.alike(self.real_node)
        pieces = [entry for entry in (prepend, self, append) if entry is not None]
        result: Any = self if len(pieces) == 1 else cat(pieces, dim)
        for _ in range(n):
            size = result.shape[dim]
            later, earlier = (
                result.cut(dim, min(1, size), size),
                result.cut(dim, 0, max(size - 1, 0)),
            )
            is_bool = result.dtype.is_bool
            result = later.ne(earlier) if is_bool else later - earlier
        return result
