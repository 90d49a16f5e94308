"""Pooling: the largest, or the mean, of each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph import reduce
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import Permute, Reshape, broadcast_to
from tetragrad.graph.node import Node, size_of
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.convolution import (
    ConvolutionMethods,
    Sizes,
    pad_spatial,
    spread_sizes,
    windows,
)
from tetragrad.tensor.formulas.arithmetic import truncated_divide_nodes
from tetragrad.tensor.gradient_rules import with_gradient
from tetragrad.tensor.pooling_gradient import Along, MaxPoolRule
from tetragrad.tensor.reductions import drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class PoolPlan:
    """Where the windows of a pooling lie."""

    def __init__(
        self,
        spatial: int,
        source: TensorBase,
        kernel_size: Sizes,
        stride: Sizes | None,
        padding: Sizes,
        dilation: Sizes,
        ceil_mode: bool,
    ) -> None:
        self.first = source.ndim - spatial
        if self.first not in (1, 2):
            raise ShapeError(
                f"pooling over {spatial} dimensions of shape {source.shape}",
                hint="the input is (batch, channels, *size); batch may be left out",
            )
        self.kernel = spread_sizes("kernel_size", kernel_size, spatial)
        step = self.kernel if stride is None or stride == () else stride
        self.stride = spread_sizes("stride", step, spatial)
        self.padding = spread_sizes("padding", padding, spatial)
        self.dilation = spread_sizes("dilation", dilation, spatial)
        if any(2 * edge > size for edge, size in zip(self.padding, self.kernel)):  # noqa: B905
            raise ShapeError(
                f"pooling with padding {self.padding} and kernel {self.kernel}",
                hint="the padding is at most half of the kernel",
            )
        sizes = source.shape[self.first :]
        #: Elements beyond the padding that the last windows of ceil_mode reach.
        self.extra = tuple(
            self._beyond(dim, size) if ceil_mode else 0
            for dim, size in enumerate(sizes)
        )

    def _beyond(self, dim: int, size: int) -> int:
        reach = self.dilation[dim] * (self.kernel[dim] - 1) + 1
        padded = size + 2 * self.padding[dim]
        step = self.stride[dim]
        count = -(-(padded - reach) // step) + 1
        # A window that would start in the padding at the end does not count.
        if (count - 1) * step >= size + self.padding[dim]:
            count -= 1
        return max(0, (count - 1) * step + reach - padded)

    def cut(self, node: Node, fill: Any) -> Node:
        """(…, n1, k1, n2, k2, …): the windows of a padded value."""
        edges = [
            (edge, edge + extra)
            for edge, extra in zip(self.padding, self.extra, strict=True)
        ]
        padded = pad_spatial(node, self.first, edges, fill)
        return windows(padded, self.first, self.kernel, self.stride, self.dilation)

    def cut_for_largest(self, node: Node) -> Node:
        """The windows of a value, whose padding is never the largest."""
        return self.cut(node, dtypes.lowest(node.dtype))

    @property
    def overlaps(self) -> bool:
        """Whether elements next to one another are in several windows."""
        pairs = zip(self.kernel, self.stride, strict=True)
        return set(self.dilation) <= {1} and any(size > step for size, step in pairs)

    def along(self, node: Node) -> tuple[Along, ...]:
        """The windows along each dimension, of which none is left out."""
        sizes = node.shape[self.first :]
        each = zip(sizes, self.kernel, self.stride, self.padding, strict=True)
        return tuple(Along(*entry) for entry in each)

    @property
    def kernel_dims(self) -> tuple[int, ...]:
        """The dimensions of a cut value that lie within windows."""
        spatial = len(self.kernel)
        return tuple(range(self.first + 1, self.first + 2 * spatial, 2))


def _max_pool(plan: PoolPlan, source: Any, return_indices: bool) -> Any:
    node = source.node
    cut = plan.cut_for_largest(node)
    dims = plan.kernel_dims
    largest = drop_dims(reduce.Max(cut, dims), dims)
    if plan.overlaps and node.dtype.is_floating_point:
        rule = MaxPoolRule(node, plan.cut_for_largest, plan.first, plan.along(node))
        largest = with_gradient(largest, (node,), rule)
    values = source.result(largest)
    if not return_indices:
        return values
    return values, source.result(_places(plan, node, cut))


def _places(plan: PoolPlan, node: Node, cut: Node) -> Node:
    """The row-major place in the input of each window's first largest element."""
    sizes = node.shape[plan.first :]
    place = positions(size_of(sizes), 0, 1)
    place = broadcast_to(Reshape(place, sizes), node.shape)
    spread = plan.cut(place, size_of(sizes))
    largest = broadcast_to(reduce.Max(cut, plan.kernel_dims), cut.shape)
    is_largest: Node = ops.Eq(cut, largest)
    if cut.dtype.is_floating_point:
        is_largest = ops.Or(is_largest, ops.Not(ops.Eq(cut, cut)))
    found = ops.Where(is_largest, spread, full_like(spread, size_of(sizes)))
    return drop_dims(reduce.Min(found, plan.kernel_dims), plan.kernel_dims)


