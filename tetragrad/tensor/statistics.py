"""Statistics of samples, and calculus on sampled functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.joining import cat
from tetragrad.tensor.products import ProductMethods
from tetragrad.tensor.promotion import normal_dim
from tetragrad.tensor.reductions import ValuesAndIndices

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class Histogram(NamedTuple):
    """How much lies in each interval, and the edges of the intervals."""

    hist: Tensor
    bin_edges: Any


class StatisticsMethods(ProductMethods):
    """Methods that describe a sample, or differentiate and integrate a curve."""

    __slots__ = ()

    # --- samples ----------------------------------------------------------------------

    def cov(
        self,
        *,
        correction: int = 1,
        fweights: Tensor | None = None,
        aweights: Tensor | None = None,
    ) -> Tensor:
        """The covariances of variables (rows) over observations (columns).

        Args:
            correction: is taken off the number of observations.
            fweights: how often each observation was made.
            aweights: how much each observation counts.

        >>> Tensor([[0.0, 2.0], [0.0, 4.0]]).cov()
        tensor([[2., 4.],
                [4., 8.]])
        """
        if self.ndim > 2:
            raise ShapeError(
                f"cov() of shape {self.shape}: it takes a matrix",
                hint="pass one row for each variable",
            )
        rows: Any = self.reshape(1, -1) if self.ndim < 2 else self
        if not (rows.dtype.is_floating_point or rows.dtype.is_complex):
            rows = rows.float()
        weights = _weights(fweights, aweights)
        if weights is None:
            mean, count = rows.mean(1, keepdim=True), rows.shape[1]
        else:
            weights = weights.to(rows.dtype)
            count = weights.sum()
            mean = (rows * weights).sum(1, keepdim=True) / count
        deviation = rows - mean
        weighted = deviation if weights is None else deviation * weights
        divisor = _degrees_of_freedom(count, correction, weights, aweights)
        other = deviation.conj() if deviation.dtype.is_complex else deviation
        product = weighted.matmul(other.t()) / divisor
        return product.squeeze() if rows.shape[0] == 1 else product

    def corrcoef(self) -> Tensor:
        """The correlations of variables (rows) over observations (columns).

        >>> Tensor([[0.0, 2.0], [0.0, 4.0]]).corrcoef()
        tensor([[1., 1.],
                [1., 1.]])
        """
        covariance = self.cov()
        if not covariance.ndim:
            return covariance / covariance
        deviation = covariance.diagonal().sqrt()
        scaled = covariance / deviation.unsqueeze(1) / deviation.unsqueeze(0)
        return scaled if scaled.dtype.is_complex else scaled.clamp(-1, 1)

    @also_axis
    def mode(self, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
        """The most frequent value (of several, the smallest), and its last place.

        >>> Tensor([3, 1, 3, 2]).mode().values
        tensor(3)
        """
        if not self.ndim:
            return ValuesAndIndices(self.alias_copy(), self.zeros_like().long())
        dim = normal_dim(dim, self.ndim)
        if not self.shape[dim]:
            raise ShapeError(f"mode() of nothing: shape {self.shape}")
        moved = self.movedim(dim, -1)
        counts = moved.unsqueeze(-1).eq(moved.unsqueeze(-2)).sum(-1)
        is_most = counts == counts.amax(-1, keepdim=True)
        # In order, the first of the most frequent values is the smallest.
        order = moved.argsort(-1)
        first = is_most.gather(-1, order).long().argmax(-1, keepdim=True)
        value = moved.detach().gather(-1, order).gather(-1, first)
        place = _positions_like(moved)
        last = place.masked_fill(moved.detach() != value, -1).amax(-1, keepdim=True)
        pair = moved.gather(-1, last), last
        if not keepdim:
            return ValuesAndIndices(*(entry.squeeze(-1) for entry in pair))
        return ValuesAndIndices(*(entry.movedim(-1, dim) for entry in pair))

    @also_axis
    def nanmedian(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The middle one of the elements that are not NaN; as ``median`` otherwise.

        >>> Tensor([1.0, float('nan'), 3.0]).nanmedian()
        tensor(1.)
        """
        if dim is None:
            return self.ravel().nanmedian(0).values
        if not self.ndim:
            return self.reshape(1).nanmedian(0)
        dim = normal_dim(dim, self.ndim)
        if not self.dtype.is_floating_point:
            return self.median(dim, keepdim)
        if not self.shape[dim]:
            raise ShapeError(f"nanmedian() of nothing: shape {self.shape}")
        # NaN comes last in order, so the others stand in front.
        found = self.sort(dim)
        count = self.eq(self).sum(dim, keepdim=True)
        middle = (count - 1).clamp(min=0).floor_divide(2)
        values = found.values.gather(dim, middle)
        indices = found.indices.gather(dim, middle)
        if keepdim:
            return ValuesAndIndices(values, indices)
        return ValuesAndIndices(values.squeeze(dim), indices.squeeze(dim))

    def histogram(
        self,
        bins: Any,
        *,
        range: Sequence[float] | None = None,
        weight: Tensor | None = None,
        density: bool = False,
    ) -> Histogram:
        """How many elements (or how much weight) lie between neighbouring edges.

        Args:
            bins: the number of equal intervals, or their edges in order.
            range: the outer edges; the smallest and largest element if left out.
            weight: what each element counts for.
            density: divide by the total and by the widths, so that the area is 1.

        >>> Tensor([1.0, 2.0, 1.0]).histogram(2, range=(0.0, 4.0)).hist
        tensor([2., 1.])
        """
        flat = self.ravel().reshape(-1, 1)
        found = flat.histogramdd([bins], range=range, weight=weight, density=density)
        return Histogram(found.hist, found.bin_edges[0])

    def histogramdd(
        self,
        bins: Any,
        *,
        range: Sequence[float] | None = None,
        weight: Tensor | None = None,
        density: bool = False,
    ) -> Histogram:
        """Counts of points (rows) in the cells of a grid with one axis a column.

        The arguments are those of ``histogram``, with a number of intervals or the
        edges for each axis, and a pair of outer edges for each axis in ``range``.

        >>> points = Tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> points.histogramdd([2, 2]).hist
        tensor([[1., 0.],
                [0., 1.]])
        """
        axes = self.shape[-1]
        points = self.reshape(-1, axes)
        wanted = [bins] * axes if isinstance(bins, int) else list(bins)
        outer = [None] * axes if range is None else _pairs(range)
        columns = points.unbind(1) if axes else ()
        edges: list[Any] = [
            entry if isinstance(entry, TensorBase) else _even_edges(column, entry, pair)
            for entry, column, pair in zip(wanted, columns, outer, strict=True)
        ]
        counts = _cell_counts(columns, edges, weight)
        if density:
            counts = counts / counts.sum()
            for axis, entry in enumerate(edges):
                shape = [-1 if place == axis else 1 for place in _places(axes)]
                counts = counts / entry.diff().reshape(shape)
        return Histogram(counts, tuple(edges))

    # --- curves -----------------------------------------------------------------------

    def trapezoid(
        self, x: Tensor | None = None, *, dx: float = 1, dim: int = -1
    ) -> Tensor:
        """The integral along a dimension, by the trapezoidal rule.

        >>> Tensor([1.0, 3.0, 5.0]).trapezoid()
        tensor(6.)
        """
        return self._trapezoids(x, dx, dim).sum(dim)

    trapz = trapezoid

    def cumulative_trapezoid(
        self, x: Tensor | None = None, *, dx: float = 1, dim: int = -1
    ) -> Tensor:
        """The integral up to each point but the first, by the trapezoidal rule.

        >>> Tensor([1.0, 1.0, 1.0]).cumulative_trapezoid()
        tensor([1., 2.])
        """
        return self._trapezoids(x, dx, dim).cumsum(dim)

    def _trapezoids(self, x: Tensor | None, dx: float, dim: int) -> Tensor:
        """The areas between neighbouring points."""
        size = self.shape[dim]
        later = self.narrow(dim, min(1, size), max(size - 1, 0))
        mean = (later + self.narrow(dim, 0, max(size - 1, 0))) / 2
        if x is None:
            return mean if dx == 1 else mean * dx
        if x.ndim == 1 and self.ndim > 1:
            axis = normal_dim(dim, self.ndim)
            shape = [-1 if place == axis else 1 for place in _places(self.ndim)]
            x = x.reshape(shape)
        return mean * x.diff(dim=dim - self.ndim if dim >= 0 else dim)

    def gradient(
        self, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
    ) -> list[Tensor]:
        """The derivatives of a sampled function along dimensions, one tensor each.

        Differences are central and of second order, also where the points are not
        evenly spaced; at the ends they are one-sided and of order ``edge_order``
        (B. Fornberg, Mathematics of Computation 51, 1988).

        Args:
            spacing: the distance of neighbours, one for each dimension, or for each
                dimension a vector of the points' coordinates.

        >>> Tensor([1.0, 4.0, 9.0]).gradient()[0]
        tensor([3., 4., 5.])
        """
        named = [dim] if isinstance(dim, int) else dim
        dims = list(_places(self.ndim)) if named is None else list(named)
        spacing = 1 if spacing is None else spacing
        steps = spacing if isinstance(spacing, list | tuple) else [spacing] * len(dims)
        if len(steps) != len(dims) or edge_order not in (1, 2):
            raise ShapeError(
                f"gradient() along {dims} with {len(steps)} spacings and "
                f"edge_order {edge_order}",
                hint="give one spacing for each dimension; edge_order is 1 or 2",
            )
        return [
            _derivative(self, normal_dim(axis, self.ndim), step, edge_order)
            for axis, step in zip(dims, steps, strict=True)
        ]

    # --- distances --------------------------------------------------------------------

    def dist(self, other: Tensor, p: float = 2) -> Tensor:
        """The p-norm of the difference of two tensors.

        >>> Tensor([3.0, 4.0]).dist(Tensor([0.0, 0.0]))
        tensor(5.)
        """
        return (self - other).norm(p)

    def renorm(self, p: float, dim: int, maxnorm: float) -> Tensor:
        """Slices along ``dim`` whose p-norm is above ``maxnorm``, shortened to it.

        >>> Tensor([[3.0, 4.0], [0.3, 0.4]]).renorm(2, 0, 1.0)
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
        """
        axis = normal_dim(dim, self.ndim)
        others = tuple(place for place in _places(self.ndim) if place != axis)
        size = self.norm(p, others, keepdim=True)
        # The small number keeps a norm of zero from dividing.
        factor = where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)
        return self * factor


