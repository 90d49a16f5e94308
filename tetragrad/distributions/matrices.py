"""Distributions of matrices, and normal vectors whose covariance has few factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tetragrad.core.errors import ShapeError
from tetragrad.distributions import constraints
from tetragrad.distributions.continuous import normal, smallest
from tetragrad.distributions.distribution import Distribution, as_tensors, check_event
from tetragrad.distributions.gamma_family import Beta, Chi2
from tetragrad.distributions.multivariate import MultivariateNormal, mahalanobis
from tetragrad.tensor import Tensor
from tetragrad.tensor.linalg.factorisations import cholesky
from tetragrad.tensor.linalg.solving import solve_triangular
from tetragrad.tensor.promotion import broadcast_shapes


def _counting(size: int, like: Tensor) -> Tensor:
    """0, 1, … size - 1."""
    return Tensor(np.arange(size)).to(like.device).to(like.dtype)


class LKJCholesky(Distribution):
    """Cholesky factors of correlation matrices; likelier near 1 for more concentration.

    Source: Lewandowski, Kurowicka and Joe, "Generating random correlation matrices
    based on vines and extended onion method", 2009.

    >>> tetragrad.distributions.LKJCholesky(3, 1.0).sample().shape
    (3, 3)
    """

    arg_constraints: ClassVar = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(
        self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        if dim < 2:
            raise ShapeError(
                f"LKJCholesky of dim={dim}", hint="a correlation has two rows or more"
            )
        self.dim = dim
        (self.concentration,) = as_tensors(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        concentration = self.concentration.detach().unsqueeze(-1)
        # Row k has the squared length y of its first k elements, in any direction.
        before = (_counting(self.dim, concentration) - 1).clamp(min=0)
        marginal = concentration + (self.dim - 2) / 2 - before / 2
        lengths = Beta(before + 0.5, marginal, validate_args=False).sample(sample_shape)
        direction = normal(self.shape_of(sample_shape), concentration).tril(-1)
        size = direction.square().sum(-1, keepdim=True).sqrt()
        direction = direction / size.where(size > 0, 1.0)
        rows = lengths.unsqueeze(-1).sqrt() * direction
        rest = (1 - rows.square().sum(-1)).clamp(min=smallest(rows))
        return (rows + rest.sqrt().diag_embed()).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        diagonal = value.diagonal(0, -2, -1)[..., 1:]
        order = self.dim - 2 - _counting(self.dim - 1, value)
        powers = 2 * (self.concentration - 1).unsqueeze(-1) + order
        count = self.dim - 1
        alpha = self.concentration + count / 2
        norm = count / 2 * math.log(math.pi) + (alpha - 0.5).mvlgamma(count)
        density = (powers * diagonal.log()).sum(-1)
        return density - norm + alpha.lgamma() * count


class Wishart(Distribution):
    """Sums of outer products of ``df`` normal vectors.

    Args:
        df: degrees of freedom, above n - 1.
        covariance_matrix: (…, n, n), of the vectors.
        precision_matrix: its inverse.
        scale_tril: its Cholesky factor.

    >>> tetragrad.distributions.Wishart(3.0, Tensor([[4.0]])).mean
    tensor([[12.]])
    """

    has_rsample = True
    arg_constraints: ClassVar = {"df": constraints.positive}
    support = constraints.positive_definite

    def __init__(
        self,
        df: Any,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = [covariance_matrix, precision_matrix, scale_tril]
        first = next((entry for entry in given if entry is not None), None)
        size = 0 if first is None else first.shape[-1]
        (degrees,) = as_tensors(df)
        # The normal distribution sorts out the three spellings.
        zero = Tensor.zeros(max(size, 1), dtype=degrees.dtype, device=degrees.device)
        factor = MultivariateNormal(
            zero, covariance_matrix, precision_matrix, scale_tril, validate_args
        ).scale_tril
        batch = broadcast_shapes(degrees.shape, factor.shape[:-2])
        self.df = degrees.expand(*batch)
        self.scale_tril = factor.expand(*batch, size, size)
        super().__init__(batch, (size, size), validate_args)
        if self.validates:
            self._check_degrees(size)

    def _check_degrees(self, size: int) -> None:
        from tetragrad.engine import capture

        if capture.active() is None:
            self._check("df", self.df, constraints.greater_than(size - 1))

    @property
    def covariance_matrix(self) -> Tensor:
        """The covariance of the vectors."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """Its inverse."""
        return self.scale_tril.cholesky_inverse()

    def _by_matrix(self, value: Tensor) -> Tensor:
        return value.reshape(*value.shape, 1, 1)

    @property
    def mean(self) -> Tensor:
        return self._by_matrix(self.df) * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        factor = self.df - self.event_shape[-1] - 1
        factor = factor.where(factor > 0, math.nan)
        return self._by_matrix(factor) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        matrix = self.covariance_matrix
        diagonal = matrix.diagonal(0, -2, -1)
        products = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self._by_matrix(self.df) * (matrix.square() + products)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Bartlett's decomposition (1933): a triangle of normal and χ numbers."""
        size = self.event_shape[-1]
        degrees = self.df.unsqueeze(-1) - _counting(size, self.df)
        diagonal = Chi2(degrees, validate_args=False).rsample(sample_shape).sqrt()
        lower = normal(self.shape_of(sample_shape), self.scale_tril).tril(-1)
        factor = self.scale_tril @ (lower + diagonal.diag_embed())
        return factor @ factor.mT

    def _half_log_det(self) -> Tensor:
        return self.scale_tril.diagonal(0, -2, -1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        size, nu = self.event_shape[-1], self.df
        inner = cholesky(value)
        half_log_det = inner.diagonal(0, -2, -1).log().sum(-1)
        solved = solve_triangular(
            self.scale_tril.expand(*inner.shape), inner, upper=False
        )
        norm = nu * (size * math.log(2) / 2 + self._half_log_det())
        norm = norm + (nu / 2).mvlgamma(size)
        return (nu - size - 1) * half_log_det - solved.square().sum((-2, -1)) / 2 - norm

    def entropy(self) -> Tensor:
        size, nu = self.event_shape[-1], self.df
        halves = (nu.unsqueeze(-1) - _counting(size, nu)) / 2
        digammas = halves.digamma().sum(-1)
        scale = (size + 1) * (size * math.log(2) / 2 + self._half_log_det())
        rest = (nu / 2).mvlgamma(size) - (nu - size - 1) / 2 * digammas
        return scale + rest + nu * size / 2


class LowRankMultivariateNormal(Distribution):
    """Normal vectors with the covariance W·Wᵀ + diag(D), for a narrow W.

    Args:
        loc: (…, n).
        cov_factor: W, (…, n, rank).
        cov_diag: D, (…, n), positive.

    Costs grow with n·rank², by the Woodbury identity.

    >>> loc, factor, diag = Tensor.zeros(3), Tensor.ones(3, 1), Tensor.ones(3)
    >>> tetragrad.distributions.LowRankMultivariateNormal(loc, factor, diag).variance
    tensor([2., 2., 2.])
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector

    def __init__(
        self,
        loc: Tensor,
        cov_factor: Tensor,
        cov_diag: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        size = loc.shape[-1] if loc.ndim else 0
        fits = cov_factor.ndim > 1 and cov_factor.shape[-2] == size
        if not fits or not cov_diag.ndim or cov_diag.shape[-1] != size:
            raise ShapeError(
                f"LowRankMultivariateNormal with a mean of shape {loc.shape}, factors "
                f"of {cov_factor.shape} and a diagonal of {cov_diag.shape}",
                hint="pass (…, n), (…, n, rank) and (…, n)",
            )
        batch = broadcast_shapes(
            loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]
        )
        self.loc = loc.expand(*batch, size)
        self.cov_factor = cov_factor.expand(*batch, *cov_factor.shape[-2:])
        self.cov_diag = cov_diag.expand(*batch, size)
        super().__init__(batch, (size,), validate_args)

    def _capacitance(self) -> Tensor:
        """The Cholesky factor of I + Wᵀ D⁻¹ W."""
        factor = self.cov_factor
        weighted = factor.mT / self.cov_diag.unsqueeze(-2)
        unit = Tensor.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        return cholesky(unit + weighted @ factor)

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return self.cov_factor.square().sum(-1) + self.cov_diag

    @property
    def covariance_matrix(self) -> Tensor:
        """W·Wᵀ + diag(D)."""
        return self.cov_factor @ self.cov_factor.mT + self.cov_diag.diag_embed()

    @property
    def precision_matrix(self) -> Tensor:
        """Its inverse."""
        weighted = self.cov_factor.mT / self.cov_diag.unsqueeze(-2)
        solved = solve_triangular(self._capacitance(), weighted, upper=False)
        return self.cov_diag.reciprocal().diag_embed() - solved.mT @ solved

    @property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        return cholesky(self.covariance_matrix)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self.shape_of(sample_shape)
        few = normal((*shape[:-1], self.cov_factor.shape[-1]), self.loc)
        each = normal(shape, self.loc)
        along = (self.cov_factor @ few.unsqueeze(-1)).squeeze(-1)
        return self.loc + along + self.cov_diag.sqrt() * each

    def _log_det(self, capacitance: Tensor) -> Tensor:
        inner = 2 * capacitance.diagonal(0, -2, -1).log().sum(-1)
        return inner + self.cov_diag.log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        size = self.event_shape[0]
        check_event("LowRankMultivariateNormal", value, size)
        self._check_outcome(value)
        away = value - self.loc
        capacitance = self._capacitance()
        weighted = self.cov_factor.mT / self.cov_diag.unsqueeze(-2)
        inner = (weighted @ away.unsqueeze(-1)).squeeze(-1)
        distance = (away.square() / self.cov_diag).sum(-1)
        distance = distance - mahalanobis(capacitance, inner)
        rest = size * math.log(2 * math.pi) + self._log_det(capacitance)
        return -(rest + distance) / 2

    def entropy(self) -> Tensor:
        size = self.event_shape[0]
        log_det = self._log_det(self._capacitance())
        return (size * (1 + math.log(2 * math.pi)) + log_det) / 2
