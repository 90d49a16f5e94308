"""Divergences between different families, by moments of the first.

KL(p ‖ q) = -H(p) - E[ln q(X)] for X of p. The density of q is linear, after the
logarithm, in few functions of x, so all that is needed of p is their expectations: a
table of p's moments and a table of what each q asks for give every pair of families.

Source of the moments: Johnson, Kotz and Balakrishnan, "Continuous univariate
distributions", 2nd edition, 1994 and 1995.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.distributions.continuous import EULER, Gumbel, Laplace, Normal, Uniform
from tetragrad.distributions.gamma_family import Beta, Gamma
from tetragrad.distributions.positive import Exponential, Pareto
from tetragrad.distributions.relaxed import ContinuousBernoulli
from tetragrad.tensor import Tensor
from tetragrad.tensor.promotion import broadcast_shapes

Bound = Tensor | float
Moment = Callable[[Any], Tensor]

#: ln √(2π)
_LOG_ROOT = 0.5 * math.log(2 * math.pi)


@frozen
class Moments:
    """What is known of a family: where it lives, and expectations of functions."""

    #: The smallest and the largest outcome.
    support: Callable[[Any], tuple[Bound, Bound]]
    #: E[ln X] and E[ln(1 - X)], if they are known.
    log: Moment | None = None
    log_rest: Moment | None = None
    #: E[exp(tX)] of p and t.
    exponential: Callable[[Any, Tensor], Tensor] | None = None


def by_moments(p: Any, q: Any) -> Tensor | None:
    """KL(p ‖ q), infinite where q has no mass; None if a moment is not known."""
    moments = _of(MOMENTS, p)
    needs = _of(EXPECTED, q)
    if moments is None or needs is None:
        return None
    low, high = moments.support(p)
    least, greatest = MOMENTS[_family(MOMENTS, q)].support(q)
    is_outside = _below(low, least) | _below(greatest, high)
    expected = needs(p, moments, q)
    if expected is None:
        # What is nowhere possible needs no moment.
        if not (is_outside if isinstance(is_outside, bool) else is_outside.all()):
            return None
        shape = broadcast_shapes(p.batch_shape, q.batch_shape)
        return p.entropy().new_full(shape, math.inf)
    divergence: Tensor = -p.entropy() - expected
    if is_outside is False:
        return divergence
    infinite = divergence.new_full(divergence.shape, math.inf)
    return infinite if is_outside is True else infinite.where(is_outside, divergence)


def _family(table: dict[type, Any], distribution: Any) -> Any:
    return next((cls for cls in type(distribution).__mro__ if cls in table), None)


def _of(table: dict[type, Any], distribution: Any) -> Any:
    return table.get(_family(table, distribution))


def _below(one: Bound, other: Bound) -> Any:
    """Whether a bound is smaller than another; infinite ones are plain numbers."""
    if isinstance(one, float) and math.isinf(one):
        return one < 0 and not (isinstance(other, float) and other == one)
    if isinstance(other, float) and math.isinf(other):
        return other > 0
    return one < other


# --- what is known of p ---------------------------------------------------------------


def _uniform_log(low: Tensor, high: Tensor) -> Tensor:
    """E[ln X] between two bounds: (h ln h - l ln l) / (h - l) - 1."""
    return (high.xlogy(high) - low.xlogy(low)) / (high - low) - 1


def _uniform_exponential(p: Uniform, t: Tensor) -> Tensor:
    return ((t * p.high).exp() - (t * p.low).exp()) / (t * (p.high - p.low))


MOMENTS: dict[type, Moments] = {
    Normal: Moments(
        lambda p: (-math.inf, math.inf),
        exponential=lambda p, t: (t * p.loc + (t * p.scale).square() / 2).exp(),
    ),
    Laplace: Moments(lambda p: (-math.inf, math.inf)),
    Gumbel: Moments(lambda p: (-math.inf, math.inf)),
    Uniform: Moments(
        lambda p: (p.low, p.high),
        log=lambda p: _uniform_log(p.low, p.high),
        log_rest=lambda p: _uniform_log(1 - p.high, 1 - p.low),
        exponential=_uniform_exponential,
    ),
    Exponential: Moments(
        lambda p: (0.0, math.inf),
        log=lambda p: -p.rate.log() - EULER,
        exponential=lambda p, t: p.rate / (p.rate - t),
    ),
    Gamma: Moments(
        lambda p: (0.0, math.inf),
        log=lambda p: p.concentration.digamma() - p.rate.log(),
        exponential=lambda p, t: (1 - t / p.rate) ** -p.concentration,
    ),
    Pareto: Moments(
        lambda p: (p.scale, math.inf),
        log=lambda p: p.scale.log() + 1 / p.alpha,
    ),
    Beta: Moments(
        lambda p: (0.0, 1.0),
        log=lambda p: p.concentration1.digamma() - _total(p).digamma(),
        log_rest=lambda p: p.concentration0.digamma() - _total(p).digamma(),
    ),
    ContinuousBernoulli: Moments(lambda p: (0.0, 1.0)),
}


def _total(beta: Beta) -> Tensor:
    return beta.concentration1 + beta.concentration0


# --- what q asks for ------------------------------------------------------------------


def _normal(p: Any, moments: Moments, q: Normal) -> Tensor:
    square = (p.variance + (p.mean - q.loc).square()) / q.scale.square()
    return -square / 2 - q.scale.log() - _LOG_ROOT


def _laplace(p: Any, moments: Moments, q: Laplace) -> Tensor | None:
    if not isinstance(p, Normal):
        return None
    # The mean of |X - m| is that of a folded normal.
    shift = (p.loc - q.loc) / p.scale
    folded = math.sqrt(2 / math.pi) * (-shift.square() / 2).exp()
    distance = p.scale * (folded + shift * (shift / math.sqrt(2)).erf())
    return -distance / q.scale - (2 * q.scale).log()


def _gumbel(p: Any, moments: Moments, q: Gumbel) -> Tensor | None:
    if moments.exponential is None:
        return None
    power = moments.exponential(p, -1 / q.scale) * (q.loc / q.scale).exp()
    return -(p.mean - q.loc) / q.scale - power - q.scale.log()


def _uniform(p: Any, moments: Moments, q: Uniform) -> Tensor:
    return -(q.high - q.low).log()


def _exponential(p: Any, moments: Moments, q: Exponential) -> Tensor:
    return q.rate.log() - q.rate * p.mean


def _gamma(p: Any, moments: Moments, q: Gamma) -> Tensor | None:
    if moments.log is None:
        return None
    shape = (q.concentration - 1) * moments.log(p) - q.concentration.lgamma()
    return q.concentration * q.rate.log() + shape - q.rate * p.mean


def _pareto(p: Any, moments: Moments, q: Pareto) -> Tensor | None:
    if moments.log is None:
        return None
    return q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * moments.log(p)


def _beta(p: Any, moments: Moments, q: Beta) -> Tensor | None:
    if moments.log is None or moments.log_rest is None:
        return None
    each = q.concentration1.lgamma() + q.concentration0.lgamma() - _total(q).lgamma()
    first = (q.concentration1 - 1) * moments.log(p)
    return first + (q.concentration0 - 1) * moments.log_rest(p) - each


def _continuous_bernoulli(p: Any, moments: Moments, q: ContinuousBernoulli) -> Tensor:
    return p.mean * q.logits - q.logits.softplus() + q._log_norm()


EXPECTED: dict[type, Callable[[Any, Moments, Any], Tensor | None]] = {
    Normal: _normal,
    Laplace: _laplace,
    Gumbel: _gumbel,
    Uniform: _uniform,
    Exponential: _exponential,
    Gamma: _gamma,
    Pareto: _pareto,
    Beta: _beta,
    ContinuousBernoulli: _continuous_bernoulli,
}