_places = range


def _positions_like(tensor: Tensor) -> Tensor:
    """The place of each element along the last dimension."""
    return tensor.arange(tensor.shape[-1]).expand(tensor.shape)


def _weights(frequencies: Tensor | None, weights: Tensor | None) -> Any:
    """The weight of each observation: both kinds multiply."""
    if frequencies is None or weights is None:
        return weights if frequencies is None else frequencies
    if frequencies.shape != weights.shape:
        raise ShapeError(
            f"fweights of shape {frequencies.shape}, aweights of {weights.shape}"
        )
    return frequencies * weights


def _degrees_of_freedom(
    count: Any, correction: int, weights: Any, importance: Tensor | None
) -> Any:
    """The divisor of a covariance: the count less what ``correction`` asks for."""
    if weights is None:
        return max(count - correction, 0)
    lost: Any = correction
    if importance is not None:
        lost = (weights * importance).sum() / count * correction
    return (count - lost).clamp(min=0)


def _pairs(numbers: Sequence[float]) -> list[Any]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _even_edges(column: Tensor, count: int, outer: Any) -> Tensor:
    """The edges of equal intervals; equal outer edges move apart by a half each."""
    if not column.dtype.is_floating_point:
        raise DTypeError(
            f"a histogram of {column.dtype}", hint="convert it first: x.float()"
        )
    if outer is None:
        empty = not column.numel()
        low = 0.0 if empty else column.amin().item()
        high = 1.0 if empty else column.amax().item()
    else:
        low, high = outer
    if low == high:
        low, high = low - 0.5, high + 0.5
    return column.linspace(low, high, count + 1, dtype=column.dtype)


