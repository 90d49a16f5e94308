"""Reductions: many elements become one, along all dimensions or the named ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, to_dtype
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce as graph
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import Iota, constant
from tetragrad.graph.movement import Reshape, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.formulas.norms import power_norm, root_of_squares
from tetragrad.tensor.gradient_rules import with_gradient, with_zero_gradient
from tetragrad.tensor.limits import LimitMethods
from tetragrad.tensor.promotion import combine, normal_dim, normal_dims, to_node

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Dims = int | Sequence[int] | None


class ValuesAndIndices(NamedTuple):
    """Chosen elements, and where along the dimension they were."""

    values: Tensor
    indices: Tensor


def drop_dims(node: Node, dims: tuple[int, ...]) -> Node:
    """Without the named dimensions, which have size 1."""
    kept = tuple(size for dim, size in enumerate(node.shape) if dim not in dims)
    return Reshape(node, kept)


def positions(size: int, dim: int, ndim: int, dtype: DType = dtypes.int64) -> Node:
    """0, 1, 2, … along one dimension of ``ndim``, with size 1 in the others."""
    shape = tuple(size if axis == dim else 1 for axis in range(ndim))
    return Reshape(Iota(size, dtype), shape)


class ReductionMethods(LimitMethods):
    """Methods that combine many elements into one."""

    __slots__ = ()

    def _reduced(
        self,
        op: type[graph.Reduce],
        node: Node,
        dim: Dims,
        keepdim: bool,
        dtype: DType | None = None,
    ) -> Tensor:
        """Reduce a node of this tensor's shape; of pairs, if ``dtype`` is complex."""
        dims = normal_dims(dim, self.ndim)
        reduced = op(node, dims) if dims else node
        kept = reduced if keepdim else drop_dims(reduced, dims)
        return combine(kept, self, dtype=dtype)

    @also_axis
    def sum(
        self, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
    ) -> Tensor:
        """The sum; of bools and integers in int64, unless ``dtype`` says otherwise.

        >>> Tensor([[1, 2], [3, 4]]).sum(dim=0)
        tensor([4, 6])
        """
        wanted = self._sum_dtype(dtype)
        return self._reduced(graph.Sum, to_node(self, wanted), dim, keepdim, wanted)

    def _sum_dtype(self, dtype: Any) -> DType:
        if dtype is not None:
            return to_dtype(dtype)
        is_whole = self.dtype.is_integer or self.dtype.is_bool
        return dtypes.int64 if is_whole else self.dtype

    @also_axis
    def prod(
        self, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
    ) -> Tensor:
        """The product; of bools and integers in int64.

        >>> Tensor([2, 3, 4]).prod()
        tensor(24)
        """
        wanted = self._sum_dtype(dtype)
        if wanted.is_complex:
            whole: Any = self
            return whole.type(wanted)._complex_product(dim, keepdim)
        if wanted.is_bool:
            return self.all(dim, keepdim)
        return self._reduced(graph.Prod, to_node(self, wanted), dim, keepdim)

    def _complex_product(self, dim: Dims, keepdim: bool) -> Tensor:
        """Products of neighbouring halves, until one number is left."""
        dims = normal_dims(dim, self.ndim)
        kept = [entry for entry in range(self.ndim) if entry not in dims]
        shape = [self.shape[entry] for entry in kept]
        found: Any = self.permute(*kept, *dims).reshape(*shape, self._count(dim))
        last = len(shape)
        rest = found.cut(last, 0, 0).sum(-1) + 1
        while (count := found.shape[-1]) > 1:
            if count % 2:
                rest = rest * found.select(last, count - 1)
            half = count // 2
            found = found.cut(last, 0, half) * found.cut(last, half, 2 * half)
        product = found.select(last, 0) * rest if found.shape[-1] else rest
        if not keepdim:
            return product
        ones = [1 if entry in dims else size for entry, size in enumerate(self.shape)]
        return product.reshape(ones)

    @also_axis
    def mean(
        self, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
    ) -> Tensor:
        """The mean, of floating-point values.

        >>> Tensor([1.0, 2.0]).mean()
        tensor(1.5000)

        Raises:
            DTypeError: the tensor holds integers or bools.
        """
        dtype = self.dtype if dtype is None else to_dtype(dtype)
        if dtype.is_complex:
            return self.sum(dim, keepdim, dtype=dtype) / self._count(dim)
        if not dtype.is_floating_point:
            raise DTypeError(
                f"mean() of {dtype}: the result would not be a whole number",
                hint="write x.float().mean()",
            )
        # A sum of many float16 values overflows, although their mean does not.
        node = ops.Cast(self.node, dtypes.accumulation(dtype))
        count = self._count(dim)
        total = self.result(node).sum(dim, keepdim)
        return self.result(ops.Cast((total / count).node, dtype))

    def _count(self, dim: Dims) -> int:
        """How many elements a reduction over these dimensions combines."""
        dims = normal_dims(dim, self.ndim)
        return math.prod(self.shape[entry] for entry in dims)

    # --- extremes ---------------------------------------------------------------------

    @also_axis
    def amax(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """The largest element; equal ones share the gradient.

        >>> Tensor([[1, 5], [3, 2]]).amax(dim=1)
        tensor([5, 3])
        """
        return self._reduced(graph.Max, self.node, dim, keepdim)

    @also_axis
    def amin(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """The smallest element; equal ones share the gradient.

        >>> Tensor([[3, 1], [2, 4]]).amin(1)
        tensor([1, 2])
        """
        return self._reduced(graph.Min, self.node, dim, keepdim)

    @also_axis
    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> Any:
        """The smallest and the largest element.

        >>> low, high = Tensor([3, 1, 2]).aminmax()
        >>> low, high
        (tensor(1), tensor(3))
        """
        return self.amin(dim, keepdim), self.amax(dim, keepdim)

    @also_axis
    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The largest element; with ``dim``, (values, indices); or elementwise.

        >>> Tensor([1, 5, 3]).max()
        tensor(5)
        >>> Tensor([[1, 5], [3, 2]]).max(dim=1).indices
        tensor([1, 0])
        """
        if dim is None:
            return self.amax()
        if isinstance(dim, TensorBase):
            return self.maximum(dim)
        return self._extreme(graph.Max, dim, keepdim)

    @also_axis
    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The smallest element; with ``dim``, (values, indices); or elementwise.

        >>> Tensor([[3, 1], [2, 4]]).min(1).values
        tensor([1, 2])
        """
        if dim is None:
            return self.amin()
        if isinstance(dim, TensorBase):
            return self.minimum(dim)
        return self._extreme(graph.Min, dim, keepdim)

    def _extreme(
        self, op: type[graph.Reduce], dim: int, keepdim: bool
    ) -> ValuesAndIndices:
        dim = normal_dim(dim, self.ndim)
        index = self._arg_extreme(op, dim)
        dims = (dim,) if self.ndim else ()
        source = self.node

        def rule(upstream: Node) -> tuple[Node]:
            # Only the chosen element has a gradient, even among equal ones.
            where = positions(source.shape[dim], dim, source.ndim) if dims else index
            chosen = ops.Eq(
                broadcast_to(where, source.shape), broadcast_to(index, source.shape)
            )
            spread = broadcast_to(upstream, source.shape)
            return (ops.Where(chosen, spread, full_like(spread, 0)),)

        value = op(source, dims) if dims else source
        values = with_gradient(value, (source,), rule)
        gone = () if keepdim else dims
        return ValuesAndIndices(
            self.result(drop_dims(values, gone)), self.result(drop_dims(index, gone))
        )

    def _arg_extreme(self, op: type[graph.Reduce], dim: int) -> Node:
        """The smallest index at which the extreme stands; NaN counts as extreme."""
        source = self.node
        if not source.ndim:
            return constant(0, dtypes.int64)
        size = source.shape[dim]
        if size == 0:
            raise ShapeError(
                f"the index of the extreme of nothing: dimension {dim} of shape "
                f"{source.shape} has no elements"
            )
        extreme = broadcast_to(op(source, (dim,)), source.shape)
        is_extreme: Node = ops.Eq(source, extreme)
        if source.dtype.is_floating_point:
            is_extreme = ops.Or(is_extreme, ops.Not(ops.Eq(source, source)))
        where = broadcast_to(positions(size, dim, source.ndim), source.shape)
        index = ops.Where(is_extreme, where, full_like(where, size))
        return graph.Min(index, (dim,))

    @also_axis
    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the largest element: the first, where several are equal.

        >>> Tensor([1, 5, 5]).argmax()
        tensor(1)
        """
        return self._argument(graph.Max, dim, keepdim)

    @also_axis
    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the smallest element: the first, where several are equal.

        >>> Tensor([3, 1, 2]).argmin()
        tensor(1)
        """
        return self._argument(graph.Min, dim, keepdim)

    def _argument(
        self, op: type[graph.Reduce], dim: int | None, keepdim: bool
    ) -> Tensor:
        if dim is None:
            flat = self.ravel()._argument(op, 0, False)
            return flat.reshape((1,) * self.ndim) if keepdim else flat
        dim = normal_dim(dim, self.ndim)
        index = self._arg_extreme(op, dim)
        dims = (dim,) if self.ndim and not keepdim else ()
        return self.result(drop_dims(index, dims))

    # --- truth ------------------------------------------------------------------------

    @also_axis
    def all(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Whether all elements are nonzero.

        >>> Tensor([1, 0]).all()
        tensor(False)
        """
        node = to_node(self, dtypes.bool_)
        return self._truth(graph.Min, node, dim, keepdim, empty=True)

    @also_axis
    def any(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Whether any element is nonzero.

        >>> Tensor([0, 2]).any()
        tensor(True)
        """
        node = to_node(self, dtypes.bool_)
        return self._truth(graph.Max, node, dim, keepdim, empty=False)

    def _truth(
        self,
        op: type[graph.Reduce],
        node: Node,
        dim: Dims,
        keepdim: bool,
        empty: bool,
    ) -> Tensor:
        dims = normal_dims(dim, self.ndim)
        if self._count(dim) == 0:
            # "all of nothing" has an answer, where a maximum of nothing has none.
            shape = tuple(
                1 if axis in dims else size for axis, size in enumerate(self.shape)
            )
            found = broadcast_to(constant(empty, dtypes.bool_), shape)
            truth = self.result(found if keepdim else drop_dims(found, dims))
        else:
            truth = self._reduced(op, node, dim, keepdim)
        # As in PyTorch, where uint8 once stood for bool.
        return truth.to(dtypes.uint8) if self.dtype is dtypes.uint8 else truth

    @also_axis
    def count_nonzero(self, dim: Dims = None) -> Tensor:
        """How many elements are not zero.

        >>> Tensor([1, 0, 2]).count_nonzero()
        tensor(2)
        """
        return self.result(to_node(self, dtypes.bool_)).sum(dim)

    # --- statistics -------------------------------------------------------------------

    @also_axis
    def var(
        self,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        """The variance; divides by the count less ``correction`` (1 by default).

        >>> Tensor([1.0, 2.0, 3.0]).var()
        tensor(1.)
        """
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if correction is None:
            correction = 0 if unbiased is False else 1
        deviation = self - self.mean(dim, keepdim=True)
        count = max(0, self._count(dim) - correction)
        distance = deviation.abs() if self.dtype.is_complex else deviation
        squares = (distance * distance).sum(dim, keepdim)
        return squares / count

    @also_axis
    def std(
        self,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Tensor:
        """The standard deviation: the square root of the variance.

        The gradient is 0 where all values are equal.

        >>> Tensor([1.0, 3.0]).std()
        tensor(1.4142)
        """
        variance = self.var(dim, unbiased, keepdim, correction=correction)
        if not variance.requires_grad:
            return variance.sqrt()
        differs = variance != 0
        return variance.where(differs, 1.0).sqrt().where(differs, 0.0)

    @also_axis
    def var_mean(self, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
        """The variance and the mean.

        >>> variance, mean = Tensor([1.0, 3.0]).var_mean()
        >>> variance, mean
        (tensor(2.), tensor(2.))
        """
        keepdim = options.get("keepdim", False)
        # In place of dimensions there may be ``unbiased``, which the mean has not.
        dims = None if isinstance(dim, bool) else dim
        return self.var(dim, **options), self.mean(dims, keepdim)

    @also_axis
    def std_mean(self, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
        """The standard deviation and the mean.

        >>> deviation, mean = Tensor([1.0, 3.0]).std_mean(correction=0)
        >>> deviation
        tensor(1.)
        """
        keepdim = options.get("keepdim", False)
        # In place of dimensions there may be ``unbiased``, which the mean has not.
        dims = None if isinstance(dim, bool) else dim
        return self.std(dim, **options), self.mean(dims, keepdim)

    @also_axis
    def norm(
        self, p: float | str = 2, dim: Dims = None, keepdim: bool = False
    ) -> Tensor:
        """The p-norm: (Σ |x|^p)^(1/p); inf gives the largest magnitude.

        >>> Tensor([3.0, 4.0]).norm()
        tensor(5.)
        """
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise DTypeError(f"norm() of {self.dtype}", hint="write x.float().norm()")
        if p == "nuc":
            return _nuclear_norm(self, dim, keepdim)
        if p == "fro":
            p = 2
        size = self.abs()
        if p == float("inf"):
            return size.amax(dim, keepdim)
        if p == float("-inf"):
            return size.amin(dim, keepdim)
        if p == 0:
            counted = (size != 0).type(size.dtype).node
            return size.result(with_zero_gradient(counted, size.node)).sum(dim, keepdim)
        if p == 1:
            return size.sum(dim, keepdim)
        if p == 2:
            parts: Any = self
            squares = parts * parts
            if self.dtype.is_complex:
                squares = parts.real.square() + parts.imag.square()
            total = squares.sum(dim, keepdim)
            return total.result(root_of_squares(total.node))
        dims = normal_dims(dim, self.ndim)
        norm = size.result(power_norm(size.node, float(p), dims))
        return norm if keepdim else norm.result(drop_dims(norm.node, dims))

    @also_axis
    def logsumexp(self, dim: Dims, keepdim: bool = False) -> Tensor:
        """log(Σ exp(x)), without overflow.

        >>> Tensor([1000.0, 1000.0]).logsumexp(0)
        tensor(1000.6932)
        """
        if not self.numel():
            # A maximum of nothing has no value; the sum is 0, and its logarithm -inf.
            return self.exp().sum(dim, keepdim).log()
        size: Any = self.real
        largest = size.amax(dim, keepdim=True).detach()
        # Where all are -inf (or one is inf), subtracting the maximum would give NaN.
        finite = largest.where(largest.abs() != float("inf"), 0.0)
        total = (self - finite).exp().sum(dim, keepdim=True)
        result = total.log() + finite
        return result if keepdim else result.squeeze(normal_dims(dim, self.ndim))

    @also_axis
    def nansum(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """The sum of all elements that are not NaN.

        >>> Tensor([1.0, float("nan")]).nansum()
        tensor(1.)
        """
        return self.masked_fill(self != self, 0).sum(dim, keepdim)

    @also_axis
    def nanmean(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """The mean of all elements that are not NaN.

        >>> Tensor([1.0, float("nan")]).nanmean()
        tensor(1.)
        """
        return self.nansum(dim, keepdim) / (self == self).sum(dim, keepdim)


def _nuclear_norm(tensor: Any, dim: Dims, keepdim: bool) -> Tensor:
    """The sum of the singular values of a matrix."""
    from tetragrad.tensor.linalg.norms import matrix_norm

    rows_and_columns: Any = (-2, -1) if dim is None else dim
    return matrix_norm(tensor, "nuc", rows_and_columns, keepdim)
