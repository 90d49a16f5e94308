"""The normal distribution of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.distributions import constraints
from tetragrad.distributions.continuous import normal
from tetragrad.distributions.distribution import Distribution, check_event
from tetragrad.tensor import Tensor
from tetragrad.tensor.linalg.factorisations import cholesky
from tetragrad.tensor.linalg.solving import solve_triangular
from tetragrad.tensor.promotion import broadcast_shapes


class MultivariateNormal(Distribution):
    """Normal vectors with a mean ``loc`` and one of three spellings of the spread.

    Args:
        loc: (…, n).
        covariance_matrix: (…, n, n), positive definite.
        precision_matrix: its inverse.
        scale_tril: its Cholesky factor, which the others are turned into.

    >>> cov = Tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> tetragrad.distributions.MultivariateNormal(Tensor([0.0, 0.0]), cov).variance
    tensor([4., 1.])
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = [covariance_matrix, precision_matrix, scale_tril]
        matrices = [entry for entry in given if entry is not None]
        if len(matrices) != 1:
            raise TetragradError(
                "MultivariateNormal takes one of covariance_matrix, precision_matrix "
                f"and scale_tril, and got {len(matrices)}"
            )
        if loc.ndim < 1 or matrices[0].ndim < 2:
            raise ShapeError(
                f"MultivariateNormal with a mean of shape {loc.shape} and a matrix of "
                f"shape {matrices[0].shape}: a vector and a matrix, or batches"
            )
        size = loc.shape[-1]
        batch = broadcast_shapes(loc.shape[:-1], matrices[0].shape[:-2])
        self.loc = loc.expand(*batch, size)
        if scale_tril is not None:
            factor = scale_tril
        elif covariance_matrix is not None:
            factor = cholesky(covariance_matrix)
        else:
            assert precision_matrix is not None
            factor = _factor_of_inverse(precision_matrix)
        self.scale_tril = factor.expand(*batch, size, size)
        super().__init__(batch, (size,), validate_args)

    @property
    def covariance_matrix(self) -> Tensor:
        """The mean products of deviations."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return self.scale_tril.cholesky_inverse()

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return (self.scale_tril * self.scale_tril).sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = normal(self.shape_of(sample_shape), self.loc)
        return self.loc + (self.scale_tril @ draw.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        size = self.event_shape[0]
        check_event("MultivariateNormal", value, size)
        self._check_outcome(value)
        distance = mahalanobis(self.scale_tril, value - self.loc)
        return -(size * math.log(2 * math.pi) + distance) / 2 - self._half_log_det()

    def entropy(self) -> Tensor:
        size = self.event_shape[0]
        return size / 2 * (1 + math.log(2 * math.pi)) + self._half_log_det()

    def _half_log_det(self) -> Tensor:
        return self.scale_tril.diagonal(0, -2, -1).log().sum(-1)


def mahalanobis(factor: Tensor, difference: Tensor) -> Tensor:
    """The squared length of L⁻¹ x."""
    column: Any = difference.unsqueeze(-1)
    solved = solve_triangular(factor, column, upper=False).squeeze(-1)
    return (solved * solved).sum(-1)


def _factor_of_inverse(precision: Tensor) -> Tensor:
    """The Cholesky factor of P⁻¹: J M⁻ᵀ J, with P = J M Mᵀ J for the reversal J."""
    reversed_factor = cholesky(precision.flip(-2, -1))
    upper = reversed_factor.flip(-2, -1).mT
    size = precision.shape[-1]
    unit = precision.tensor_class.eye(
        size, dtype=precision.dtype, device=precision.device
    )
    return solve_triangular(upper, unit.expand(*upper.shape), upper=False)
