"""Distributions of real numbers of either sign, and what samples are made of.

Densities and moments: Johnson, Kotz and Balakrishnan, Continuous Univariate
Distributions (1994).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.distribution import Distribution, as_tensors
from tetragrad.tensor import Tensor

#: Euler's constant, the mean of the standard Gumbel distribution.
EULER = 0.5772156649015329


def uniform_open(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform numbers above 0 and below 1, for logarithms."""
    return uniform(shape, like).clamp(min=smallest(like))


def uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform numbers from 0 up to, but without, 1."""
    return like.tensor_class.rand(*shape, dtype=like.dtype, device=like.device)


def normal(shape: Sequence[int], like: Tensor) -> Tensor:
    """Normally distributed numbers."""
    return like.tensor_class.randn(*shape, dtype=like.dtype, device=like.device)


def smallest(like: Tensor) -> float:
    """The smallest normal number of a dtype."""
    return {16: 2.0**-14, 32: 2.0**-126, 64: 2.0**-1022}[like.dtype.bits]


class _LocationScale(Distribution):
    """loc + scale · a standard variable."""

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = as_tensors(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)

    def _standard(self, value: Tensor) -> Tensor:
        return (value - self.loc) / self.scale


class Normal(_LocationScale):
    """Gauss's distribution with a mean ``loc`` and a standard deviation ``scale``.

    >>> tetragrad.distributions.Normal(0.0, 1.0).log_prob(Tensor(0.0))
    tensor(-0.9189)
    """

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = normal(self.shape_of(sample_shape), self.loc)
        return self.loc + draw * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        standard = self._standard(value)
        return -standard * standard / 2 - self.scale.log() - math.log(2 * math.pi) / 2

    def cdf(self, value: Tensor) -> Tensor:
        return (self._standard(value) / math.sqrt(2)).erf() / 2 + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        return 0.5 + math.log(2 * math.pi) / 2 + self.scale.log()


class Uniform(Distribution):
    """Every number from ``low`` up to ``high`` equally likely.

    >>> tetragrad.distributions.Uniform(0.0, 2.0).entropy()
    tensor(0.6931)
    """

    has_rsample = True

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = as_tensors(low, high)
        super().__init__(self.low.shape, (), validate_args)
        if self.validates:
            self._check_outcome_range()

    def _check_outcome_range(self) -> None:
        from tetragrad.engine import capture

        if capture.active() is None:
            self._check("high - low", self.high - self.low, constraints.positive)

    @property
    def support(self) -> Constraint:
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        return self.high * float("nan")

    @property
    def variance(self) -> Tensor:
        width = self.high - self.low
        return width * width / 12

    @property
    def stddev(self) -> Tensor:
        return (self.high - self.low) / math.sqrt(12)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = uniform(self.shape_of(sample_shape), self.low)
        return self.low + draw * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        inside = (value >= self.low) & (value < self.high)
        density = -(self.high - self.low).log()
        return density.where(inside, float("-inf"))

    def cdf(self, value: Tensor) -> Tensor:
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        return self.low + value * (self.high - self.low)

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()


class Laplace(_LocationScale):
    """Two exponential distributions, back to back at ``loc``.

    >>> tetragrad.distributions.Laplace(0.0, 1.0).variance
    tensor(2.)
    """

    @property
    def mean(self) -> Tensor:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale * self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = self.shape_of(sample_shape)
        size = -uniform_open(shape, self.loc).log()
        sign = uniform(shape, self.loc)
        return self.loc + self.scale * size.where(sign < 0.5, -size)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        return -(2 * self.scale).log() - self._standard(value).abs()

    def cdf(self, value: Tensor) -> Tensor:
        standard = self._standard(value)
        return 0.5 - 0.5 * standard.sign() * (-standard.abs()).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        centred = value - 0.5
        return self.loc - self.scale * centred.sign() * (-2 * centred.abs()).log1p()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()


class Cauchy(_LocationScale):
    """The ratio of two normal numbers; it has no mean.

    >>> tetragrad.distributions.Cauchy(0.0, 1.0).cdf(Tensor(0.0))
    tensor(0.5000)
    """

    @property
    def mean(self) -> Tensor:
        return self.loc * float("nan")

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.loc * 0 + float("inf")

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(uniform(self.shape_of(sample_shape), self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        standard = self._standard(value)
        return -math.log(math.pi) - self.scale.log() - (standard * standard).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        return self._standard(value).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (math.pi * (value - 0.5)).tan()

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(_LocationScale):
    """The largest of many numbers.

    >>> tetragrad.distributions.Gumbel(0.0, 1.0).mean
    tensor(0.5772)
    """

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * EULER

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale * (math.pi**2 / 6)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = uniform_open(self.shape_of(sample_shape), self.loc)
        return self.loc - self.scale * (-draw.log()).clamp(min=smallest(draw)).log()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        standard = self._standard(value)
        return -standard - (-standard).exp() - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return (-(-self._standard(value)).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + EULER)
