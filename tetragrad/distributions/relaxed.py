"""Choices that gradients flow through, and a continuous Bernoulli distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.distributions import constraints
from tetragrad.distributions.categorical import OneHotCategorical
from tetragrad.distributions.continuous import uniform_open
from tetragrad.distributions.discrete import one_of
from tetragrad.distributions.distribution import Distribution, as_tensors
from tetragrad.distributions.sampling import gumbel
from tetragrad.distributions.transforms import inside_unit
from tetragrad.tensor import Tensor


class RelaxedBernoulli(Distribution):
    """sigmoid((logits + L) / temperature), for a logistic L: a coin between 0 and 1.

    Source: Maddison et al., "The Concrete distribution", 2017.

    >>> tetragrad.distributions.RelaxedBernoulli(0.5, probs=0.5).log_prob(Tensor(0.5))
    tensor(-0.6931)
    """

    has_rsample = True
    arg_constraints: ClassVar = {"temperature": constraints.positive}
    support = constraints.unit_interval

    def __init__(
        self,
        temperature: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if one_of("RelaxedBernoulli", probs, logits):
            self.temperature, share = as_tensors(temperature, probs)
            share = inside_unit(share)
            self.logits = share.log() - (-share).log1p()
        else:
            self.temperature, self.logits = as_tensors(temperature, logits)
        super().__init__(self.logits.shape, (), validate_args)

    @property
    def probs(self) -> Tensor:
        """The probability of more than a half."""
        return self.logits.sigmoid()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draw = inside_unit(uniform_open(self.shape_of(sample_shape), self.logits))
        logistic = draw.log() - (-draw).log1p()
        return ((self.logits + logistic) / self.temperature).sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        value = inside_unit(value)
        logit = value.log() - (-value).log1p()
        shift = self.logits - logit * self.temperature
        stretched = value.log() + (-value).log1p()
        return self.temperature.log() + shift - 2 * shift.softplus() - stretched


class RelaxedOneHotCategorical(Distribution):
    """softmax((logits + G) / temperature), for Gumbel numbers G: a soft choice.

    Source: Jang et al., "Categorical reparameterization with Gumbel-softmax", 2017.

    >>> soft = tetragrad.distributions.RelaxedOneHotCategorical(0.5, Tensor([1.0, 1.0]))
    >>> round(soft.sample().sum().item(), 4)
    1.0
    """

    has_rsample = True
    arg_constraints: ClassVar = {"temperature": constraints.positive}
    support = constraints.simplex

    def __init__(
        self,
        temperature: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.choice = OneHotCategorical(probs, logits, validate_args).choice
        (self.temperature,) = as_tensors(temperature)
        size = (self.choice.num_events,)
        super().__init__(self.choice.batch_shape, size, validate_args)

    @property
    def probs(self) -> Tensor:
        """The probability of each choice."""
        return self.choice.probs

    @property
    def logits(self) -> Tensor:
        """Its logarithm."""
        return self.choice.logits

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        noise = gumbel(self.shape_of(sample_shape), self.logits)
        return ((self.logits + noise) / self.temperature).softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        count = self.choice.num_events
        score = self.logits - value.log() * self.temperature
        score = score - score.logsumexp(-1, keepdim=True)
        scale = math.lgamma(count) + (count - 1) * self.temperature.log()
        return score.sum(-1) + scale - value.log().sum(-1)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot choices whose gradient is that of their probabilities.

    Source: Bengio et al., "Estimating or propagating gradients through stochastic
    neurons", 2013.

    >>> probs = Tensor([0.0, 1.0], requires_grad=True)
    >>> Choice = tetragrad.distributions.OneHotCategoricalStraightThrough
    >>> Choice(probs).rsample().requires_grad
    True
    """

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        probs = self.choice.probs
        return self.sample(sample_shape) + (probs - probs.detach())


class ContinuousBernoulli(Distribution):
    """A number from 0 to 1 with a density in proportion to λ^x (1 - λ)^(1-x).

    Near λ = ½ all formulas are 0/0, so a Taylor series takes their place there.

    Source: Loaiza-Ganem and Cunningham, "The continuous Bernoulli", 2019.

    >>> tetragrad.distributions.ContinuousBernoulli(0.5).mean
    tensor(0.5000)
    """

    has_rsample = True
    support = constraints.unit_interval

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        if one_of("ContinuousBernoulli", probs, logits):
            (given,) = as_tensors(probs)
            self.probs = inside_unit(given)
            self.logits = self.probs.log() - (-self.probs).log1p()
        else:
            (self.logits,) = as_tensors(logits)
            self.probs = inside_unit(self.logits.sigmoid())
        self._limits = lims
        super().__init__(self.probs.shape, (), validate_args)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameters."""
        return self.probs.shape

    def _is_far(self) -> Tensor:
        low, high = self._limits
        return (self.probs <= low) | (self.probs > high)

    def _away(self) -> Tensor:
        """λ, or a number that no formula minds where it is too near to ½."""
        return self.probs.where(self._is_far(), self._limits[0])

    def _log_norm(self) -> Tensor:
        """log of 2·atanh(1 - 2λ) / (1 - 2λ), which makes the density one."""
        away = self._away()
        below = away.clamp(max=0.5)
        above = away.clamp(min=0.5)
        size = ((-away).log1p() - away.log()).abs()
        width = (1 - 2 * below).where(away <= 0.5, 2 * above - 1)
        near = (self.probs - 0.5).square()
        series = math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * near) * near
        return (size.log() - width.log()).where(self._is_far(), series)

    @property
    def mean(self) -> Tensor:
        away = self._away()
        exact = away / (2 * away - 1) + 1 / ((-away).log1p() - away.log())
        near = self.probs - 0.5
        series = 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * near.square()) * near
        return exact.where(self._is_far(), series)

    @property
    def variance(self) -> Tensor:
        away = self._away()
        size = (-away).log1p() - away.log()
        exact = away * (away - 1) / (1 - 2 * away).square() + 1 / size.square()
        near = (self.probs - 0.5).square()
        series = 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * near) * near
        return exact.where(self._is_far(), series)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.icdf(uniform_open(self.shape_of(sample_shape), self.probs))

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        likelihood = value * self.logits - self.logits.softplus()
        return likelihood + self._log_norm()

    def cdf(self, value: Tensor) -> Tensor:
        away = self._away()
        power = away.pow(value) * (1 - away).pow(1 - value)
        exact = (power + away - 1) / (2 * away - 1)
        found = exact.where(self._is_far(), value)
        return found.clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        away = self._away()
        inner = (-away + value * (2 * away - 1)).log1p() - (-away).log1p()
        exact = inner / (away.log() - (-away).log1p())
        return exact.where(self._is_far(), value)

    def entropy(self) -> Tensor:
        odds = self.probs.log() - (-self.probs).log1p()
        return -self.mean * odds - self._log_norm() - (-self.probs).log1p()
