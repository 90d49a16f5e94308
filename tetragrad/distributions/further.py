"""Ratios of variances, heavy tails and angles.

Densities and moments: Johnson, Kotz and Balakrishnan, Continuous Univariate
Distributions (1994), where no other source is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.continuous import uniform, uniform_open
from tetragrad.distributions.distribution import Distribution, as_tensors
from tetragrad.distributions.gamma_family import Gamma
from tetragrad.distributions.sampling import first_accepted
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad

#: Best and Fisher accept at least 65 of 100 proposals.
ANGLE_TRIES = 26


class FisherSnedecor(Distribution):
    """The ratio of two mean squares with ``df1`` and ``df2`` degrees of freedom.

    >>> tetragrad.distributions.FisherSnedecor(2.0, 4.0).mean
    tensor(2.)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "df1": constraints.positive,
        "df2": constraints.positive,
    }
    support = constraints.positive

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = as_tensors(df1, df2)
        self.above = Gamma(self.df1 / 2, self.df1, validate_args=False)
        self.below = Gamma(self.df2 / 2, self.df2, validate_args=False)
        super().__init__(self.df1.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return (self.df2 / (self.df2 - 2)).where(self.df2 > 2, math.nan)

    @property
    def mode(self) -> Tensor:
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return found.where(self.df1 > 2, math.nan)

    @property
    def variance(self) -> Tensor:
        first, second = self.df1, self.df2
        above = 2 * second.square() * (first + second - 2)
        below = first * (second - 2).square() * (second - 4)
        return (above / below).where(second > 4, math.nan)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.above.rsample(sample_shape) / self.below.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        first, second, ratio = self.df1 / 2, self.df2 / 2, self.df1 / self.df2
        scale = (first + second).lgamma() - first.lgamma() - second.lgamma()
        power = first * ratio.log() + (first - 1) * value.log()
        return scale + power - (first + second) * (ratio * value).log1p()


class GeneralizedPareto(Distribution):
    """What lies beyond a threshold ``loc``: tails of every weight.

    The concentration is 0 for an exponential tail, positive for a heavier one, and
    negative for one that ends.

    Source: Hosking and Wallis, "Parameter and quantile estimation for the generalized
    Pareto distribution", 1987.

    >>> tetragrad.distributions.GeneralizedPareto(0.0, 2.0, 0.5).mean
    tensor(4.)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }

    def __init__(
        self,
        loc: Any,
        scale: Any,
        concentration: Any,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.concentration = as_tensors(loc, scale, concentration)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def support(self) -> Constraint:
        end = self.loc - self.scale / self.concentration
        end = end.where(self.concentration < 0, math.inf)
        return constraints.interval(self.loc, end)

    def _is_exponential(self) -> Tensor:
        return self.concentration.abs() < 1e-8

    def _power(self) -> Tensor:
        """The concentration, or a number that no formula minds in place of 0."""
        return self.concentration.where(~self._is_exponential(), 1.0)

    @property
    def mean(self) -> Tensor:
        found = self.loc + self.scale / (1 - self.concentration)
        return found.where(self.concentration < 1, math.inf)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        power = self.concentration
        found = self.scale.square() / ((1 - power).square() * (1 - 2 * power))
        return found.where(power < 0.5, math.inf)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(uniform(self.shape_of(sample_shape), self.loc))

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        distance = (value - self.loc) / self.scale
        power = self._power()
        tail = (1 + power.reciprocal()) * (power * distance).log1p()
        return -self.scale.log() - distance.where(self._is_exponential(), tail)

    def cdf(self, value: Tensor) -> Tensor:
        distance = (value - self.loc) / self.scale
        power = self._power()
        tail = (power * distance).log1p() / power
        return -(-distance.where(self._is_exponential(), tail)).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        power, size = self._power(), -(-value).log1p()
        distance = (power * size).expm1() / power
        return self.loc + self.scale * size.where(self._is_exponential(), distance)

    def entropy(self) -> Tensor:
        return self.scale.log() + self.concentration + 1


class VonMises(Distribution):
    """Angles around ``loc``, from -π to π; their normal distribution.

    Source: Best and Fisher, "Efficient simulation of the von Mises distribution", 1979.

    >>> tetragrad.distributions.VonMises(0.0, 1.0).log_prob(Tensor(0.0))
    tensor(-1.0738)
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "concentration": constraints.positive,
    }
    support = constraints.real

    def __init__(
        self, loc: Any, concentration: Any, validate_args: bool | None = None
    ) -> None:
        self.loc, self.concentration = as_tensors(loc, concentration)
        super().__init__(self.loc.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean direction."""
        return self.loc

    mode = mean

    @property
    def variance(self) -> Tensor:
        """The circular variance, from 0 to 1."""
        # Imported here as few programs need Bessel's functions.
        from tetragrad.tensor.special import i0e, i1e

        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        from tetragrad.tensor.special import i0e

        self._check_outcome(value)
        kappa = self.concentration
        # log I0(k) is k + log(i0e(k)), which does not overflow.
        bent = kappa * ((value - self.loc).cos() - 1)
        return bent - math.log(2 * math.pi) - i0e(kappa).log()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            return self._drawn(self.shape_of(sample_shape)).to(self.loc.dtype)

    def _drawn(self, shape: Sequence[int]) -> Tensor:
        kappa = self.concentration.detach().double().expand(*shape)
        tau = 1 + (1 + 4 * kappa.square()).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        # For a small concentration the formula cancels.
        r = ((1 + rho.square()) / (2 * rho)).where(kappa > 1e-5, 1 / kappa + kappa)
        tries = (ANGLE_TRIES, *shape)
        z = (uniform(tries, kappa) * math.pi).cos()
        f = ((1 + r * z) / (r + z)).clamp(-1, 1)
        c = kappa * (r - f)
        u = uniform_open(tries, kappa)
        is_accepted = (c * (2 - c) > u) | ((c / u).log() + 1 - c >= 0)
        turn = first_accepted(f, is_accepted).acos()
        sign = (uniform(shape, kappa) - 0.5).sign()
        angle = sign * turn + math.pi + self.loc.detach().double()
        return angle % (2 * math.pi) - math.pi
