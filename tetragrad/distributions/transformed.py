"""Distributions of f(x) for a random x, and those that are best described so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.distributions import constraints
from tetragrad.distributions.combined import Independent
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.continuous import EULER, Cauchy, Normal, Uniform
from tetragrad.distributions.distribution import Distribution, as_tensors, sum_last
from tetragrad.distributions.gamma_family import Gamma
from tetragrad.distributions.transforms import (
    AffineTransform,
    ComposeTransform,
    PowerTransform,
    Transform,
    check_transform,
)
from tetragrad.distributions.vector_transforms import StickBreakingTransform
from tetragrad.tensor import Tensor


class TransformedDistribution(Distribution):
    """f(x), for x of a base distribution and one or several transforms f.

    p(y) = p(x) / |det f'(x)|, so a transform that cannot be undone has no density.

    >>> from tetragrad.distributions import ExpTransform, Normal
    >>> log_normal = tetragrad.distributions.TransformedDistribution(
    ...     Normal(0.0, 1.0), ExpTransform()
    ... )
    >>> log_normal.log_prob(Tensor(1.0))
    tensor(-0.9189)
    """

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        listed = [transforms] if isinstance(transforms, Transform) else list(transforms)
        self.transforms = [check_transform(entry) for entry in listed]
        base, whole = base_distribution, ComposeTransform(self.transforms)
        shape = base.shape_of()
        needed = whole.domain.event_dim
        if len(shape) < needed:
            raise ShapeError(
                f"a transform of events with {needed} dimensions, and a distribution "
                f"of shape {shape}",
                hint="expand the distribution first",
            )
        # Parameters of a transform may have dimensions that the base has not.
        result = whole.forward_shape(shape)
        wanted = whole.inverse_shape(result)
        if shape != wanted:
            count = len(wanted) - len(base.event_shape)
            base = base.expand(wanted[:count])
        missing = needed - len(base.event_shape)
        if missing > 0:
            base = Independent(base, missing)
        self.base_dist = base
        event_dim = whole.codomain.event_dim + max(len(base.event_shape) - needed, 0)
        split = len(result) - event_dim
        super().__init__(result[:split], result[split:], validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def support(self) -> Constraint:
        if not self.transforms:
            return self.base_dist.support
        codomain = self.transforms[-1].codomain
        rest = len(self.event_shape) - codomain.event_dim
        return constraints.independent(codomain, rest) if rest else codomain

    def expand(self, batch_shape: Sequence[int]) -> Distribution:
        whole = ComposeTransform(self.transforms)
        shape = whole.inverse_shape((*batch_shape, *self.event_shape))
        count = len(shape) - len(self.base_dist.event_shape)
        base = self.base_dist.expand(shape[:count])
        return TransformedDistribution(base, self.transforms, validate_args=False)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._forward(self.base_dist.sample(sample_shape)).detach()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._forward(self.base_dist.rsample(sample_shape))

    def _forward(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        event_dim = len(self.event_shape)
        total: Any = 0.0
        for transform in reversed(self.transforms):
            before = transform.inverse(value)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            term = transform.log_abs_det_jacobian(before, value)
            total = total - sum_last(term, event_dim - transform.domain.event_dim)
            value = before
        inner = self.base_dist.log_prob(value)
        return total + sum_last(inner, event_dim - len(self.base_dist.event_shape))

    def cdf(self, value: Tensor) -> Tensor:
        for transform in reversed(self.transforms):
            value = transform.inverse(value)
        return self._if_falling(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        return self._forward(self.base_dist.icdf(self._if_falling(value)))

    def _if_falling(self, probability: Tensor) -> Tensor:
        """Where f falls, what is below y is what is above x."""
        sign = ComposeTransform(self.transforms).sign
        return sign * (probability - 0.5) + 0.5


class HalfCauchy(Distribution):
    """The size of a number with Cauchy's distribution around 0.

    >>> tetragrad.distributions.HalfCauchy(1.0).cdf(Tensor(1.0))
    tensor(0.5000)
    """

    has_rsample = True
    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        (self.scale,) = as_tensors(scale)
        self.base = Cauchy(self.scale * 0, self.scale, validate_args=False)
        super().__init__(self.scale.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.scale * 0 + math.inf

    variance = mean

    @property
    def mode(self) -> Tensor:
        return self.scale * 0

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base.rsample(sample_shape).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        density = self.base.log_prob(value) + math.log(2)
        return density.where(value >= 0, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        return 2 * self.base.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base.entropy() - math.log(2)


class InverseGamma(TransformedDistribution):
    """1 / x, for a gamma distributed x.

    >>> tetragrad.distributions.InverseGamma(3.0, 2.0).mean
    tensor(1.)
    """

    def __init__(
        self, concentration: Any, rate: Any, validate_args: bool | None = None
    ) -> None:
        base = Gamma(concentration, rate, validate_args)
        super().__init__(base, PowerTransform(-1.0), validate_args)

    @property
    def concentration(self) -> Tensor:
        """The shape of the gamma distribution."""
        return self.base_dist.concentration  # type: ignore[attr-defined]

    @property
    def rate(self) -> Tensor:
        """Its rate, which is the scale of this one."""
        return self.base_dist.rate  # type: ignore[attr-defined]

    @property
    def mean(self) -> Tensor:
        found = self.rate / (self.concentration - 1)
        return found.where(self.concentration > 1, math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        alpha = self.concentration
        found = self.rate.square() / ((alpha - 1).square() * (alpha - 2))
        return found.where(alpha > 2, math.inf)

    def entropy(self) -> Tensor:
        alpha = self.concentration
        rest = (1 + alpha) * alpha.digamma()
        return alpha + self.rate.log() + alpha.lgamma() - rest


class Kumaraswamy(TransformedDistribution):
    """(1 - (1 - u)^(1/b))^(1/a), for a uniform u: much like a beta distribution.

    Source: Kumaraswamy, "A generalized probability density function for double-bounded
    random processes", 1980.

    >>> tetragrad.distributions.Kumaraswamy(1.0, 1.0).mean
    tensor(0.5000)
    """

    def __init__(
        self,
        concentration1: Any,
        concentration0: Any,
        validate_args: bool | None = None,
    ) -> None:
        self.concentration1, self.concentration0 = as_tensors(
            concentration1, concentration0
        )
        base = Uniform(self.concentration0 * 0, self.concentration0 * 0 + 1)
        transforms = [
            PowerTransform(self.concentration0.reciprocal()),
            AffineTransform(1.0, -1.0),
            PowerTransform(self.concentration1.reciprocal()),
        ]
        super().__init__(base, transforms, validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.unit_interval

    def _moment(self, power: int) -> Tensor:
        """E[x^power] = b·B(1 + power/a, b)."""
        a, b = self.concentration1, self.concentration0
        first = 1 + power / a
        return (first.lgamma() + (b + 1).lgamma() - (first + b).lgamma()).exp()

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self.mean.square()

    @property
    def mode(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        found = ((a - 1) / (a * b - 1)).pow(a.reciprocal())
        is_known = (a >= 1) & (b >= 1) & ((a > 1) | (b > 1))
        return found.where(is_known, math.nan)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + EULER
        return 1 - b.reciprocal() + (1 - a.reciprocal()) * harmonic - a.log() - b.log()


class LogisticNormal(TransformedDistribution):
    """Probabilities whose logarithms, up to a constant, are normally distributed.

    >>> tetragrad.distributions.LogisticNormal(Tensor([0.0, 0.0]), 1.0).event_shape
    (3,)
    """

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(loc, scale, validate_args)
        if not base.batch_shape:
            base = Normal(base.loc.reshape(1), base.scale.reshape(1), validate_args)
        super().__init__(base, StickBreakingTransform(), validate_args)

    @property
    def loc(self) -> Tensor:
        """The means of the logarithms."""
        return self.base_dist.base_dist.loc  # type: ignore[attr-defined]

    @property
    def scale(self) -> Tensor:
        """Their standard deviations."""
        return self.base_dist.base_dist.scale  # type: ignore[attr-defined]
