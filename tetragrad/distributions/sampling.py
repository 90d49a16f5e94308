"""Samples that no formula of uniform numbers gives: gamma and Poisson.

Both are drawn by rejection. A compiled graph has no open end, so a fixed number of
proposals is made at once and the first accepted one taken; so many that all are
rejected with a probability below 10⁻¹², when the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core import dtypes
from tetragrad.distributions.continuous import normal, smallest, uniform_open
from tetragrad.graph.markers import CustomGradient
from tetragrad.graph.node import Node
from tetragrad.tensor import Tensor
from tetragrad.tensor.base import wrap
from tetragrad.tensor.modes import no_grad

#: Marsaglia and Tsang accept at least 95 of 100 proposals.
GAMMA_TRIES = 10
#: Hörmann's method accepts at least 3 of 4 where it is used.
POISSON_TRIES = 20
#: Below this rate, counts are found one after another.
SMALL_RATE = 10.0
#: A count of more than this has a probability below 10⁻¹⁵ at a smaller rate.
LARGEST_SMALL_COUNT = 48


def standard_gamma(concentration: Tensor, sample_shape: Sequence[int] = ()) -> Tensor:
    """Gamma distributed numbers with rate 1; gradients flow to the concentration.

    Marsaglia and Tsang (2000), A simple method for generating gamma variables. The
    gradient is implicit: −(∂F/∂α) / p, for the cumulative probability F and the
    density p (Figurnov, Mohamed and Mnih 2018, Implicit reparameterization gradients).
    """
    shape = (*sample_shape, *concentration.shape)
    with no_grad():
        drawn = _marsaglia_tsang(concentration.detach().expand(*shape)).detach()
    if not concentration.requires_grad:
        return drawn
    alpha = concentration.expand(*shape)

    def rule(upstream: Node) -> tuple[Node, None]:
        cls = drawn.tensor_class
        slope = gamma_slope(cls.from_node(alpha.node), drawn)
        return (cls.from_node(upstream) * slope).node, None

    node = CustomGradient(drawn.node, rule, (alpha.node, drawn.node))
    return wrap(node, alpha)


def _marsaglia_tsang(alpha: Tensor) -> Tensor:
    """d v for v = (1 + c x)³ with a normal x, d = α − ⅓ and c = 1 / √(9 d)."""
    # A concentration below 1 is raised by 1, and the result lowered by U^(1/α).
    is_small = alpha < 1
    raised = (alpha + 1).where(is_small, alpha)
    tries = (GAMMA_TRIES, *alpha.shape)
    d = raised - 1 / 3
    c = (9 * d).rsqrt()
    x = normal(tries, alpha)
    u = uniform_open(tries, alpha)
    v = (1 + c * x).clamp(min=0).pow(3)
    safe = v.clamp(min=smallest(alpha))
    is_accepted = (v > 0) & (u.log() < x * x / 2 + d * (1 - v + safe.log()))
    drawn = d * first_accepted(safe, is_accepted)
    lowering = (uniform_open(alpha.shape, alpha).log() / alpha).exp()
    drawn = drawn * lowering.where(is_small, 1.0)
    return drawn.clamp(min=smallest(alpha))


def first_accepted(proposals: Tensor, is_accepted: Tensor) -> Tensor:
    """The first proposal along dimension 0 that is accepted, else the last."""
    count = proposals.shape[0]
    number = proposals.tensor_class.arange(count, device=proposals.device)
    number = number.reshape((count, *(1 for _ in proposals.shape[1:])))
    first = number.where(is_accepted, count - 1).amin(0)
    return proposals.where(number == first, 0.0).sum(0)


#: Points of the integral below, and how far apart they are.
POINTS = 192
STEP = 0.06


def gamma_slope(alpha: Tensor, value: Tensor) -> Tensor:
    """∂z/∂α at constant cumulative probability, for a gamma distributed z.

    With u = exp(−v/α) it is −(z/α) ∫ exp(−v + z (1 − u)) (ln z − v/α − ψ(α)) dv over
    v > 0, summed by the trapezoidal rule after v = exp(s − exp(−s)), which makes the
    ends vanish (Takahasi and Mori 1974).
    """
    dtype = value.dtype
    a, z = alpha.double().unsqueeze(-1), value.double().unsqueeze(-1)
    # Where most of the integrand is: its peak and its width set the scale of v.
    scale = a.sqrt().maximum(a * (z / a).log().clamp(min=0)).clamp(min=1)
    points = a.tensor_class.arange(POINTS, dtype=dtypes.float64, device=value.device)
    s = points * STEP - POINTS * STEP * 0.55
    small = (-s).exp()
    v = scale * (s - small).exp()
    weight = v * (1 + small) * STEP
    exponent = -v - z * (-v / a).expm1()
    deviation = z.log() - v / a - a.digamma()
    total = (weight * exponent.exp() * deviation).sum(-1)
    slope = -(z / a).squeeze(-1) * total
    return slope.to(dtype)


# --- counts --------------------------------------------------------------------------


def poisson(rate: Tensor, sample_shape: Sequence[int] = ()) -> Tensor:
    """How many events happen, of which ``rate`` are expected."""
    shape = (*sample_shape, *rate.shape)
    with no_grad():
        wide = rate.detach().expand(*shape).double()
        is_small = wide < SMALL_RATE
        few = _by_inversion(wide.clamp(max=SMALL_RATE))
        many = _hoermann(wide.clamp(min=SMALL_RATE))
        return few.where(is_small, many).to(rate.dtype)


def _by_inversion(rate: Tensor) -> Tensor:
    """How many of the cumulative probabilities a uniform number exceeds."""
    count = rate.tensor_class.arange(
        LARGEST_SMALL_COUNT, dtype=rate.dtype, device=rate.device
    )
    safe = rate.clamp(min=smallest(rate)).unsqueeze(-1)
    probability = (count * safe.log() - safe - (count + 1).lgamma()).exp()
    draw = uniform_open(rate.shape, rate).unsqueeze(-1)
    return (draw > probability.cumsum(-1)).sum(-1).to(rate.dtype)


def _hoermann(rate: Tensor) -> Tensor:
    """Transformed rejection with squeeze (Hörmann 1993, PTRS), for rates from 10."""
    tries = (POISSON_TRIES, *rate.shape)
    b = 0.931 + 2.53 * rate.sqrt()
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    r = 0.9277 - 3.6224 / (b - 2)
    u = uniform_open(tries, rate) - 0.5
    v = uniform_open(tries, rate)
    distance = 0.5 - u.abs()
    count = ((2 * a / distance + b) * u + rate + 0.43).floor()
    is_quick = (distance >= 0.07) & (v <= r)
    is_out = (count < 0) | ((distance < 0.013) & (v > distance))
    left = v.log() + inverse_alpha.log() - (a / (distance * distance) + b).log()
    right = count * rate.log() - rate - (count.clamp(min=0) + 1).lgamma()
    is_accepted = is_quick | (is_out.logical_not() & (left <= right))
    return first_accepted(count.clamp(min=0), is_accepted)


def gumbel(shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard Gumbel numbers: the argmax of log weights plus these is a fair draw."""
    inner = -uniform_open(shape, like).log()
    return -inner.clamp(min=smallest(like)).log()
