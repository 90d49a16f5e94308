"""Drawing: gradients through samples, captures, seeds, shapes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import UnsupportedError
from tetragrad.distributions.sampling import gamma_slope, poisson

torch = pytest.importorskip("torch")

distributions = tetragrad.distributions


def test_gradients_of_gamma_samples_are_exact() -> None:
    # d z / d α at constant F(z; α), by differences of the inverse.
    special = pytest.importorskip("scipy.special")
    alpha = np.array([0.05, 0.5, 1.0, 3.0, 40.0, 1000.0])
    for share in (0.05, 0.5, 0.95):
        value = special.gammaincinv(alpha, share)
        step = 1e-5 * alpha
        above = special.gammaincinv(alpha + step, share)
        below = special.gammaincinv(alpha - step, share)
        found = gamma_slope(Tensor(alpha), Tensor(value)).numpy()
        np.testing.assert_allclose(found, (above - below) / (2 * step), rtol=1e-4)


def test_gradients_flow_through_samples() -> None:
    # The mean of Gamma(α, β) is α/β, so its derivatives are 1/β and -α/β².
    tetragrad.manual_seed(0)
    alpha = Tensor(2.0, requires_grad=True)
    rate = Tensor(4.0, requires_grad=True)
    distributions.Gamma(alpha, rate).rsample((4000,)).mean().backward()
    assert alpha.grad.item() == pytest.approx(1 / 4, abs=0.01)
    assert rate.grad.item() == pytest.approx(-2 / 16, abs=0.01)


def test_normal_samples_are_functions_of_their_parameters() -> None:
    loc = Tensor([1.0, 2.0], requires_grad=True)
    drawn = distributions.Normal(loc, 0.5).rsample((3,))
    assert drawn.shape == (3, 2)
    drawn.sum().backward()
    assert loc.grad.tolist() == [3, 3]
    with pytest.raises(UnsupportedError, match="no rsample"):
        distributions.Bernoulli(0.5).rsample()


def test_replays_draw_anew_and_seeds_repeat() -> None:
    @tetragrad.jit
    def draw(rate: Tensor) -> Tensor:
        return distributions.Exponential(rate).sample((4,))

    rate = Tensor(2.0)
    tetragrad.manual_seed(3)
    first = [draw(rate).tolist() for _ in range(4)]
    assert len({tuple(entry) for entry in first}) == 4
    tetragrad.manual_seed(3)
    assert [draw(rate).tolist() for _ in range(4)] == first


def test_counts_of_small_and_large_rates() -> None:
    tetragrad.manual_seed(0)
    rates = np.array([0.0, 0.1, 9.9, 10.1, 1e4])
    drawn = poisson(Tensor(rates), (3000,)).numpy()
    error = np.sqrt(rates / 3000) + 1e-12
    assert (np.abs(drawn.mean(0) - rates) <= 4.5 * error).all()
    assert (np.floor(drawn) == drawn).all()


def test_choices_without_weight_are_never_drawn() -> None:
    choice = distributions.Categorical(Tensor([0.0, 1.0, 0.0, 3.0]))
    drawn = choice.sample((500,)).numpy()
    assert set(drawn) == {1, 3}
    assert 0.6 < (drawn == 3).mean() < 0.9


def test_mixtures_and_events() -> None:
    weights, means = [0.25, 0.75], [[0.0, 1.0], [4.0, 2.0]]

    def mixture(library: Any, tensor: Any) -> Any:
        kinds = library.distributions
        parts = kinds.Independent(kinds.Normal(tensor(means), tensor([1.0, 2.0])), 1)
        return kinds.MixtureSameFamily(kinds.Categorical(tensor(weights)), parts)

    mine = mixture(tetragrad, Tensor)
    theirs = mixture(torch, torch.tensor)
    assert mine.event_shape == (2,)
    value = [[0.5, 1.0], [3.0, -1.0], [9.0, 9.0]]
    np.testing.assert_allclose(
        mine.log_prob(Tensor(value)), theirs.log_prob(torch.tensor(value)), rtol=1e-5
    )
    np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-6)
    np.testing.assert_allclose(mine.variance, theirs.variance, rtol=1e-6)
    assert mine.sample((5,)).shape == (5, 2)


def test_expanding_and_enumerating() -> None:
    normal = distributions.Normal(0.0, 1.0).expand((2, 3))
    assert normal.sample().shape == (2, 3)
    assert normal.log_prob(Tensor(0.0)).shape == (2, 3)
    choice = distributions.Categorical(Tensor([[1.0, 1.0], [1.0, 3.0]]))
    assert choice.enumerate_support().tolist() == [[0, 0], [1, 1]]
    assert distributions.Binomial(2, 0.5).enumerate_support().tolist() == [0, 1, 2]
    total = choice.log_prob(choice.enumerate_support()).exp().sum(0)
    np.testing.assert_allclose(total, [1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.Normal(0.0, -1.0), "scale must be positive"),
        (lambda d: d.Uniform(1.0, 0.0), "high - low must be positive"),
        (lambda d: d.Bernoulli(1.5), "probs must be between 0 and 1"),
        (lambda d: d.Bernoulli(), "got neither"),
        (lambda d: d.Poisson(1.0).log_prob(Tensor(1.5)), "the value must be whole"),
        (lambda d: d.Categorical(Tensor([1.0])).log_prob(Tensor(1)), "between 0 and 0"),
        (lambda d: d.Dirichlet(Tensor(1.0)), "takes a vector"),
        (lambda d: d.MultivariateNormal(Tensor([1.0])), "got 0"),
        (
            lambda d: d.kl_divergence(d.Cauchy(0.0, 1.0), d.Normal(0.0, 1.0)),
            "register_kl",
        ),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(tetragrad.TetragradError, match=message):
        call(distributions)


def test_checks_can_be_left_out() -> None:
    kind = distributions.Normal(0.0, -1.0, validate_args=False)
    assert np.isnan(kind.log_prob(Tensor(0.0)).item())


def test_counts_that_are_drawn() -> None:
    tetragrad.manual_seed(0)
    rates = Tensor.full((2000,), 4.0)
    assert abs(tetragrad.poisson(rates).mean().item() - 4) < 0.3
    halves = tetragrad.binomial(rates, Tensor(0.5))
    assert abs(halves.mean().item() - 2) < 0.2
