"""Transforms beside PyTorch's, and distributions that are made with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad import distributions as ours
from tetragrad.core.errors import ShapeError, UnsupportedError
from tetragrad.core.settings import override

torch = pytest.importorskip("torch")
theirs = torch.distributions

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.2, -0.9]])


@pytest.fixture(autouse=True)
def on_reference() -> Iterator[None]:
    """The formulas are what is tested here."""
    with override(device="reference"):
        yield


def same(mine: Any, other: Any) -> None:
    assert mine.shape == tuple(other.shape)
    mine, other = mine.detach().numpy(), other.detach().numpy()
    np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-10)


def mine_of(values: Any) -> Tensor:
    return Tensor(np.asarray(values, np.float64))


def theirs_of(values: Any) -> Any:
    return torch.tensor(np.asarray(values, np.float64))


TRANSFORMS: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "exp": (lambda d, t: d.ExpTransform(), X),
    "power": (lambda d, t: d.PowerTransform(t([2.0, -1.0, 0.5])), np.abs(X)),
    "sigmoid": (lambda d, t: d.SigmoidTransform(), X),
    "softplus": (lambda d, t: d.SoftplusTransform(), X),
    "tanh": (lambda d, t: d.TanhTransform(), X),
    "affine": (lambda d, t: d.AffineTransform(1.0, t([2.0, -3.0, 1.0])), X),
    "affine event": (lambda d, t: d.AffineTransform(1.0, -2.0, event_dim=1), X),
    "cdf": (
        lambda d, t: d.CumulativeDistributionTransform(d.Normal(t(0.1), t(2.0))),
        X,
    ),
    "reshape": (lambda d, t: d.ReshapeTransform((3,), (3, 1)), X),
    "stick breaking": (lambda d, t: d.StickBreakingTransform(), X),
    "correlation": (lambda d, t: d.CorrCholeskyTransform(), X),
    "composed": (
        lambda d, t: d.ComposeTransform(
            [d.AffineTransform(1.0, -2.0), d.StickBreakingTransform()]
        ),
        X,
    ),
    "composed upward": (
        lambda d, t: d.ComposeTransform(
            [d.ReshapeTransform((3,), (1, 3)), d.ExpTransform()]
        ),
        X,
    ),
    "independent": (lambda d, t: d.IndependentTransform(d.TanhTransform(), 1), X),
    "inverse": (lambda d, t: d.ExpTransform().inv, np.abs(X)),
    "joined": (
        lambda d, t: d.CatTransform(
            [d.ExpTransform(), d.TanhTransform()], dim=-1, lengths=[1, 2]
        ),
        X,
    ),
    "stacked": (
        lambda d, t: d.StackTransform([d.ExpTransform(), d.TanhTransform()], dim=0),
        X,
    ),
    "nothing": (lambda d, t: d.identity_transform, X),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    make, values = TRANSFORMS[name]
    mine, other = make(ours, mine_of), make(theirs, theirs_of)
    x, other_x = Tensor(values), torch.tensor(values)
    y, other_y = mine(x), other(other_x)
    same(y, other_y)
    same(mine.inv(y), other.inv(other_y))
    same(mine.inv.inv(x), other_y)
    same(mine.log_abs_det_jacobian(x, y), other.log_abs_det_jacobian(other_x, other_y))
    assert mine.domain.event_dim == other.domain.event_dim
    assert mine.codomain.event_dim == other.codomain.event_dim
    assert mine.forward_shape((7, 2, 3)) == tuple(other.forward_shape((7, 2, 3)))
    assert mine.inverse_shape(y.shape) == x.shape
    assert mine.bijective == other.bijective


def test_transforms_without_a_density() -> None:
    matrix = np.arange(9.0).reshape(3, 3) / 5
    for name in ("LowerCholeskyTransform", "PositiveDefiniteTransform"):
        mine, other = getattr(ours, name)(), getattr(theirs, name)()
        y, other_y = mine(Tensor(matrix)), other(torch.tensor(matrix))
        same(y, other_y)
        same(mine.inv(y), other.inv(other_y))
    same(ours.SoftmaxTransform()(Tensor(X)), theirs.SoftmaxTransform()(torch.tensor(X)))
    with pytest.raises(UnsupportedError, match="no log_abs_det_jacobian"):
        ours.AbsTransform().log_abs_det_jacobian(Tensor(X), Tensor(X))
    assert ours.AbsTransform()(Tensor([-1.0])).item() == 1.0


CONSTRAINTS: dict[str, Callable[[Any], Any]] = {
    "real": lambda c: c.real,
    "positive": lambda c: c.positive,
    "unit_interval": lambda c: c.unit_interval,
    "simplex": lambda c: c.simplex,
    "corr_cholesky": lambda c: c.corr_cholesky,
    "interval": lambda c: c.interval(-1.0, 3.0),
    "greater_than": lambda c: c.greater_than(2.0),
    "less_than": lambda c: c.less_than(2.0),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
def test_registries(registry: str, name: str) -> None:
    mine = CONSTRAINTS[name](ours.constraints)
    other = CONSTRAINTS[name](theirs.constraints)
    found = getattr(ours, registry)(mine)(Tensor(X))
    same(found, getattr(theirs, registry)(other)(torch.tensor(X)))
    assert bool(mine.check(found).all())


def test_registering_a_constraint() -> None:
    even = ours.constraints.Constraint("even", lambda value: value % 2 == 0)
    with pytest.raises(UnsupportedError, match="values that are even"):
        ours.transform_to(even)
    registry = type(ours.transform_to)()

    @registry.register(even)
    def double(constraint: Any) -> Any:
        return ours.AffineTransform(0, 2)

    assert registry(even)(Tensor([3])).item() == 6


TRANSFORMED: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "log normal": (
        lambda d, t: d.TransformedDistribution(
            d.Normal(t([0.5, 1.0, 2.0]), t(1.5)), d.ExpTransform()
        ),
        np.abs(X),
    ),
    "falling": (
        lambda d, t: d.TransformedDistribution(
            d.Normal(t(0.5), t(1.5)),
            [d.AffineTransform(1.0, -2.0), d.SigmoidTransform()],
        ),
        np.abs(X) / 3,
    ),
    "vectors": (
        lambda d, t: d.TransformedDistribution(
            d.Normal(t([0.5, 1.0]), t(1.5)),
            [d.ExpTransform(), d.StickBreakingTransform()],
        ),
        np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]]),
    ),
    "wider parameters": (
        lambda d, t: d.TransformedDistribution(
            d.Normal(t(0.5), t(1.5)), d.AffineTransform(t([0.0, 1.0, 2.0]), 2.0)
        ),
        X,
    ),
    "events": (
        lambda d, t: d.TransformedDistribution(
            d.Independent(d.Normal(t(X * 0), t(X * 0 + 1)), 1), d.TanhTransform()
        ),
        X / 3,
    ),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformed_distributions(name: str) -> None:
    make, values = TRANSFORMED[name]
    mine, other = make(ours, mine_of), make(theirs, theirs_of)
    assert mine.batch_shape == tuple(other.batch_shape)
    assert mine.event_shape == tuple(other.event_shape)
    same(mine.log_prob(Tensor(values)), other.log_prob(torch.tensor(values)))
    assert mine.sample((5,)).shape == tuple(other.sample((5,)).shape)
    assert mine.rsample().shape == mine.shape_of()
    assert mine.has_rsample
    wide = mine.expand((4, *mine.batch_shape))
    assert wide.sample().shape == (4, *mine.shape_of())
    if name in ("log normal", "falling"):
        same(mine.cdf(Tensor(values)), other.cdf(torch.tensor(values)))
        level = np.full(3, 0.3)
        same(mine.icdf(Tensor(level)), other.icdf(torch.tensor(level)))


def test_heavy_tails() -> None:
    # PyTorch's own takes no float64 here.
    parameters = [0.5, 1.0], [1.0, 2.5], [0.2, -0.3]
    mine = ours.GeneralizedPareto(*map(Tensor, parameters))
    other = theirs.GeneralizedPareto(*map(torch.tensor, parameters))
    value = [0.9, 1.5]
    pairs = [
        (mine.log_prob(Tensor(value)), other.log_prob(torch.tensor(value))),
        (mine.cdf(Tensor(value)), other.cdf(torch.tensor(value))),
        (mine.icdf(Tensor([0.2, 0.7])), other.icdf(torch.tensor([0.2, 0.7]))),
        (mine.mean, other.mean),
        (mine.variance, other.variance),
        (mine.entropy(), other.entropy()),
    ]
    for have, want in pairs:
        np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=1e-5)
    plain = ours.GeneralizedPareto(0.0, 2.0, 0.0)
    exponential = ours.Exponential(0.5)
    same(plain.log_prob(Tensor(3.0)), exponential.log_prob(Tensor(3.0)))


def test_correlations() -> None:
    mine = ours.LKJCholesky(3, mine_of(1.5))
    other = theirs.LKJCholesky(3, theirs_of(1.5))
    tetragrad.manual_seed(0)
    drawn = mine.sample((500,))
    assert bool(mine.support.check(drawn).all())
    some = drawn[:5]
    same(mine.log_prob(some), other.log_prob(torch.tensor(some.numpy())))
    correlations = (drawn @ drawn.mT).numpy()
    assert abs(correlations[:, 0, 1].mean()) < 0.1
    assert correlations[:, 0, 1].var() == pytest.approx(1 / (2 * 1.5 + 2), rel=0.3)


def test_angles_lie_around_their_mean() -> None:
    tetragrad.manual_seed(0)
    around = ours.VonMises(Tensor([3.0, 0.0]), Tensor([8.0, 0.5]))
    angles = around.sample((4000,)).numpy()
    assert (np.abs(angles) <= np.pi + 1e-6).all()
    mean = np.angle(np.exp(1j * angles).mean(0))
    assert mean == pytest.approx([3.0, 0.0], abs=0.15)
    spread = 1 - np.abs(np.exp(1j * angles).mean(0))
    assert spread == pytest.approx(around.variance.numpy(), rel=0.1)


def test_soft_choices_have_gradients() -> None:
    logits = Tensor([0.1, 0.2, 0.3], requires_grad=True)
    soft = ours.RelaxedOneHotCategorical(0.5, logits=logits).rsample((2,))
    coin = ours.RelaxedBernoulli(0.5, logits=logits).rsample((2,))
    hard = ours.OneHotCategoricalStraightThrough(logits=logits).rsample((2,))
    assert hard.sum(-1).detach().tolist() == pytest.approx([1, 1])
    (soft * Tensor([1.0, 2.0, 3.0]) + coin + hard * hard).sum().backward()
    assert logits.grad is not None and logits.grad.abs().sum().item() > 0


def test_mistakes_are_named() -> None:
    with pytest.raises(ShapeError, match="is not a transform"):
        ours.TransformedDistribution(ours.Normal(0.0, 1.0), [3])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match="expand the distribution first"):
        ours.TransformedDistribution(
            ours.Normal(0.0, 1.0), ours.StickBreakingTransform()
        )
    with pytest.raises(ShapeError, match="CorrCholeskyTransform of 2 numbers"):
        ours.CorrCholeskyTransform()(Tensor([1.0, 2.0]))
    with pytest.raises(AttributeError, match="did you mean 'Normal'"):
        _ = ours.Normall
