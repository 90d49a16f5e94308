"""The Kullback-Leibler divergence: how much is lost by taking q for p.

Closed forms: Gil, Alajaji and Linder (2013), Rényi divergence measures for commonly
used univariate continuous distributions, table 2, where no other source is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tetragrad.core.errors import UnsupportedError
from tetragrad.distributions.categorical import Categorical, OneHotCategorical
from tetragrad.distributions.combined import Independent
from tetragrad.distributions.continuous import (
    EULER,
    Cauchy,
    Gumbel,
    Laplace,
    Normal,
    Uniform,
)
from tetragrad.distributions.discrete import Bernoulli, Binomial, Geometric, Poisson
from tetragrad.distributions.distribution import Distribution, sum_last
from tetragrad.distributions.divergence_by_moments import by_moments
from tetragrad.distributions.gamma_family import Beta, Dirichlet, Gamma
from tetragrad.distributions.matrices import LowRankMultivariateNormal
from tetragrad.distributions.multivariate import MultivariateNormal, mahalanobis
from tetragrad.distributions.positive import Exponential, HalfNormal, LogNormal, Pareto
from tetragrad.tensor import Tensor
from tetragrad.tensor.linalg.solving import solve_triangular

Divergence = Callable[[Any, Any], Tensor]

_known: dict[tuple[type, type], Divergence] = {}


def register_kl(p: type, q: type) -> Callable[[Divergence], Divergence]:
    """Make a function known as the divergence of these classes, and of derived ones.

    >>> class Coin(tetragrad.distributions.Bernoulli):
    ...     pass
    >>> @tetragrad.distributions.register_kl(Coin, Coin)
    ... def same(p, q):
    ...     return p.probs * 0
    """

    def decorate(function: Divergence) -> Divergence:
        _known[p, q] = function
        return function

    return decorate


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """∫ p ln(p / q): 0 if they are equal, else positive, inf where q has no mass.

    Raises:
        UnsupportedError: no closed form is known for the two.

    >>> Normal = tetragrad.distributions.Normal
    >>> tetragrad.distributions.kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    for first in type(p).__mro__:
        for second in type(q).__mro__:
            found = _known.get((first, second))
            if found is not None:
                return found(p, q)
    result = by_moments(p, q)
    if result is not None:
        return result
    raise UnsupportedError(
        f"the divergence of {type(p).__name__} from {type(q).__name__} has no closed "
        "form that is known here",
        hint="estimate it: p.log_prob(x) - q.log_prob(x) for samples x of p; or write "
        "one, with register_kl",
    )


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    shift = ((p.loc - q.loc) / q.scale).square()
    return (ratio + shift - 1 - ratio.log()) / 2


@register_kl(LogNormal, LogNormal)
def _log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return _normal(p.base, q.base)


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return _normal(p.base, q.base)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return result.masked_fill((q.low > p.low) | (q.high < p.high), math.inf)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    distance = (p.loc - q.loc).abs()
    near = distance / q.scale - 1 - (p.scale / q.scale).log()
    return near + p.scale / q.scale * (-distance / p.scale).exp()


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    # Source: Chyzak and Nielsen, "A closed-form formula for the Kullback-Leibler
    # divergence between Cauchy distributions", 2019.
    square = (p.scale + q.scale).square() + (p.loc - q.loc).square()
    return (square / (4 * p.scale * q.scale)).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio = p.scale / q.scale
    shift = (q.loc - p.loc) / q.scale
    power = (shift + (1 + ratio).lgamma()).exp()
    return power - ratio.log() - shift + EULER * ratio - (1 + EULER)


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Tensor:
    scale, power = p.scale / q.scale, q.alpha / p.alpha
    result = q.alpha * scale.log() - power.log() + power - 1
    return result.masked_fill(q.scale > p.scale, math.inf)


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    rates = q.concentration * (p.rate / q.rate).log()
    shapes = q.concentration.lgamma() - p.concentration.lgamma()
    change = (p.concentration - q.concentration) * p.concentration.digamma()
    return rates + shapes + change + (q.rate - p.rate) * p.concentration / p.rate


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Tensor:
    return _gamma(Gamma(p.rate * 0 + 1, p.rate, validate_args=False), q)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    first, second = (Dirichlet(_joined(entry), validate_args=False) for entry in (p, q))
    return _dirichlet(first, second)


def _joined(beta: Beta) -> Tensor:
    from tetragrad.tensor.joining import stack

    return stack([beta.concentration1, beta.concentration0], -1)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    total = p.concentration.sum(-1)
    normalisers = total.lgamma() - q.concentration.sum(-1).lgamma()
    each = q.concentration.lgamma() - p.concentration.lgamma()
    mean_log = p.concentration.digamma() - total.digamma().unsqueeze(-1)
    change = (p.concentration - q.concentration) * mean_log
    return normalisers + (each + change).sum(-1)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    def part(share: Tensor, other: Tensor) -> Tensor:
        term = share.xlogy(share / other)
        return term.masked_fill((share == 0), 0.0)

    return part(p.probs, q.probs) + part(1 - p.probs, 1 - q.probs)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate.xlogy(p.rate / q.rate) - (p.rate - q.rate)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def _poisson_bounded(p: Poisson, q: Any) -> Tensor:
    return p.rate * 0 + q.probs * 0 + math.inf


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    each = p.probs * (p.logits - q.logits)
    each = each + (-p.probs).log1p() - (-q.probs).log1p()
    # With fewer trials of q there are outcomes that it cannot have.
    found = (p.total_count * each).masked_fill(p.total_count > q.total_count, math.inf)
    if bool((p.total_count < q.total_count).any()):
        raise UnsupportedError(
            "the divergence of a Binomial from one with more trials",
            hint="no closed form is known; sum over p.enumerate_support()",
        )
    return found


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    each = p.probs * (p.logits - q.logits)
    each = each.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0)
    return each.sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical(p.choice, q.choice)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: Any, q: Any) -> Tensor:
    logarithms = [
        entry.scale_tril.diagonal(0, -2, -1).log().sum(-1) for entry in (p, q)
    ]
    ratio = solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    spread = (ratio * ratio).sum((-2, -1))
    shift = mahalanobis(q.scale_tril, q.loc - p.loc)
    size = p.event_shape[0]
    return logarithms[1] - logarithms[0] + (spread + shift - size) / 2


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise UnsupportedError("the divergence of events with different dimensions")
    inner = kl_divergence(p.base_dist, q.base_dist)
    return sum_last(inner, p.reinterpreted_batch_ndims)