def _avg_pool(
    plan: PoolPlan, source: Any, count_include_pad: bool, divisor: int | None
) -> Any:
    node = ops.Cast(source.node, dtypes.accumulation(source.dtype))
    dims = plan.kernel_dims
    sums = reduce.Sum(plan.cut(node, 0), dims)
    counts: Node = full_like(sums, divisor or size_of(plan.kernel))
    is_partial = any(plan.extra) or (any(plan.padding) and not count_include_pad)
    if is_partial and divisor is None:
        counts = broadcast_to(_counts(plan, node, count_include_pad), sums.shape)
    divide = ops.Div if sums.dtype.is_floating_point else truncated_divide_nodes
    means = ops.Cast(divide(sums, counts), source.dtype)
    return source.result(drop_dims(means, dims))


def _counts(plan: PoolPlan, node: Node, count_include_pad: bool) -> Node:
    """How many elements each window counts: fewer where it leaves the input."""
    shape = (1,) * plan.first + node.shape[plan.first :]
    ones = broadcast_to(constant(1, node.dtype), shape)
    if count_include_pad:
        edges = [(edge, edge) for edge in plan.padding]
        ones = pad_spatial(ones, plan.first, edges, 1)
        beyond = [(0, extra) for extra in plan.extra]
        padded = pad_spatial(ones, plan.first, beyond, 0)
        cut = windows(padded, plan.first, plan.kernel, plan.stride, plan.dilation)
    else:
        cut = plan.cut(ones, 0)
    return reduce.Sum(cut, plan.kernel_dims)


def _adaptive_bounds(size: int, count: int, dim: int, ndim: int) -> tuple[Node, Node]:
    """Whether position n is in cell i, as (i, n) at (dim, dim + 1); and cell sizes."""
    cell = positions(count, dim, ndim + 1)
    place = positions(size, dim + 1, ndim + 1)
    scaled = ops.Mul(cell, full_like(cell, size))
    start = ops.IDiv(scaled, full_like(cell, count))
    after = ops.Add(scaled, full_like(cell, size + count - 1))
    stop = ops.IDiv(after, full_like(cell, count))
    shape = list(place.shape)
    shape[dim] = count
    start_all, stop_all = (
        broadcast_to(start, tuple(shape)),
        broadcast_to(stop, tuple(shape)),
    )
    where = broadcast_to(place, tuple(shape))
    inside = ops.And(ops.Not(ops.Lt(where, start_all)), ops.Lt(where, stop_all))
    return inside, ops.Sub(stop, start)


def _adaptive_sizes(source: Any, output_size: Any, spatial: int) -> list[int]:
    """How many cells each spatial dimension gets; None keeps its size."""
    first = source.ndim - spatial
    if first not in (1, 2):
        raise ShapeError(
            f"pooling over {spatial} dimensions of shape {source.shape}",
            hint="the input is (batch, channels, *size); batch may be left out",
        )
    single = output_size is None or isinstance(output_size, int)
    wanted = (output_size,) * spatial if single else tuple(output_size)
    sizes = source.shape[first:]
    return [
        size if count is None else count
        for size, count in zip(sizes, wanted, strict=True)
    ]


def _adaptive_mean(source: Any, output_size: Any, spatial: int) -> Any:
    first = source.ndim - spatial
    node = source.node
    for number, count in enumerate(_adaptive_sizes(source, output_size, spatial)):
        if count != node.shape[first + number]:
            node = _cell_means(node, first + number, count)
    return source.result(node)


