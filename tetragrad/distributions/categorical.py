"""Distributions over a few choices: one drawn, as a number or a vector, or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.distributions import constraints
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.discrete import one_of
from tetragrad.distributions.distribution import Distribution, check_event
from tetragrad.distributions.sampling import gumbel
from tetragrad.tensor import Tensor


class Categorical(Distribution):
    """One of several choices, by number; the weights are the last dimension.

    ``probs`` need not have the sum 1, and ``logits`` are unnormalised logarithms.

    >>> tetragrad.distributions.Categorical(Tensor([1.0, 3.0])).probs
    tensor([0.2500, 0.7500])
    """

    arg_constraints: ClassVar = {
        "probs": constraints.simplex,
        "logits": constraints.real_vector,
    }

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given: Any = probs if one_of("Categorical", probs, logits) else logits
        if given.ndim < 1:
            raise ShapeError("Categorical of one number: it takes a vector, or a batch")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            # A choice without weight is never drawn, and its logarithm not infinite.
            epsilon = 2.0**-23 if probs.dtype.bits == 32 else 2.0**-52
            self.logits = self.probs.clamp(epsilon, 1 - epsilon).log()
        else:
            self.logits = given - given.logsumexp(-1, keepdim=True)
            self.probs = self.logits.exp()
        super().__init__(given.shape[:-1], (), validate_args)

    @property
    def num_events(self) -> int:
        """How many choices there are."""
        return self.logits.shape[-1]

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.num_events - 1)

    @property
    def mean(self) -> Tensor:
        return self.logits.sum(-1) * float("nan")

    variance = mean

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        logits = self.logits.detach()
        race = logits + gumbel((*sample_shape, *logits.shape), logits)
        never = self.probs.detach() == 0
        return race.masked_fill(never, float("-inf")).argmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_outcome(value)
        index = value.long()
        ndim = max(index.ndim, self.logits.ndim - 1)
        shape = index.reshape((1,) * (ndim - index.ndim) + index.shape).shape
        batch = (1,) * (ndim + 1 - self.logits.ndim) + self.batch_shape
        joint = [max(pair) for pair in zip(shape, batch, strict=True)]
        logits = self.logits.expand(*joint, self.num_events)
        index = index.expand(*joint).unsqueeze(-1)
        return logits.gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        finite = self.logits.clamp(min=-3.4e38)
        return -(finite * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = self.num_events
        values = self.logits.tensor_class.arange(count, device=self.logits.device)
        values = values.reshape((count, *(1 for _ in self.batch_shape)))
        return values.expand(count, *self.batch_shape) if expand else values


class OneHotCategorical(Distribution):
    """One of several choices, as a vector with a 1 in its place.

    >>> tetragrad.distributions.OneHotCategorical(Tensor([0.0, 1.0])).sample()
    tensor([0., 1.])
    """

    arg_constraints: ClassVar = {}
    support = constraints.one_hot

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.choice = Categorical(probs, logits, validate_args)
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

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return self.choice.mode.one_hot(self.choice.num_events).to(self.probs.dtype)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        drawn = self.choice.sample(sample_shape)
        return drawn.one_hot(self.choice.num_events).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        check_event("OneHotCategorical", value, self.event_shape[0])
        self._check_outcome(value)
        return self.choice.log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        return self.choice.entropy()


class Multinomial(Distribution):
    """How often each choice is drawn in ``total_count`` draws.

    >>> tetragrad.distributions.Multinomial(4, Tensor([1.0, 1.0])).mean
    tensor([2., 2.])
    """

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.total_count = int(total_count)
        self.choice = Categorical(probs, logits, validate_args)
        size = (self.choice.num_events,)
        super().__init__(self.choice.batch_shape, size, validate_args)

    @property
    def support(self) -> Constraint:
        def check(value: Tensor) -> Tensor:
            whole = (value >= 0) & (value.floor() == value)
            return whole.all(-1) & (value.sum(-1) == self.total_count)

        return Constraint(f"counts with the sum {self.total_count}", check)

    @property
    def probs(self) -> Tensor:
        """The probability of each choice."""
        return self.choice.probs

    @property
    def logits(self) -> Tensor:
        """Its logarithm."""
        return self.choice.logits

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        drawn = self.choice.sample((self.total_count, *sample_shape))
        return drawn.one_hot(self.choice.num_events).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        check_event("Multinomial", value, self.event_shape[0])
        self._check_outcome(value)
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        logits = self.logits.where((value != 0) | (self.probs != 0), 0.0)
        return ways + (logits * value).sum(-1)
