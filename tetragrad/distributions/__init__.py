"""Random quantities as objects: samples, probabilities, moments, divergences.

>>> normal = tetragrad.distributions.Normal(Tensor([0.0, 1.0]), 2.0)
>>> normal.batch_shape, normal.sample((3,)).shape
((2,), (3, 2))
>>> normal.cdf(Tensor([0.0, 1.0]))
tensor([0.5000, 0.5000])
"""

from tetragrad.distributions import constraints
from tetragrad.distributions.categorical import (
    Categorical,
    Multinomial,
    OneHotCategorical,
)
from tetragrad.distributions.combined import Independent, MixtureSameFamily
from tetragrad.distributions.continuous import Cauchy, Gumbel, Laplace, Normal, Uniform
from tetragrad.distributions.discrete import (
    Bernoulli,
    Binomial,
    Geometric,
    NegativeBinomial,
    Poisson,
)
from tetragrad.distributions.distribution import Distribution
from tetragrad.distributions.divergence import kl_divergence, register_kl
from tetragrad.distributions.gamma_family import (
    Beta,
    Chi2,
    Dirichlet,
    Gamma,
    StudentT,
)
from tetragrad.distributions.multivariate import MultivariateNormal
from tetragrad.distributions.positive import (
    Exponential,
    HalfNormal,
    LogNormal,
    Pareto,
    Weibull,
)

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Chi2",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfNormal",
    "Independent",
    "Laplace",
    "LogNormal",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "Pareto",
    "Poisson",
    "StudentT",
    "Uniform",
    "Weibull",
    "constraints",
    "kl_divergence",
    "register_kl",
]