def _cell_means(node: Node, dim: int, count: int) -> Node:
    """The means of ``count`` nearly equal cells of one dimension."""
    size = node.shape[dim]
    if count and size % count == 0:
        shape = (*node.shape[:dim], count, size // count, *node.shape[dim + 1 :])
        cells = reduce.Sum(Reshape(node, shape), (dim + 1,))
        lengths: Node = full_like(cells, size // count)
    else:
        inside, sizes = _adaptive_bounds(size, count, dim, node.ndim)
        spread = _for_each_cell(node, dim, count)
        outside = full_like(spread, 0)
        masked = ops.Where(broadcast_to(inside, spread.shape), spread, outside)
        cells = reduce.Sum(masked, (dim + 1,))
        lengths = broadcast_to(ops.Cast(sizes, node.dtype), cells.shape)
    return drop_dims(ops.Div(cells, lengths), (dim + 1,))


def _for_each_cell(node: Node, dim: int, count: int) -> Node:
    """A dimension of cells before ``dim``, each of which sees all elements."""
    apart = Reshape(node, (*node.shape[:dim], 1, *node.shape[dim:]))
    return broadcast_to(apart, (*node.shape[:dim], count, *node.shape[dim:]))


def _adaptive_max(
    source: Any, output_size: Any, spatial: int, return_indices: bool
) -> Any:
    """Dimension by dimension, and with each maximum goes the place that it is from."""
    first = source.ndim - spatial
    counts = _adaptive_sizes(source, output_size, spatial)
    place = source.arange(size_of(source.shape[first:]))
    place = place.reshape(source.shape[first:]).expand(source.shape)
    values = source
    for number, count in enumerate(counts):
        dim = first + number
        inside, _ = _adaptive_bounds(values.shape[dim], count, dim, values.ndim)
        spread = _for_each_cell(values.node, dim, count)
        outside = full_like(spread, dtypes.lowest(spread.dtype))
        masked = ops.Where(broadcast_to(inside, spread.shape), spread, outside)
        found = values.result(masked).max(dim + 1)
        values, place = found.values, place.gather(dim, found.indices)
    return (values, place) if return_indices else values


class PoolingMethods(ConvolutionMethods):
    """Pooling of one to three spatial dimensions, which are the last ones."""

    __slots__ = ()

    def max_pool1d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window, and with ``return_indices`` its place.

        >>> Tensor([[[1.0, 5.0, 3.0, 2.0]]]).max_pool1d(2)
        tensor([[[5., 3.]]])
        """
        plan = PoolPlan(1, self, kernel_size, stride, padding, dilation, ceil_mode)
        return _max_pool(plan, self, return_indices)

    def max_pool2d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window of the last two dimensions.

        >>> Tensor([[[1.0, 2.0], [3.0, 4.0]]]).max_pool2d(2)
        tensor([[[4.]]])
        """
        plan = PoolPlan(2, self, kernel_size, stride, padding, dilation, ceil_mode)
        return _max_pool(plan, self, return_indices)

    def max_pool3d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        """The largest element of each window of the last three dimensions.

        >>> Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).max_pool3d((1, 2, 2))
        tensor([[[[4.]]]])
        """
        plan = PoolPlan(3, self, kernel_size, stride, padding, dilation, ceil_mode)
        return _max_pool(plan, self, return_indices)

    def avg_pool1d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Tensor:
        """The mean of each window; ``count_include_pad`` counts the padding's zeros.

        >>> Tensor([[[1.0, 5.0, 3.0, 2.0]]]).avg_pool1d(2)
        tensor([[[3.0000, 2.5000]]])
        """
        plan = PoolPlan(1, self, kernel_size, stride, padding, 1, ceil_mode)
        return _avg_pool(plan, self, count_include_pad, None)

    def avg_pool2d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        """The mean of each window of the last two dimensions.

        >>> Tensor([[[1.0, 2.0], [3.0, 4.0]]]).avg_pool2d(2)
        tensor([[[2.5000]]])
        """
        plan = PoolPlan(2, self, kernel_size, stride, padding, 1, ceil_mode)
        return _avg_pool(plan, self, count_include_pad, divisor_override)

    def avg_pool3d(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        """The mean of each window of the last three dimensions.

        >>> Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).avg_pool3d((1, 2, 2))
        tensor([[[[2.5000]]]])
        """
        plan = PoolPlan(3, self, kernel_size, stride, padding, 1, ceil_mode)
        return _avg_pool(plan, self, count_include_pad, divisor_override)

    def adaptive_avg_pool1d(self, output_size: Any) -> Tensor:
        """Means of ``output_size`` nearly equal cells of the last dimension.

        >>> Tensor([[[1.0, 2.0, 3.0]]]).adaptive_avg_pool1d(2)
        tensor([[[1.5000, 2.5000]]])
        """
        return _adaptive_mean(self, output_size, 1)

    def adaptive_avg_pool2d(self, output_size: Any) -> Tensor:
        """Means of nearly equal cells of the last two dimensions; None keeps a size.

        >>> Tensor([[[1.0, 2.0], [3.0, 4.0]]]).adaptive_avg_pool2d(1)
        tensor([[[2.5000]]])
        """
        return _adaptive_mean(self, output_size, 2)

    def adaptive_avg_pool3d(self, output_size: Any) -> Tensor:
        """Means of nearly equal cells of the last three dimensions.

        >>> Tensor.ones(1, 2, 4, 4).adaptive_avg_pool3d(2).shape
        (1, 2, 2, 2)
        """
        return _adaptive_mean(self, output_size, 3)

    def adaptive_max_pool1d(
        self, output_size: Any, return_indices: bool = False
    ) -> Any:
        """The largest of ``output_size`` nearly equal cells of the last dimension.

        >>> Tensor([[1.0, 2.0, 3.0, 4.0]]).adaptive_max_pool1d(2)
        tensor([[2., 4.]])
        """
        return _adaptive_max(self, output_size, 1, return_indices)

    def adaptive_max_pool2d(
        self, output_size: Any, return_indices: bool = False
    ) -> Any:
        """The largest of nearly equal cells of the last two dimensions.

        >>> Tensor([[[1.0, 2.0], [3.0, 4.0]]]).adaptive_max_pool2d(1)
        tensor([[[4.]]])
        """
        return _adaptive_max(self, output_size, 2, return_indices)

    def adaptive_max_pool3d(
        self, output_size: Any, return_indices: bool = False
    ) -> Any:
        """The largest of nearly equal cells of the last three dimensions.

        >>> Tensor.ones(1, 2, 4, 4).adaptive_max_pool3d(2).shape
        (1, 2, 2, 2)
        """
        return _adaptive_max(self, output_size, 3, return_indices)

    def pixel_shuffle(self, upscale_factor: int) -> Tensor:
        """Channels become pixels: (…, C·r², H, W) -> (…, C, H·r, W·r).

        >>> Tensor([[[1]], [[2]], [[3]], [[4]]]).pixel_shuffle(2)
        tensor([[[1, 2],
                 [3, 4]]])
        """
        factor = upscale_factor
        *batch, channels, height, width = self.shape
        if channels % factor**2:
            raise ShapeError(
                f"pixel_shuffle({factor}) of {channels} channels",
                hint=f"the channels must be a multiple of {factor**2}",
            )
        shape = (*batch, channels // factor**2, factor, factor, height, width)
        last = len(batch)
        order = (*range(last), *(last + place for place in (0, 3, 1, 4, 2)))
        node = Permute(Reshape(self.node, shape), order)
        joined = (*batch, channels // factor**2, height * factor, width * factor)
        return self.result(Reshape(node, joined))

    def pixel_unshuffle(self, downscale_factor: int) -> Tensor:
        """Pixels become channels: the inverse of ``pixel_shuffle``.

        >>> Tensor([[[1, 2], [3, 4]]]).pixel_unshuffle(2).shape
        (4, 1, 1)
        """
        factor = downscale_factor
        *batch, channels, height, width = self.shape
        shape = (
            *batch, channels, height // factor, factor, width // factor, factor,
        )  # fmt: skip
        last = len(batch)
        order = (*range(last), *(last + place for place in (0, 2, 4, 1, 3)))
        node = Permute(Reshape(self.node, shape), order)
        joined = (*batch, channels * factor**2, height // factor, width // factor)
        return self.result(Reshape(node, joined))
