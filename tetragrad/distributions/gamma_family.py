"""Distributions that are made of gamma distributed numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.distributions import constraints
from tetragrad.distributions.continuous import normal
from tetragrad.distributions.distribution import Distribution, as_tensors, check_event
from tetragrad.distributions.sampling import standard_gamma
from tetragrad.tensor import Tensor


class Gamma(Distribution):
    """The time until ``concentration`` events that come at a ``rate``.

    >>> tetragrad.distributions.Gamma(2.0, 4.0).mean
    tensor(0.5000)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.nonnegative

    def __init__(
        self, concentration: Any, rate: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration, self.rate = as_tensors(concentration, rate)
        super().__init__(self.concentration.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / (self.rate * self.rate)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return standard_gamma(self.concentration, sample_shape) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        alpha, rate = self.concentration, self.rate
        return (
            alpha.xlogy(rate) + (alpha - 1).xlogy(value) - rate * value - alpha.lgamma()
        )

    def entropy(self) -> Tensor:
        alpha = self.concentration
        rest = (1 - alpha) * alpha.digamma()
        return alpha - self.rate.log() + alpha.lgamma() + rest


class Chi2(Gamma):
    """The sum of ``df`` squared normal numbers.

    >>> tetragrad.distributions.Chi2(3.0).mean
    tensor(3.)
    """

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        (degrees,) = as_tensors(df)
        super().__init__(degrees / 2, degrees * 0 + 0.5, validate_args)

    @property
    def df(self) -> Tensor:
        """The degrees of freedom."""
        return self.concentration * 2


class Beta(Distribution):
    """A share of two gamma distributed amounts: a number from 0 to 1.

    >>> tetragrad.distributions.Beta(1.0, 3.0).mean
    tensor(0.2500)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval

    def __init__(
        self,
        concentration1: Any,
        concentration0: Any,
        validate_args: bool | None = None,
    ) -> None:
        self.concentration1, self.concentration0 = as_tensors(
            concentration1, concentration0
        )
        super().__init__(self.concentration1.shape, (), validate_args)

    @property
    def _total(self) -> Tensor:
        return self.concentration1 + self.concentration0

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / self._total

    @property
    def mode(self) -> Tensor:
        return (self.concentration1 - 1) / (self._total - 2)

    @property
    def variance(self) -> Tensor:
        total = self._total
        product = self.concentration1 * self.concentration0
        return product / (total * total * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        first = standard_gamma(self.concentration1, sample_shape)
        second = standard_gamma(self.concentration0, sample_shape)
        return first / (first + second)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        a, b = self.concentration1, self.concentration0
        return (a - 1).xlogy(value) + (b - 1).xlogy(1 - value) - _log_beta(a, b)

    def entropy(self) -> Tensor:
        a, b, total = self.concentration1, self.concentration0, self._total
        return (
            _log_beta(a, b)
            - (a - 1) * a.digamma()
            - (b - 1) * b.digamma()
            + (total - 2) * total.digamma()
        )


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


class Dirichlet(Distribution):
    """Shares of several gamma distributed amounts: numbers with the sum 1.

    >>> tetragrad.distributions.Dirichlet(Tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    has_rsample = True
    arg_constraints: ClassVar = {"concentration": constraints.positive}
    support = constraints.simplex

    def __init__(
        self, concentration: Tensor, validate_args: bool | None = None
    ) -> None:
        if concentration.ndim < 1:
            raise ShapeError("Dirichlet of one number: it takes a vector, or a batch")
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Tensor:
        above = (self.concentration - 1).clamp(min=0)
        return above / above.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        rest = total - self.concentration
        return self.concentration * rest / (total * total * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        amounts = standard_gamma(self.concentration, sample_shape)
        return amounts / amounts.sum(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        check_event("Dirichlet", value, self.event_shape[0])
        self._check_outcome(value)
        alpha = self.concentration
        density = (alpha - 1).xlogy(value).sum(-1)
        return density + alpha.sum(-1).lgamma() - alpha.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        alpha, total = self.concentration, self.concentration.sum(-1)
        return (
            alpha.lgamma().sum(-1)
            - total.lgamma()
            - (self.event_shape[0] - total) * total.digamma()
            - ((alpha - 1) * alpha.digamma()).sum(-1)
        )


class StudentT(Distribution):
    """A mean of few normal numbers over its estimated error.

    >>> tetragrad.distributions.StudentT(3.0).variance
    tensor(3.)
    """

    has_rsample = True
    arg_constraints: ClassVar = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real

    def __init__(
        self,
        df: Any,
        loc: Any = 0.0,
        scale: Any = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        self.df, self.loc, self.scale = as_tensors(df, loc, scale)
        super().__init__(self.df.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc.where(self.df > 1, float("nan"))

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        finite = self.scale * self.scale * self.df / (self.df - 2)
        heavy = finite.where(self.df > 2, float("inf"))
        return heavy.where(self.df > 1, float("nan"))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = normal(self.shape_of(sample_shape), self.loc)
        spread = 2 * standard_gamma(self.df / 2, sample_shape) / self.df
        return self.loc + self.scale * draw * spread.rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        standard = (value - self.loc) / self.scale
        rest = (self.df + 1) / 2 * (standard * standard / self.df).log1p()
        return -rest - self._log_normaliser()

    def _log_normaliser(self) -> Tensor:
        half = self.df / 2
        return (
            self.scale.log()
            + (self.df.log() + math.log(math.pi)) / 2
            + half.lgamma()
            - (half + 0.5).lgamma()
        )

    def entropy(self) -> Tensor:
        half = self.df / 2
        upper = half + 0.5
        spread = upper * (upper.digamma() - half.digamma())
        return self._log_normaliser() + spread
