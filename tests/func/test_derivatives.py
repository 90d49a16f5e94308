"""Derivatives of functions beside PyTorch's, and beside one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, nn
from tetragrad.core.errors import DTypeError, GradientError, ShapeError
from tetragrad.core.settings import override
from tetragrad.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)

torch = pytest.importorskip("torch")

# PyTorch's own forward mode compiles something when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.2, 0.9]])
Y = np.array([0.5, 1.5, -0.4])


@pytest.fixture(autouse=True)
def on_reference() -> Iterator[None]:
    """Graphs are what is tested here, and the reference runs them at once."""
    with override(device="reference"):
        yield


def close(mine: Any, theirs: Any) -> None:
    """Compare two trees of tensors, ours and PyTorch's."""
    if isinstance(mine, Tensor):
        assert mine.shape == tuple(theirs.shape)
        np.testing.assert_allclose(
            mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-11
        )
        return
    assert len(mine) == len(theirs)
    keys = mine if isinstance(mine, dict) else range(len(mine))
    for key in keys:
        close(mine[key], theirs[key])


def both(call: Callable[[Any, Any, Any], Any]) -> None:
    """The same call of both libraries gives the same."""
    mine = call(tetragrad, tetragrad.func, Tensor)
    theirs = call(torch, torch.func, torch.tensor)
    close(mine, theirs)


#: Functions of (x, y) with shapes (2, 3) and (3,), one for each kind of op.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "smooth": lambda x, y: (x * y).sin().exp() / (1 + y * y),
    "matmul": lambda x, y: (x @ y).tanh(),
    "reductions": lambda x, y: x.softmax(-1).sum(0) + x.prod(0) + x.amax(1).sum() * y,
    "norm": lambda x, y: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * y,
    "movement": lambda x, y: x.flip(0).transpose(0, 1).reshape(2, 3)[:, 1:] * y[:2],
    "own slopes": lambda x, y: (1 + x * x).log1p() + y.expm1() + x.sigmoid().sqrt(),
    "several": lambda x, y: (x.sum(0) * y, {"total": (x * x).sum()}),
    "unused": lambda x, y: x * 2,
    "cumulative": lambda x, y: x.cumsum(1) * y,
}