def _cell_counts(
    columns: Sequence[Tensor], edges: Sequence[Tensor], weight: Tensor | None
) -> Tensor:
    """The weight of the points in each cell; those outside of the grid are left out."""
    first = columns[0]
    place, inside = first.zeros_like().long(), first.ones_like().bool()
    shape = []
    for column, entry in zip(columns, edges, strict=True):
        count = entry.shape[0] - 1
        cell = entry.searchsorted(column, right=True) - 1
        # The last interval includes its upper edge.
        cell = where(column == entry[-1], count - 1, cell)
        inside = inside & (column >= entry[0]) & (column <= entry[-1])
        place = place * count + cell.clamp(0, max(count - 1, 0))
        shape.append(count)
    amount = first.ones_like() if weight is None else weight.ravel().to(first.dtype)
    counted = amount.masked_fill(inside.logical_not(), 0)
    target = first.zeros(math.prod(shape), dtype=first.dtype)
    return target.scatter_add(0, place.to(dtypes.int64), counted).reshape(shape)


def _derivative(source: Any, dim: int, step: Any, edge_order: int) -> Tensor:
    """Differences of three neighbours, and one-sided ones at the ends."""
    size = source.shape[dim]
    if size < edge_order + 1:
        raise ShapeError(
            f"gradient() along dimension {dim} of shape {source.shape}",
            hint=f"at least {edge_order + 1} points are needed",
        )
    values = source.movedim(dim, -1)
    values = values if values.dtype.is_floating_point else values.float()
    gaps = _gaps(values, step, size)
    slopes = values.diff() / gaps
    left, right = slopes[..., :-1], slopes[..., 1:]
    before, after = gaps[..., :-1], gaps[..., 1:]
    middle = (left * after + right * before) / (before + after)
    first, last = slopes[..., :1], slopes[..., -1:]
    if edge_order == 2:
        bend = (right - left) / (before + after)
        first = first - gaps[..., :1] * bend[..., :1]
        last = last + gaps[..., -1:] * bend[..., -1:]
    return cat([first, middle, last], -1).movedim(-1, dim)


def _gaps(values: Tensor, step: Any, size: int) -> Any:
    """The distances of neighbouring points."""
    if isinstance(step, TensorBase) and step.ndim:
        points: Any = step
        return points.diff()
    return values.ones(size - 1, dtype=values.dtype) * step
