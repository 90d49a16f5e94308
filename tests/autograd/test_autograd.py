"""``tetragrad.autograd`` beside PyTorch's, and the switches of PyTorch's programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.autograd import (
    GradcheckError,
    backward,
    functional,
    grad,
    gradcheck,
    gradgradcheck,
)
from tetragrad.core.errors import GradientError
from tetragrad.core.settings import override
from tetragrad.utils.checkpoint import checkpoint_sequential

torch = pytest.importorskip("torch")

X, Y = np.array([[0.3, -1.2], [1.1, 0.2]]), np.array([0.5, 1.5])


@pytest.fixture(autouse=True)
def on_reference() -> Iterator[None]:
    """Graphs are what is tested here."""
    with override(device="reference"):
        yield


def close(mine: Any, theirs: Any) -> None:
    if isinstance(mine, Tensor):
        assert not mine.requires_grad
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-9)
        return
    assert len(mine) == len(theirs)
    for ours, other in zip(mine, theirs, strict=True):
        close(ours, other)


def number(x: Any, y: Any) -> Any:
    return ((x @ y).sin() * y).sum()


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "jacobian": lambda f, t: f.jacobian(lambda x: (x @ x).sin(), t(X)),
    "jacobians": lambda f, t: f.jacobian(
        lambda x, y: (x @ y, y * y), (t(X), t(Y)), strict=False
    ),
    "hessian": lambda f, t: f.hessian(number, (t(X), t(Y))),
    "vjp": lambda f, t: f.vjp(lambda x, y: x @ y, (t(X), t(Y)), t(Y)),
    "jvp": lambda f, t: f.jvp(lambda x: x.exp(), t(X), t(X)),
    "vhp": lambda f, t: f.vhp(number, (t(X), t(Y)), (t(X), t(Y))),
    "hvp": lambda f, t: f.hvp(lambda x: (x**3).sum(), t(X), t(X)),
}


@pytest.mark.parametrize("name", CALLS)
def test_functional(name: str) -> None:
    theirs = CALLS[name](torch.autograd.functional, torch.tensor)
    close(CALLS[name](functional, Tensor), theirs)


def test_strict_and_forward() -> None:
    forward = functional.jacobian(lambda x: x * x, Tensor(Y), strategy="forward-mode")
    np.testing.assert_allclose(forward.numpy(), np.diag(2 * Y))
    with pytest.raises(GradientError, match="do not depend on input 1"):
        functional.jacobian(lambda x, y: x * 2, (Tensor(X), Tensor(Y)), strict=True)
    kept = functional.jacobian(lambda x: x * x, Tensor(Y).requires_grad_(), True)
    assert kept.requires_grad


def test_gradients_of_several_tensors() -> None:
    x = Tensor(Y).requires_grad_()
    backward([x.sum(), x * x], [None, Tensor(Y)], inputs=x)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 1 + 2 * Y * Y)
    unused = Tensor(Y).requires_grad_()
    found = grad(x.sum(), [x, unused], materialize_grads=True)
    assert [entry.tolist() for entry in found if entry is not None] == [[1, 1], [0, 0]]
    assert grad(x.sum(), [unused], allow_unused=True) == (None,)
    with pytest.raises(GradientError, match="2 tensors with 1 gradients"):
        backward([x.sum(), x.sum()], [None])


def test_checks() -> None:
    x = Tensor(Y).requires_grad_()
    assert gradcheck(lambda x: (x.exp(), x.prod()), x)
    assert gradgradcheck(lambda x: x.exp() * x, [x])

    class Wrong(tetragrad.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Tensor:
            return upstream * 3

    assert not gradcheck(Wrong.apply, [x], raise_exception=False)
    with pytest.raises(GradcheckError, match="output 0 by input 0 is wrong"):
        gradcheck(Wrong.apply, [x])
    with pytest.raises(GradcheckError, match="do not require a gradient"):
        gradcheck(Wrong.apply, [x.detach()])


def test_modes_as_decorators_and_calls() -> None:
    x = Tensor([1.0], requires_grad=True)

    @tetragrad.no_grad
    def bare() -> bool:
        return (x * 2).requires_grad

    @tetragrad.inference_mode
    def inferring() -> bool:
        return (x * 2).requires_grad

    @tetragrad.set_grad_enabled(False)
    def disabled() -> bool:
        return (x * 2).requires_grad

    assert not bare() and not inferring() and not disabled()
    assert tetragrad.is_grad_enabled()
    tetragrad.set_grad_enabled(False)
    assert not tetragrad.is_grad_enabled()
    with tetragrad.set_grad_enabled(True):
        assert tetragrad.is_grad_enabled()
    assert not tetragrad.is_grad_enabled()
    tetragrad.set_grad_enabled(True)


def test_switches() -> None:
    model = nn.Linear(1, 1)
    assert tetragrad.compile(model, mode="max-autotune") is model

    @tetragrad.compile(dynamic=True)
    def double(x: Tensor) -> Tensor:
        return x * 2

    assert double(Tensor([1.0])).item() == 2.0
    tetragrad.use_deterministic_algorithms(True)
    assert tetragrad.are_deterministic_algorithms_enabled()
    with override(device="cuda"):
        assert not tetragrad.are_deterministic_algorithms_enabled()
        with pytest.warns(UserWarning, match="scattered on a GPU"):
            tetragrad.use_deterministic_algorithms(True)


def test_outputs_of_a_function_without_gradient() -> None:
    class Sorted(tetragrad.Function):
        @staticmethod
        def forward(x: Tensor) -> Any:
            found = x.sort()
            return found.values, found.indices.float()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(output[1])
            ctx.places = output[1]

        @staticmethod
        def backward(ctx: Any, values: Tensor, places: Any) -> Tensor:
            assert places is None
            return values.zeros_like().scatter(0, ctx.places.long(), values)

    x = Tensor([3.0, 1.0, 2.0], requires_grad=True)
    values, places = Sorted.apply(x)
    assert not places.requires_grad
    (values * Tensor([10.0, 20.0, 30.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [30.0, 10.0, 20.0]


def test_layers_keep_nothing_between_their_parts() -> None:
    layers = nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)])
    x = tetragrad.ones(2, 4)
    layers(x).sum().backward()
    expected = [weight.grad for weight in layers.parameters()]
    layers.zero_grad()
    checkpoint_sequential(layers, 3, x, use_reentrant=False).sum().backward()
    for weight, gradient in zip(layers.parameters(), expected, strict=True):
        assert weight.grad is not None
        assert gradient is not None
        assert weight.grad.allclose(gradient)
    with pytest.raises(ValueError, match="5 functions in 6 segments"):
        checkpoint_sequential(layers, 6, x)


def test_only_inputs_have_gradients() -> None:
    x = Tensor([2.0], requires_grad=True)
    (gradient,) = tetragrad.autograd.grad(x * x, x, only_inputs=True)
    assert gradient is not None
    assert gradient.tolist() == [4.0]
    with pytest.raises(GradientError, match="only_inputs=False"):
        tetragrad.autograd.grad(x * x, x, only_inputs=False)