@pytest.mark.parametrize("argnums", [0, (0, 1)], ids=["one", "both"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_jacobians(name: str, argnums: Any) -> None:
    function = FUNCTIONS[name]
    both(lambda lib, func, t: func.jacrev(function, argnums)(t(X), t(Y)))
    both(lambda lib, func, t: func.jacfwd(function, argnums)(t(X), t(Y)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_products_with_vectors(name: str) -> None:
    function = FUNCTIONS[name]

    def forward(lib: Any, func: Any, t: Any) -> Any:
        return func.jvp(function, (t(X), t(Y)), (t(X + 1), t(Y * 2)))

    def reverse(lib: Any, func: Any, t: Any) -> Any:
        value, pull = func.vjp(function, t(X), t(Y))
        if isinstance(value, tuple):
            ones = (value[0] * 0 + 1, {"total": value[1]["total"] * 0 + 1})
            return value, pull(ones)
        return value, pull(value * 0 + 2)

    both(forward)
    both(reverse)


def test_hessians() -> None:
    def loss(x: Any, y: Any) -> Any:
        return ((x * x * x) @ y).sin().sum() + (x.softmax(-1) * y).sum()

    both(lambda lib, func, t: func.hessian(loss)(t(X), t(Y)))
    both(lambda lib, func, t: func.hessian(loss, (0, 1))(t(X), t(Y)))
    both(lambda lib, func, t: func.jacrev(func.jacrev(loss))(t(X), t(Y)))
    both(lambda lib, func, t: func.jacfwd(func.jacfwd(loss))(t(X), t(Y)))
    both(lambda lib, func, t: func.jvp(func.grad(loss), (t(X), t(Y)), (t(X), t(Y))))


def test_gradients_of_gradients() -> None:
    third = grad(grad(grad(lambda x: x**5)))
    assert third(Tensor(2.0)).item() == pytest.approx(60 * 4.0)
    assert not third(Tensor(2.0)).requires_grad


def test_gradients_reach_what_is_outside() -> None:
    w = Tensor([2.0, 3.0], requires_grad=True)
    slope = grad(lambda x: (x * x * w).sum())(Tensor([1.0, 2.0]))
    assert slope.requires_grad
    slope.sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2.0, 4.0]
    with tetragrad.no_grad():
        assert not grad(lambda x: (x * x * w).sum())(Tensor([1.0, 2.0])).requires_grad


def test_values_and_what_comes_besides() -> None:
    def loss(x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        return (x * x).sum(), {"double": x * 2, "note": "text"}

    x = Tensor([1.0, 2.0])
    slope, aux = grad(loss, has_aux=True)(x)
    assert slope.tolist() == [2.0, 4.0]
    assert aux["double"].tolist() == [2.0, 4.0]
    assert aux["note"] == "text"
    assert not aux["double"].requires_grad
    slope, (value, _) = grad_and_value(loss, has_aux=True)(x)
    assert value.item() == 5.0
    value, slope = value_and_grad(lambda x: loss(x)[0])(x)
    assert (value.item(), slope.tolist()) == (5.0, [2.0, 4.0])
    value, pull, aux = vjp(loss, x, has_aux=True)
    assert pull(Tensor(2.0))[0].tolist() == [4.0, 8.0]
    value, change, aux = jvp(loss, (x,), (x,), has_aux=True)
    assert change.item() == 10.0
    matrix, aux = jacfwd(lambda x: (x * x, "text"), has_aux=True)(x)
    assert (matrix.tolist(), aux) == ([[2.0, 0.0], [0.0, 4.0]], "text")
    matrix, aux = jacrev(lambda x: (x * x, "text"), has_aux=True)(x)
    assert (matrix.tolist(), aux) == ([[2.0, 0.0], [0.0, 4.0]], "text")


def test_nested_arguments() -> None:
    model = nn.Linear(3, 2).double()
    params = {name: value.detach() for name, value in model.named_parameters()}
    x = Tensor(X)
    slopes = grad(lambda params: functional_call(model, params, x).square().sum())(
        params
    )
    model(x).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(slopes[name].numpy(), parameter.grad.numpy())


def test_functions_of_the_users_own_forward() -> None:
    class Cube(tetragrad.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Tensor:
            return upstream * 3 * ctx.saved_tensors[0] ** 2

    value, change = jvp(Cube.apply, (Tensor([2.0]),), (Tensor([10.0]),))
    assert (value.item(), change.item()) == (8.0, 120.0)


def test_factorisations() -> None:
    matrix = X.T @ X + 2 * np.eye(3)
    both(
        lambda lib, func, t: func.jvp(
            lambda x: lib.linalg.cholesky(x), (t(matrix),), (t(matrix.T),)
        )
    )
    both(lambda lib, func, t: func.jacfwd(lib.linalg.inv)(t(matrix)))
    both(lambda lib, func, t: func.jacrev(lib.linalg.inv)(t(matrix)))


def test_linear_functions_are_kept() -> None:
    value, push = linearize(lambda x: x.sin(), Tensor([0.5]))
    assert push(Tensor([2.0])).item() == pytest.approx(2 * np.cos(0.5))
    assert value.item() == pytest.approx(np.sin(0.5))


def test_in_chunks() -> None:
    whole = jacrev(lambda x: x.softmax(0))(Tensor(Y))
    close(jacrev(lambda x: x.softmax(0), chunk_size=2)(Tensor(Y)), whole)
    close(jacfwd(lambda x: x.softmax(0), chunk_size=2)(Tensor(Y)), whole)


def test_calling_with_other_parameters() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(1, 1, bias=False)
            self.second = nn.Linear(1, 1, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    model, x = Tied(), Tensor([1.0])
    before = model.first.weight
    given = {"first.weight": Tensor([[3.0]])}
    assert functional_call(model, given, x).item() == 9.0
    assert model.first.weight is before
    apart = functional_call(model, given, x, tie_weights=False)
    assert apart.item() == pytest.approx(3 * before.item())
    with pytest.raises(KeyError, match=r"'second\.weight' is missing"):
        functional_call(model, given, x, strict=True)
    with pytest.raises(KeyError, match="no parameter or buffer 'third'"):
        functional_call(model, {"third": x}, x)


MISTAKES: list[tuple[Callable[[], Any], Any, str]] = [
    (lambda: grad(lambda x: x)(Tensor([1.0, 2.0])), GradientError, r"\(2,\)"),
    (lambda: grad(lambda x: x.sum())(Tensor([1, 2])), DTypeError, "int64"),
    (lambda: grad(lambda x: x)(2.0), DTypeError, "derivative by float"),
    (lambda: grad(lambda x: x, 1)(Tensor(1.0)), GradientError, "argnums=1"),
    (
        lambda: grad(lambda x: x, has_aux=True)(Tensor(1.0)),
        GradientError,
        "has_aux=True",
    ),
    (lambda: jacrev(lambda x: "text")(Tensor(1.0)), GradientError, "returned str"),
    (
        lambda: jvp(lambda x: x, (Tensor([1.0]),), (Tensor([1.0, 2.0]),)),
        ShapeError,
        r"have shapes \[\(1,\)\]",
    ),
    (
        lambda: jvp(lambda x: Tensor(1.0), (Tensor(1.0),), (Tensor(1.0),), strict=True),
        GradientError,
        "does not depend",
    ),
    (lambda: hessian(lambda x: x)(Tensor([1])), DTypeError, "int64"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_are_named(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
