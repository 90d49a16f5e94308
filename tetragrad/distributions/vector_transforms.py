"""Transforms of vectors and matrices: probabilities, triangles, shapes, parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import ShapeError
from tetragrad.distributions import constraints
from tetragrad.distributions.continuous import smallest
from tetragrad.distributions.distribution import Shape
from tetragrad.distributions.transforms import Transform, inside_unit
from tetragrad.graph.node import size_of
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat, stack
from tetragrad.tensor.linalg.factorisations import cholesky


class ReshapeTransform(Transform):
    """The same elements under another shape of the event.

    >>> tetragrad.distributions.ReshapeTransform((4,), (2, 2))(Tensor.zeros(3, 4)).shape
    (3, 2, 2)
    """

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if size_of(self.in_shape) != size_of(self.out_shape):
            raise ShapeError(
                f"ReshapeTransform from {self.in_shape} to {self.out_shape}",
                hint="both have the same number of elements",
            )
        self.domain = constraints.independent(constraints.real, len(self.in_shape))
        self.codomain = constraints.independent(constraints.real, len(self.out_shape))

    def __call__(self, x: Tensor) -> Tensor:
        return x.reshape(self.forward_shape(x.shape))

    def inverse(self, y: Tensor) -> Tensor:
        return y.reshape(self.inverse_shape(y.shape))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        batch = x.shape[: x.ndim - len(self.in_shape)]
        return x.new_zeros(batch)

    def forward_shape(self, shape: Shape) -> Shape:
        return _swapped(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return _swapped(shape, self.out_shape, self.in_shape)


def _swapped(shape: Shape, old: Shape, new: Shape) -> Shape:
    split = len(shape) - len(old)
    if split < 0 or shape[split:] != old:
        raise ShapeError(
            f"ReshapeTransform of events {old}: shape {shape} ends otherwise"
        )
    return (*shape[:split], *new)


class SoftmaxTransform(Transform):
    """y = softmax(x): all x that differ by a constant give one y.

    >>> tetragrad.distributions.SoftmaxTransform()(Tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = False

    def __call__(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def inverse(self, y: Tensor) -> Tensor:
        return y.log()


class StickBreakingTransform(Transform):
    """From n real numbers to n + 1 probabilities: each breaks off a part of a stick.

    Source: Stan Reference Manual, "Unit simplex inverse transform".

    >>> tetragrad.distributions.StickBreakingTransform()(Tensor([0.0]))
    tensor([0.5000, 0.5000])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def __call__(self, x: Tensor) -> Tensor:
        share = inside_unit((x - _left_after(x).log()).sigmoid())
        rest = (1 - share).cumprod(-1)
        return share.pad((0, 1), value=1.0) * rest.pad((1, 0), value=1.0)

    def inverse(self, y: Tensor) -> Tensor:
        broken = y[..., :-1]
        rest = (1 - broken.cumsum(-1)).clamp(min=smallest(y))
        return broken.log() - rest.log() + _left_after(broken).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        x = x - _left_after(x).log()
        return (-x + x.logsigmoid() + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] - 1)


def _left_after(x: Tensor) -> Tensor:
    """How many parts are to come after each: n, n - 1, … 1."""
    size = x.shape[-1]
    numbers = np.arange(size, 0, -1)
    return Tensor(numbers).to(x.device).to(x.dtype)


class LowerCholeskyTransform(Transform):
    """Square matrices to lower triangles with a positive diagonal.

    >>> matrix = Tensor([[0.0, 5.0], [3.0, 0.0]])
    >>> tetragrad.distributions.LowerCholeskyTransform()(matrix)
    tensor([[1., 0.],
            [3., 1.]])
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def __call__(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(0, -2, -1).exp().diag_embed()

    def inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(0, -2, -1).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """Square matrices to positive definite ones: L·Lᵀ of the triangle L.

    >>> tetragrad.distributions.PositiveDefiniteTransform()(Tensor([[0.0]]))
    tensor([[1.]])
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def __call__(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inverse(cholesky(y))


class CorrCholeskyTransform(Transform):
    """n(n-1)/2 real numbers to the Cholesky factor of a correlation matrix.

    Source: Stan Reference Manual, "Cholesky factors of correlation matrices".

    >>> tetragrad.distributions.CorrCholeskyTransform()(Tensor([0.0]))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky

    def __call__(self, x: Tensor) -> Tensor:
        size = self.forward_shape(x.shape)[-1]
        places = np.tril_indices(size, -1)
        rows = np.full((size, size), -1)
        rows[places] = np.arange(x.shape[-1])
        padded = x.tanh().pad((0, 1))
        partial = padded[..., Tensor(rows % (x.shape[-1] + 1)).to(x.device)]
        rest = (1 - partial * partial).sqrt().cumprod(-1)
        unit = Tensor.eye(size, dtype=x.dtype, device=x.device)
        return (partial + unit) * rest[..., :-1].pad((1, 0), value=1.0)

    def inverse(self, y: Tensor) -> Tensor:
        left = 1 - (y * y).cumsum(-1)
        before = left[..., :-1].pad((1, 0), value=1.0)
        partial = _below_diagonal(y, -1) / _below_diagonal(before, -1).sqrt()
        return (partial.log1p() - (-partial).log1p()) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        left = _below_diagonal(1 - (y * y).cumsum(-1), -2)
        stretched = 0.5 * left.log().sum(-1)
        return stretched - 2 * (x + (-2 * x).softplus() - math.log(2)).sum(-1)

    def forward_shape(self, shape: Shape) -> Shape:
        size = round((0.25 + 2 * shape[-1]) ** 0.5 + 0.5)
        if size * (size - 1) // 2 != shape[-1]:
            raise ShapeError(
                f"CorrCholeskyTransform of {shape[-1]} numbers",
                hint="a matrix of n rows takes n·(n - 1)/2",
            )
        return (*shape[:-1], size, size)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


def _below_diagonal(matrix: Tensor, offset: int) -> Tensor:
    """The elements on and below a diagonal, row by row."""
    size = matrix.shape[-1]
    rows, columns = np.tril_indices(size, offset)
    flat = matrix.reshape(*matrix.shape[:-2], size * size)
    return flat[..., Tensor(rows * size + columns).to(matrix.device)]


class CatTransform(Transform):
    """Several transforms, each of so many elements along a dimension.

    >>> from tetragrad.distributions import CatTransform, ExpTransform, SigmoidTransform
    >>> CatTransform([ExpTransform(), SigmoidTransform()])(Tensor([0.0, 0.0]))
    tensor([1.0000, 0.5000])
    """

    def __init__(
        self,
        tseq: Sequence[Transform],
        dim: int = 0,
        lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(cache_size)
        self.transforms = tuple(tseq)
        self.dim = dim
        self.lengths = tuple(lengths or [1] * len(self.transforms))
        self.bijective = all(part.bijective for part in self.transforms)
        self.domain = max((t.domain for t in tseq), key=lambda c: c.event_dim)
        self.codomain = max((t.codomain for t in tseq), key=lambda c: c.event_dim)

    def __call__(self, x: Tensor) -> Tensor:
        pairs = zip(self.transforms, self._parts_of(x), strict=True)
        return cat([part(piece) for part, piece in pairs], self.dim)

    def inverse(self, y: Tensor) -> Tensor:
        pairs = zip(self.transforms, self._parts_of(y), strict=True)
        return cat([part.inverse(piece) for part, piece in pairs], self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        pieces = zip(self.transforms, self._parts_of(x), self._parts_of(y), strict=True)
        terms = [part.log_abs_det_jacobian(a, b) for part, a, b in pieces]
        return cat(terms, self.dim)

    def _parts_of(self, value: Tensor) -> list[Tensor]:
        starts = np.cumsum([0, *self.lengths]).tolist()
        return [
            value.narrow(self.dim, start, length)
            for start, length in zip(starts, self.lengths, strict=False)
        ]


class StackTransform(Transform):
    """Several transforms, one for each element along a dimension.

    >>> from tetragrad.distributions import ExpTransform, SigmoidTransform
    >>> from tetragrad.distributions import StackTransform
    >>> StackTransform([ExpTransform(), SigmoidTransform()])(Tensor([0.0, 0.0]))
    tensor([1.0000, 0.5000])
    """

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.transforms = tuple(tseq)
        self.dim = dim
        self.bijective = all(part.bijective for part in self.transforms)

    def _each(self, call: Callable[..., Tensor], *values: Tensor) -> Tensor:
        pieces = zip(*(value.unbind(self.dim) for value in values), strict=True)
        parts = zip(self.transforms, pieces, strict=True)
        return stack([call(part, *piece) for part, piece in parts], self.dim)

    def __call__(self, x: Tensor) -> Tensor:
        return self._each(lambda part, piece: part(piece), x)

    def inverse(self, y: Tensor) -> Tensor:
        return self._each(lambda part, piece: part.inverse(piece), y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        def term(part: Any, before: Tensor, after: Tensor) -> Tensor:
            found: Tensor = part.log_abs_det_jacobian(before, after)
            return found

        return self._each(term, x, y)
