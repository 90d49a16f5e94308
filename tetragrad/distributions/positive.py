"""Distributions of positive numbers whose samples are functions of uniform ones.

Densities and moments: Johnson, Kotz and Balakrishnan, Continuous Univariate
Distributions (1994).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.continuous import EULER, Normal, smallest, uniform
from tetragrad.distributions.distribution import Distribution, as_tensors
from tetragrad.tensor import Tensor


class LogNormal(Distribution):
    """exp of a normally distributed number.

    >>> tetragrad.distributions.LogNormal(0.0, 1.0).mean
    tensor(1.6487)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.positive

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = as_tensors(loc, scale)
        self.base = Normal(self.loc, self.scale, validate_args=False)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale * self.scale / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale * self.scale).exp()

    @property
    def variance(self) -> Tensor:
        square = self.scale * self.scale
        return square.expm1() * (2 * self.loc + square).exp()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base.rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        return self.base.log_prob(value.log()) - value.log()

    def cdf(self, value: Tensor) -> Tensor:
        return self.base.cdf(value.log())

    def icdf(self, value: Tensor) -> Tensor:
        return self.base.icdf(value).exp()

    def entropy(self) -> Tensor:
        return self.base.entropy() + self.loc


class Exponential(Distribution):
    """The time between events that come at a ``rate``.

    >>> tetragrad.distributions.Exponential(2.0).mean
    tensor(0.5000)
    """

    has_rsample = True
    arg_constraints: ClassVar = {"rate": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = as_tensors(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        return self.rate * 0

    @property
    def stddev(self) -> Tensor:
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        return (self.rate * self.rate).reciprocal()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = uniform(self.shape_of(sample_shape), self.rate)
        return -(-draw).log1p() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        return -(-self.rate * value).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return -(-value).log1p() / self.rate

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()


class HalfNormal(Distribution):
    """The size of a normally distributed number with mean 0.

    >>> tetragrad.distributions.HalfNormal(1.0).mean
    tensor(0.7979)
    """

    has_rsample = True
    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self.scale,) = as_tensors(scale)
        self.base = Normal(self.scale * 0, self.scale, validate_args=False)
        super().__init__(self.scale.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Tensor:
        return self.scale * 0

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale * (1 - 2 / math.pi)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base.rsample(sample_shape).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        density = self.base.log_prob(value) + math.log(2)
        return density.where(value >= 0, float("-inf"))

    def cdf(self, value: Tensor) -> Tensor:
        return 2 * self.base.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base.entropy() - math.log(2)


class Pareto(Distribution):
    """A power law above ``scale`` with the exponent ``alpha``.

    >>> tetragrad.distributions.Pareto(1.0, 2.0).mean
    tensor(2.)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "scale": constraints.positive,
        "alpha": constraints.positive,
    }

    def __init__(
        self, scale: Any, alpha: Any, validate_args: bool | None = None
    ) -> None:
        self.scale, self.alpha = as_tensors(scale, alpha)
        super().__init__(self.scale.shape, (), validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        alpha = self.alpha.clamp(min=1)
        return alpha * self.scale / (alpha - 1)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        alpha = self.alpha.clamp(min=2)
        return self.scale * self.scale * alpha / ((alpha - 1) ** 2 * (alpha - 2))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = uniform(self.shape_of(sample_shape), self.scale)
        return self.scale * (-(-draw).log1p() / self.alpha).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        alpha = self.alpha
        return alpha.log() + alpha * self.scale.log() - (alpha + 1) * value.log()

    def cdf(self, value: Tensor) -> Tensor:
        return 1 - (self.scale / value).pow(self.alpha)

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-(-value).log1p() / self.alpha).exp()

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + 1 + self.alpha.reciprocal()


class Weibull(Distribution):
    """scale · E^(1/concentration) for an exponential E: times to failure.

    >>> tetragrad.distributions.Weibull(2.0, 1.0).mean
    tensor(2.)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }
    support = constraints.positive

    def __init__(
        self, scale: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.scale, self.concentration = as_tensors(scale, concentration)
        super().__init__(self.scale.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.scale * (1 + self.concentration.reciprocal()).lgamma().exp()

    @property
    def mode(self) -> Tensor:
        power = self.concentration
        peak = ((power - 1) / power).clamp(min=0).pow(power.reciprocal())
        return self.scale * peak.where(power > 1, 0.0)

    @property
    def variance(self) -> Tensor:
        inverse = self.concentration.reciprocal()
        square = (2 * (1 + inverse).lgamma()).exp()
        return self.scale * self.scale * ((1 + 2 * inverse).lgamma().exp() - square)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = uniform(self.shape_of(sample_shape), self.scale)
        size = (-(-draw).log1p()).clamp(min=smallest(draw))
        return self.scale * size.pow(self.concentration.reciprocal())

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        standard = value / self.scale
        power = self.concentration
        return (
            power.log()
            - self.scale.log()
            + (power - 1) * standard.log()
            - standard.pow(power)
        )

    def cdf(self, value: Tensor) -> Tensor:
        return -(-(value / self.scale).pow(self.concentration)).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-(-value).log1p()).pow(self.concentration.reciprocal())

    def entropy(self) -> Tensor:
        inverse = self.concentration.reciprocal()
        return EULER * (1 - inverse) + (self.scale * inverse).log() + 1
