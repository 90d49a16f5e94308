"""Counts drawn for each element of a tensor: ``tetragrad.poisson`` and ``binomial``."""

from __future__ import annotations

from tetragrad.distributions import sampling
from tetragrad.distributions.discrete import Binomial
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


def poisson(input: Tensor) -> Tensor:
    """How often something happens whose mean each element is; no gradient.

    Source: Hörmann, "The transformed rejection method for generating Poisson random
    variables", 1993.

    >>> tetragrad.poisson(Tensor([0.0, 0.0]))
    tensor([0., 0.])
    """
    with no_grad():
        return sampling.poisson(input.detach())


def binomial(count: Tensor, prob: Tensor) -> Tensor:
    """How many of ``count`` trials succeed with probability ``prob``; no gradient.

    Both have one dtype, and shapes that broadcast.

    >>> tetragrad.binomial(Tensor([3.0, 4.0]), Tensor([1.0, 0.0]))
    tensor([3., 0.])
    """
    with no_grad():
        return Binomial(count, prob).sample()
