"""Distributions beside PyTorch's: probabilities, moments, divergences, gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

torch = pytest.importorskip("torch")


@dataclass(frozen=True)
class Case:
    """A distribution by name, its parameters, and outcomes to ask for."""

    name: str
    parameters: tuple[Any, ...]
    outcomes: Any
    other: tuple[Any, ...] | None = None
    keywords: tuple[str, ...] = ()
    numbers: int = 2000
    tolerance: float = 1e-9

    def make(self, library: Any, convert: Callable[[Any], Any], values: Any) -> Any:
        """The distribution of either library."""
        kind = getattr(library.distributions, self.name)
        given = [convert(value) for value in values]
        if self.keywords:
            return kind(**dict(zip(self.keywords, given, strict=True)))
        return kind(*given)

    def __str__(self) -> str:
        return f"{self.name} {'/'.join(self.keywords)}".strip()


def _ours(value: Any) -> Any:
    if isinstance(value, int):
        return value
    return Tensor(np.asarray(value, np.float64), requires_grad=True)


def _theirs(value: Any) -> Any:
    if isinstance(value, int):
        return value
    return torch.tensor(np.asarray(value, np.float64), requires_grad=True)


COVARIANCE = [[2.0, 0.5], [0.5, 1.0]]

CASES = [
    Case("Normal", ([0.5, -1.0], [1.0, 2.5]), [0.3, 4.0], ([0.0, 1.0], [2.0, 1.5])),
    Case("LogNormal", ([0.5, -1.0], [0.5, 0.8]), [0.3, 4.0], ([0.0, 1.0], [2.0, 1.5])),
    Case("Uniform", ([0.5, -1.0], [1.0, 2.5]), [0.7, 2.0], ([0.0, -1.0], [2.0, 1.5])),
    Case("Exponential", ([0.5, 2.0],), [0.3, 4.0], ([1.0, 1.5],)),
    Case("Laplace", ([0.5, -1.0], [1.0, 2.5]), [0.3, 4.0], ([0.0, 1.0], [2.0, 1.5])),
    Case("Cauchy", ([0.5, -1.0], [1.0, 2.5]), [0.3, 4.0]),
    Case("Gumbel", ([0.5, -1.0], [1.0, 2.5]), [0.3, 4.0], ([0.0, 1.0], [2.0, 1.5])),
    Case("HalfNormal", ([1.0, 2.5],), [0.3, 4.0], ([2.0, 1.5],)),
    Case("Pareto", ([1.0, 2.5], [5.0, 6.0]), [1.3, 4.0], ([0.5, 3.0], [2.0, 1.5])),
    Case("Weibull", ([1.0, 2.5], [1.2, 3.0]), [1.3, 4.0]),
    Case("Gamma", ([0.6, 7.0], [1.0, 2.5]), [0.3, 4.0], ([1.0, 3.0], [2.0, 1.5])),
    Case("Chi2", ([0.6, 7.0],), [0.3, 4.0], ([1.0, 3.0],)),
    Case("Beta", ([0.6, 7.0], [1.0, 2.5]), [0.3, 0.9], ([1.0, 3.0], [2.0, 1.5])),
    Case("Dirichlet", ([0.6, 7.0, 2.0],), [0.2, 0.7, 0.1], ([1.0, 3.0, 2.0],)),
    Case("StudentT", ([4.5, 9.0], [0.0, 1.0], [1.0, 2.0]), [0.3, -4.0]),
    Case("Bernoulli", ([0.3, 0.9],), [1.0, 0.0], ([0.5, 0.2],), ("probs",)),
    Case("Bernoulli", ([0.3, -2.0],), [1.0, 0.0], ([0.5, 0.2],), ("logits",)),
    Case("Geometric", ([0.3, 0.9],), [3.0, 0.0], ([0.5, 0.2],), ("probs",)),
    Case("Binomial", (7, [0.3, 0.9]), [3.0, 6.0], None, ("total_count", "probs")),
    Case(
        "NegativeBinomial",
        (3, [0.3, -0.9]),
        [3.0, 6.0],
        None,
        ("total_count", "logits"),
    ),
    Case("HalfCauchy", ([1.0, 2.5],), [0.3, 4.0]),
    Case("InverseGamma", ([3.0, 7.0], [1.0, 2.5]), [0.3, 4.0]),
    Case("Kumaraswamy", ([1.5, 3.0], [2.0, 1.2]), [0.3, 0.9]),
    Case("LogisticNormal", ([0.5, -1.0], [1.0, 0.5]), [0.2, 0.5, 0.3]),
    Case("FisherSnedecor", ([3.0, 6.0], [5.0, 9.0]), [0.3, 4.0]),
    # PyTorch's Bessel functions have seven digits.
    Case("VonMises", ([0.5, -1.0], [0.3, 12.0]), [0.3, 3.0], tolerance=1e-6),
    Case("ContinuousBernoulli", ([0.3, 0.4999],), [0.3, 0.9], None, ("probs",)),
    Case(
        "RelaxedBernoulli",
        (0.7, [0.3, 0.9]),
        [0.3, 0.9],
        None,
        ("temperature", "probs"),
    ),
    Case("RelaxedOneHotCategorical", (0.7, [0.2, 0.5, 0.3]), [0.2, 0.5, 0.3]),
    Case("OneHotCategoricalStraightThrough", ([0.2, 0.5, 0.3],), [0.0, 1.0, 0.0]),
    Case("Wishart", (4.5, COVARIANCE), [[2.0, 0.5], [0.5, 1.5]]),
    Case(
        "LowRankMultivariateNormal",
        ([0.5, 1.0], [[1.0], [0.5]], [1.0, 2.0]),
        [0.0, 3.0],
    ),
    Case("Poisson", ([0.7, 40.0],), [3.0, 36.0], ([1.0, 50.0],)),
    Case("Categorical", ([0.2, 0.5, 1.3],), [2.0], ([0.2, 0.3, 0.5],), ("probs",)),
    Case("Categorical", ([[0.2, -1.0], [1.0, 2.0]],), [0.0, 1.0], None, ("logits",)),
    Case("OneHotCategorical", ([0.2, 0.5, 0.3],), [0.0, 1.0, 0.0], ([0.2, 0.3, 0.5],)),
    Case("Multinomial", (5, [0.2, 0.5, 0.3]), [1.0, 2.0, 2.0]),
    Case(
        "MultivariateNormal",
        ([0.5, 1.0], COVARIANCE),
        [0.0, 3.0],
        ([0.0, 1.0], [[1.0, 0.2], [0.2, 3.0]]),
    ),
    Case(
        "MultivariateNormal",
        ([0.5, 1.0], COVARIANCE),
        [0.0, 3.0],
        None,
        ("loc", "precision_matrix"),
    ),
]


def _same(have: Any, want: Any, tolerance: float = 1e-9) -> None:
    assert tuple(have.shape) == tuple(want.shape)
    np.testing.assert_allclose(
        have.detach().numpy(), want.detach().numpy(), rtol=tolerance, atol=tolerance
    )


#: PyTorch gives the corner of a distribution without a peak, or NaN for a peak.
WITHOUT_MODE = ("Beta", "Dirichlet", "Kumaraswamy", "Multinomial")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_probabilities_and_moments(case: Case) -> None:
    mine = case.make(tetragrad, _ours, case.parameters)
    theirs = case.make(torch, _theirs, case.parameters)
    assert mine.batch_shape == tuple(theirs.batch_shape)
    assert mine.event_shape == tuple(theirs.event_shape)
    assert mine.has_rsample == theirs.has_rsample
    value = np.asarray(case.outcomes)
    density = mine.log_prob(Tensor(value))
    _same(density, theirs.log_prob(torch.tensor(value)), case.tolerance)
    for what in ("mean", "variance", "mode"):
        try:
            want = getattr(theirs, what)
        except NotImplementedError:
            continue
        if what == "mode" and case.name in WITHOUT_MODE:
            continue
        _same(getattr(mine, what), want, case.tolerance)
    if case.name not in ("Poisson", "NegativeBinomial", "Multinomial"):
        with suppress(NotImplementedError):
            _same(mine.entropy(), theirs.entropy())
    if type(mine).cdf is not tetragrad.distributions.Distribution.cdf:
        with suppress(NotImplementedError):
            _same(mine.cdf(Tensor(value)), theirs.cdf(torch.tensor(value)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_of_probabilities(case: Case) -> None:
    value = np.asarray(case.outcomes)
    ours = [_ours(entry) for entry in case.parameters]
    others = [_theirs(entry) for entry in case.parameters]
    mine = case.make(tetragrad, lambda entry: entry, ours)
    theirs = case.make(torch, lambda entry: entry, others)
    mine.log_prob(Tensor(value)).sum().backward()
    theirs.log_prob(torch.tensor(value)).sum().backward()
    for have, want in zip(ours, others, strict=True):
        if isinstance(have, int) or want.grad is None:
            continue
        _same(have.grad, want.grad, 10 * case.tolerance)


@pytest.mark.parametrize("case", [case for case in CASES if case.other], ids=str)
def test_divergences(case: Case) -> None:
    p, q = (
        case.make(tetragrad, _ours, values) for values in (case.parameters, case.other)
    )
    other_p, other_q = (
        case.make(torch, _theirs, values) for values in (case.parameters, case.other)
    )
    have = tetragrad.distributions.kl_divergence(p, q)
    want = torch.distributions.kl_divergence(other_p, other_q)
    _same(have, want, 1e-7)
    assert np.allclose(tetragrad.distributions.kl_divergence(p, p).numpy(force=True), 0)


#: One of each way to draw.
DRAWN = (
    "Normal Exponential Laplace Weibull Gamma Dirichlet Bernoulli Geometric Binomial "
    "Poisson OneHotCategorical MultivariateNormal InverseGamma Kumaraswamy "
    "FisherSnedecor ContinuousBernoulli Wishart "
    "LowRankMultivariateNormal"
).split()


@pytest.mark.parametrize("name", DRAWN)
def test_samples_have_the_moments(name: str) -> None:
    tetragrad.manual_seed(1)
    case = next(case for case in CASES if case.name == name)
    mine = case.make(tetragrad, _ours, case.parameters)
    drawn = mine.sample((case.numbers,))
    assert drawn.shape == (case.numbers, *mine.batch_shape, *mine.event_shape)
    assert not drawn.requires_grad
    assert bool(mine.support.check(drawn).all())
    values = drawn.numpy()
    error = mine.stddev.numpy(force=True) / np.sqrt(case.numbers)
    mean = mine.mean.numpy(force=True)
    assert (np.abs(values.mean(0) - mean) < 4.5 * error).all()
    variance = mine.variance.numpy(force=True)
    assert (np.abs(values.var(0) / variance - 1) < 0.5).all()
