"""Distributions of whole numbers.

Probabilities and moments: Johnson, Kemp and Kotz, Univariate Discrete Distributions
(2005). Those with a probability take it as ``probs`` or as ``logits``, its log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import TetragradError
from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.continuous import smallest, uniform, uniform_open
from tetragrad.distributions.distribution import Distribution, as_tensors
from tetragrad.distributions.sampling import poisson, standard_gamma
from tetragrad.tensor import Tensor


def one_of(name: str, probs: Any, logits: Any) -> bool:
    """Whether ``probs`` is given; raises unless exactly one is."""
    if (probs is None) == (logits is None):
        raise TetragradError(
            f"{name} takes probs or logits, and got "
            f"{'neither' if probs is None else 'both'}"
        )
    return probs is not None


class _WithProbability(Distribution):
    """A distribution with a probability, given as it is or as its log-odds."""

    arg_constraints: ClassVar = {
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }

    probs: Tensor
    logits: Tensor

    def _take_probability(self, probs: Any, logits: Any, *others: Any) -> list[Tensor]:
        """Keep what is given; the other is worked out when it is asked for.

        Returns:
            Further parameters, of the shape and dtype of what is given.
        """
        is_share = one_of(type(self).__name__, probs, logits)
        given, *rest = as_tensors(probs if is_share else logits, *others)
        self.__dict__["probs" if is_share else "logits"] = given
        return [entry.to(given.dtype) for entry in rest]

    def __getattr__(self, name: str) -> Any:
        known = self.__dict__
        if name == "probs" and "logits" in known:
            return known["logits"].sigmoid()
        if name == "logits" and "probs" in known:
            epsilon = 2.0**-23 if known["probs"].dtype.bits == 32 else 2.0**-52
            probs = known["probs"].clamp(epsilon, 1 - epsilon)
            return probs.log() - (-probs).log1p()
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def _given(self) -> Tensor:
        known = self.__dict__
        return known["probs"] if "probs" in known else known["logits"]


class _OneProbability(_WithProbability):
    """A distribution whose probability is its only parameter."""

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._take_probability(probs, logits)
        super().__init__(self._given.shape, (), validate_args)


class Bernoulli(_OneProbability):
    """1 with a probability, else 0.

    >>> tetragrad.distributions.Bernoulli(0.25).variance
    tensor(0.1875)
    """

    support = constraints.boolean

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        likelier = (self.probs >= 0.5).to(self.probs.dtype)
        return likelier.where(self.probs != 0.5, float("nan"))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        probs = self.probs.detach()
        draw = uniform(self.shape_of(sample_shape), probs)
        return (draw < probs).to(probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        return -_cross_entropy(self.logits, value)

    def entropy(self) -> Tensor:
        return _cross_entropy(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return _counted(2, self, self._given, expand)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−t ln σ(x) − (1 − t) ln σ(−x), without overflow."""
    return logits.clamp(min=0) - logits * target + (-logits.abs()).exp().log1p()


def _counted(count: int, owner: Distribution, like: Tensor, expand: bool) -> Tensor:
    """0, 1, … count − 1 along a new first dimension."""
    values = like.tensor_class.arange(count, dtype=like.dtype, device=like.device)
    shape = (count, *(1 for _ in owner.batch_shape))
    values = values.reshape(shape)
    return values.expand(count, *owner.batch_shape) if expand else values


class Geometric(_OneProbability):
    """How many trials fail before the first that succeeds.

    >>> tetragrad.distributions.Geometric(0.25).mean
    tensor(3.)
    """

    support = constraints.nonnegative_integer

    @property
    def mean(self) -> Tensor:
        return self.probs.reciprocal() - 1

    @property
    def mode(self) -> Tensor:
        return self.probs * 0

    @property
    def variance(self) -> Tensor:
        return (self.probs.reciprocal() - 1) / self.probs

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        probs = self.probs.detach()
        draw = uniform_open(self.shape_of(sample_shape), probs)
        return (draw.log() / (-probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        probs = self.probs
        failed = (-probs).log1p().where((probs != 1) | (value != 0), 0.0)
        return value * failed + probs.log()

    def entropy(self) -> Tensor:
        return _cross_entropy(self.logits, self.probs) / self.probs


class Binomial(_WithProbability):
    """How many of ``total_count`` trials succeed.

    >>> tetragrad.distributions.Binomial(10, 0.5).mean
    tensor(5.)
    """

    arg_constraints: ClassVar = _WithProbability.arg_constraints | {
        "total_count": constraints.nonnegative_integer
    }

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        (self.total_count,) = self._take_probability(probs, logits, total_count)
        super().__init__(self._given.shape, (), validate_args)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        peak = ((self.total_count + 1) * self.probs).floor()
        return peak.minimum(self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        # As many trials as the largest count needs; the others do not use them all.
        trials = int(self.total_count.detach().max().item())
        shape = (*self.shape_of(sample_shape), trials)
        probs = self.probs.detach()
        number = probs.tensor_class.arange(trials, device=probs.device)
        takes_place = number < self.total_count.detach().unsqueeze(-1)
        succeeds = uniform(shape, probs) < probs.unsqueeze(-1)
        return (succeeds & takes_place).sum(-1).to(probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        ways = _log_choose(self.total_count, value)
        logits = self.logits
        rest = logits.clamp(min=0) + (-logits.abs()).exp().log1p()
        return ways + value * logits - self.total_count * rest

    def entropy(self) -> Tensor:
        count = self.total_count
        largest = int(count.detach().max().item())
        if not bool((count == largest).read().all()):
            raise self._unknown("entropy of counts that differ")
        values = _counted(largest + 1, self, self._given, True)
        logarithms = self.log_prob(values)
        return -(logarithms.exp() * logarithms).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        largest = int(self.total_count.detach().max().item())
        if not bool((self.total_count == largest).read().all()):
            raise self._unknown("support to enumerate: its counts differ")
        return _counted(largest + 1, self, self._given, expand)


def _log_choose(count: Tensor, taken: Tensor) -> Tensor:
    """The logarithm of the binomial coefficient."""
    rest = count - taken
    return (count + 1).lgamma() - (taken + 1).lgamma() - (rest + 1).lgamma()


class Poisson(Distribution):
    """How many events happen, of which ``rate`` are expected.

    >>> tetragrad.distributions.Poisson(4.0).variance
    tensor(4.)
    """

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = as_tensors(rate)
        super().__init__(self.rate.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return poisson(self.rate, sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        return value.xlogy(self.rate) - self.rate - (value + 1).lgamma()


class NegativeBinomial(_WithProbability):
    """How many trials succeed before ``total_count`` fail.

    >>> tetragrad.distributions.NegativeBinomial(3.0, 0.5).mean
    tensor(3.)
    """

    arg_constraints: ClassVar = _WithProbability.arg_constraints | {
        "total_count": constraints.nonnegative
    }
    support = constraints.nonnegative_integer

    def __init__(
        self,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        (self.total_count,) = self._take_probability(probs, logits, total_count)
        super().__init__(self._given.shape, (), validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        count = self.total_count.detach().clamp(min=smallest(self.total_count))
        amount = standard_gamma(count, sample_shape)
        return poisson(amount * self.logits.detach().exp())

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        count, logits = self.total_count, self.logits
        likelihood = count * (-logits).logsigmoid() + value * logits.logsigmoid()
        ways = (count + value).lgamma() - (value + 1).lgamma() - count.lgamma()
        return likelihood + ways.where(count + value != 0, 0.0)
