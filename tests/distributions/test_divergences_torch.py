"""Divergences between families beside PyTorch's, for every pair that it knows."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

torch = pytest.importorskip("torch")

#: Two members of each family: parameters in the order that both libraries take them.
FAMILIES: dict[str, list[list[float]]] = {
    "Bernoulli": [[0.3, 0.7]],
    "Beta": [[1.5, 3.0], [2.5, 0.8]],
    "Cauchy": [[0.5, -1.0], [1.5, 0.7]],
    "ContinuousBernoulli": [[0.2, 0.5]],
    "Exponential": [[0.7, 2.0]],
    "Gamma": [[1.5, 3.0], [2.5, 0.8]],
    "Gumbel": [[0.5, -1.0], [1.5, 0.7]],
    "Laplace": [[0.5, -1.0], [1.5, 0.7]],
    "Normal": [[0.5, -1.0], [1.5, 0.7]],
    "Pareto": [[0.5, 2.0], [3.5, 1.7]],
    "Poisson": [[0.7, 2.0]],
    "Uniform": [[0.1, 0.6], [0.9, 2.5]],
}
PAIRS = [
    pair
    for pair in product(FAMILIES, FAMILIES)
    if any(
        (getattr(torch.distributions, pair[0]), getattr(torch.distributions, pair[1]))
        == key
        for key in torch.distributions.kl._KL_REGISTRY
    )
]


def made(library: Any, array: Any, name: str) -> Any:
    values = [array(np.array(entry)) for entry in FAMILIES[name]]
    return getattr(library.distributions, name)(*values, validate_args=False)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_families(first: str, second: str) -> None:
    wanted = torch.distributions.kl_divergence(
        made(torch, torch.tensor, first), made(torch, torch.tensor, second)
    )
    found = tetragrad.distributions.kl_divergence(
        made(tetragrad, Tensor, first), made(tetragrad, Tensor, second)
    )
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6, atol=1e-9)


def test_binomials() -> None:
    both = []
    for library, array in ((torch, torch.tensor), (tetragrad, Tensor)):
        of = library.distributions
        p, q = (of.Binomial(5, array(np.array([x, 0.3]))) for x in (0.2, 0.6))
        both.append(np.asarray(of.kl_divergence(p, q)))
    np.testing.assert_allclose(both[1], both[0], rtol=1e-6, atol=1e-9)


def test_normals_of_low_rank() -> None:
    random = np.random.default_rng(0)
    factor, spread = random.standard_normal((4, 2)), random.uniform(0.5, 2, 4)
    both = []
    for library, array in ((torch, torch.tensor), (tetragrad, Tensor)):
        of = library.distributions
        p = of.LowRankMultivariateNormal(
            array(np.zeros(4)), array(factor), array(spread)
        )
        q = of.MultivariateNormal(array(np.ones(4)), array(2 * np.eye(4)))
        pairs = [(p, q), (q, p), (p, p)]
        both.append([float(of.kl_divergence(*pair)) for pair in pairs])
    np.testing.assert_allclose(both[1], both[0], rtol=1e-6, atol=1e-9)
