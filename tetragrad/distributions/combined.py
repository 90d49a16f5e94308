"""Distributions that are made of other ones."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.errors import ShapeError
from tetragrad.distributions.categorical import Categorical
from tetragrad.distributions.constraints import Constraint
from tetragrad.distributions.distribution import Distribution, sum_last
from tetragrad.tensor import Tensor


class Independent(Distribution):
    """The last dimensions of a batch taken as one event.

    >>> normal = tetragrad.distributions.Normal(Tensor.zeros(3), 1.0)
    >>> tetragrad.distributions.Independent(normal, 1).log_prob(Tensor.zeros(3)).shape
    ()
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        base = base_distribution
        count = reinterpreted_batch_ndims
        if not 0 <= count <= len(base.batch_shape):
            raise ShapeError(
                f"Independent of {count} dimensions of the batch {base.batch_shape}"
            )
        self.base_dist = base
        self.reinterpreted_batch_ndims = count
        split = len(base.batch_shape) - count
        event = base.batch_shape[split:] + base.event_shape
        super().__init__(base.batch_shape[:split], event, validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def support(self) -> Constraint:
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        inner = self.base_dist.log_prob(value)
        return sum_last(inner, self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return sum_last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def expand(self, batch_shape: Sequence[int]) -> Independent:
        split = len(self.batch_shape)
        inner = self.base_dist.batch_shape[split:]
        base = self.base_dist.expand((*batch_shape, *inner))
        return Independent(base, self.reinterpreted_batch_ndims, validate_args=False)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamily(Distribution):
    """One of several distributions of a kind, chosen anew for each sample.

    The components are the last dimension of ``component_distribution``'s batch.

    >>> weights = tetragrad.distributions.Categorical(Tensor([1.0, 1.0]))
    >>> parts = tetragrad.distributions.Normal(Tensor([-1.0, 1.0]), 1.0)
    >>> tetragrad.distributions.MixtureSameFamily(weights, parts).variance
    tensor(2.)
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        count = mixture_distribution.num_events
        parts = component_distribution
        if not parts.batch_shape or parts.batch_shape[-1] != count:
            raise ShapeError(
                f"MixtureSameFamily of {count} weights and components with the batch "
                f"{parts.batch_shape}: its last size must be {count}"
            )
        self.mixture_distribution = mixture_distribution
        self.component_distribution = parts
        super().__init__(parts.batch_shape[:-1], parts.event_shape, validate_args)

    @property
    def support(self) -> Constraint:
        return self.component_distribution.support

    def _weights(self) -> Tensor:
        probs = self.mixture_distribution.probs
        return probs.reshape(probs.shape + (1,) * len(self.event_shape))

    @property
    def _dim(self) -> int:
        """The components' dimension, counted from the back."""
        return -1 - len(self.event_shape)

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(self._dim)

    @property
    def variance(self) -> Tensor:
        parts, weights = self.component_distribution, self._weights()
        within = (weights * parts.variance).sum(self._dim)
        away = parts.mean - self.mean.unsqueeze(self._dim)
        return within + (weights * away * away).sum(self._dim)

    def cdf(self, value: Tensor) -> Tensor:
        inner = self.component_distribution.cdf(value.unsqueeze(self._dim))
        return (inner * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        inner = self.component_distribution.log_prob(value.unsqueeze(self._dim))
        return (inner + self.mixture_distribution.logits).logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        weights = self.mixture_distribution.expand(self.batch_shape)
        chosen = weights.sample(sample_shape)
        drawn = self.component_distribution.sample(sample_shape)
        index = chosen.reshape(chosen.shape + (1,) * (len(self.event_shape) + 1))
        dim = drawn.ndim + self._dim
        shape = [1 if axis == dim else size for axis, size in enumerate(drawn.shape)]
        return drawn.gather(dim, index.expand(*shape)).squeeze(dim)
