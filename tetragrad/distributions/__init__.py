"""Random quantities as objects: samples, probabilities, moments, divergences.

>>> normal = tetragrad.distributions.Normal(Tensor([0.0, 1.0]), 2.0)
>>> normal.batch_shape, normal.sample((3,)).shape
((2,), (3, 2))
>>> normal.cdf(Tensor([0.0, 1.0]))
tensor([0.5000, 0.5000])
"""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import missing
from tetragrad.distributions import constraints, transforms
from tetragrad.distributions.categorical import (
    Categorical,
    Multinomial,
    OneHotCategorical,
)
from tetragrad.distributions.combined import Independent, MixtureSameFamily
from tetragrad.distributions.constraint_registry import biject_to, transform_to
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
from tetragrad.distributions.further import (
    FisherSnedecor,
    GeneralizedPareto,
    VonMises,
)
from tetragrad.distributions.gamma_family import (
    Beta,
    Chi2,
    Dirichlet,
    Gamma,
    StudentT,
)
from tetragrad.distributions.matrices import (
    LKJCholesky,
    LowRankMultivariateNormal,
    Wishart,
)
from tetragrad.distributions.multivariate import MultivariateNormal
from tetragrad.distributions.positive import (
    Exponential,
    HalfNormal,
    LogNormal,
    Pareto,
    Weibull,
)
from tetragrad.distributions.relaxed import (
    ContinuousBernoulli,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
)
from tetragrad.distributions.transformed import (
    HalfCauchy,
    InverseGamma,
    Kumaraswamy,
    LogisticNormal,
    TransformedDistribution,
)
from tetragrad.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    CumulativeDistributionTransform,
    ExpTransform,
    IndependentTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    identity_transform,
)
from tetragrad.distributions.vector_transforms import (
    CatTransform,
    CorrCholeskyTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    ReshapeTransform,
    SoftmaxTransform,
    StackTransform,
    StickBreakingTransform,
)

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "Bernoulli",
    "Beta",
    "Binomial",
    "CatTransform",
    "Categorical",
    "Cauchy",
    "Chi2",
    "ComposeTransform",
    "ContinuousBernoulli",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "Dirichlet",
    "Distribution",
    "ExpTransform",
    "Exponential",
    "FisherSnedecor",
    "Gamma",
    "GeneralizedPareto",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "IndependentTransform",
    "InverseGamma",
    "Kumaraswamy",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "LowRankMultivariateNormal",
    "LowerCholeskyTransform",
    "MixtureSameFamily",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "Pareto",
    "Poisson",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "StudentT",
    "TanhTransform",
    "Transform",
    "TransformedDistribution",
    "Uniform",
    "VonMises",
    "Weibull",
    "Wishart",
    "biject_to",
    "constraints",
    "identity_transform",
    "kl_divergence",
    "register_kl",
    "transform_to",
    "transforms",
]


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.distributions", __all__)
