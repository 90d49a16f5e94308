"""Gradients as users ask for them: accumulation, modes, hooks, functions, aliases."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import GradientError, ShapeError, Tensor
from tetragrad.tensor import pending


def leaf(*values: float) -> Tensor:
    return Tensor(list(values), requires_grad=True)


def grad_of(tensor: Tensor) -> Any:
    assert tensor.grad is not None
    return tensor.grad.tolist()


def test_gradients_accumulate() -> None:
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    assert grad_of(x) == [5.0, 5.0]
    x.grad = None
    (x * x).backward(Tensor([1.0, 10.0]))
    assert grad_of(x) == [2.0, 40.0]


def test_equal_leaves_have_gradients_of_their_own() -> None:
    x, y = leaf(0.0), leaf(0.0)
    (x * 2 + y * 3).backward()
    assert (grad_of(x), grad_of(y)) == ([2.0], [3.0])


def test_value_before_backward_changes_nothing() -> None:
    x = leaf(3.0)
    y = x * x
    assert y.item() == 9.0
    y.realize()
    y.backward()
    assert grad_of(x) == [6.0]


def test_second_derivative() -> None:
    x = leaf(2.0)
    (first,) = tetragrad.grad(x**4, x, create_graph=True)
    assert first is not None
    (second,) = tetragrad.grad(first, x)
    assert second is not None
    assert (first.item(), second.item()) == (32.0, 48.0)


def test_grad_of_intermediate_and_unused() -> None:
    x, unused = leaf(2.0), leaf(1.0)
    y = x * x
    z = y * 3
    found = tetragrad.grad(z, [y, unused], allow_unused=True)
    assert found[0] is not None
    assert found[0].tolist() == [3.0]
    assert found[1] is None
    assert x.grad is None
    with pytest.raises(GradientError, match="do not depend on input 0"):
        tetragrad.grad(z, unused)


def test_backward_into_chosen_inputs() -> None:
    x, y = leaf(2.0), leaf(3.0)
    (x * y).backward(inputs=[y])
    assert x.grad is None
    assert grad_of(y) == [2.0]


def test_modes() -> None:
    x = leaf(1.0)
    with tetragrad.no_grad():
        assert not (x * 2).requires_grad
        assert not x[0].requires_grad
        with tetragrad.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @tetragrad.no_grad()
    def double(value: Tensor) -> Tensor:
        return value * 2

    assert not double(x).requires_grad
    with tetragrad.inference_mode():
        assert not tetragrad.is_grad_enabled()


def test_detach_shares_memory_and_stops_gradients() -> None:
    x = leaf(1.0, 2.0)
    y = x.detach()
    y.mul_(10)
    assert x.tolist() == [10.0, 20.0]
    (x * x.detach()).sum().backward()
    assert grad_of(x) == [10.0, 20.0]


def test_step_in_place() -> None:
    x = leaf(1.0)
    for _ in range(3):
        (x * x).sum().backward()
        with tetragrad.no_grad():
            assert x.grad is not None
            x -= x.grad * 0.25
        x.grad = None
    assert x.requires_grad
    assert x.is_leaf
    assert x.tolist() == [0.125]


def test_old_values_stay_for_gradients() -> None:
    x = leaf(3.0)
    y = x * 1.0
    z = y * y
    y.add_(100)
    (z + y).backward()
    assert grad_of(x) == [7.0]


def test_in_place_on_a_view_reaches_the_base() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y[1:].mul_(10)
    y.sum().backward()
    assert grad_of(x) == [2.0, 20.0, 20.0]


def test_retain_grad_and_hooks() -> None:
    x = leaf(2.0)
    y = x * 3
    y.retain_grad()
    handle = y.register_hook(lambda gradient: gradient * 2)
    (y * y).backward()
    assert grad_of(x) == [72.0]
    handle.remove()
    x.grad = None
    (y * y).backward()
    assert grad_of(x) == [36.0]
    seen = []
    w = leaf(1.0)
    w.register_hook(lambda gradient: seen.append(gradient.item()))
    (w * 2 + w * 3).backward()
    assert seen == [5.0]
    assert grad_of(w) == [5.0]
    assert w.is_leaf


class Cube(tetragrad.Function):
    """x³, with its gradient by hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return upstream * x * x * 3 * ctx.scale, None


class Both(tetragrad.Function):
    """Two outputs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Any:
        return x + y, x - y

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> Any:
        return first + second, first - second


def test_functions_of_the_users_own() -> None:
    x = leaf(2.0)
    Cube.apply(x, 2.0).backward()
    assert grad_of(x) == [24.0]
    (first,) = tetragrad.grad(Cube.apply(x, 1.0), x, create_graph=True)
    assert first is not None
    (second,) = tetragrad.grad(first, x)
    assert second is not None
    assert second.tolist() == [12.0]
    x, y = leaf(1.0), leaf(1.0)
    first, second = Both.apply(x, y)
    (first * 2 + second * 3).backward()
    assert (grad_of(x), grad_of(y)) == ([5.0], [-1.0])


def test_function_with_too_few_gradients() -> None:
    class Wrong(tetragrad.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
            return x * y

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> Any:
            return upstream

    with pytest.raises(GradientError, match="returned 1 gradients, forward took 2"):
        Wrong.apply(leaf(1.0), leaf(1.0)).backward()


def test_checkpoint_gives_the_same_gradients() -> None:
    weight = leaf(3.0)
    calls = []

    def block(value: Tensor) -> Tensor:
        calls.append(1)
        return (value * weight).tanh().dropout(0.5) * 2

    gradients = []
    for run in (block, lambda value: tetragrad.checkpoint(block, value)):
        tetragrad.manual_seed(1)
        x = Tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)
        weight.grad = None
        run(x).sum().backward()
        gradients.append((grad_of(x), grad_of(weight)))
    assert gradients[0] == gradients[1]
    assert len(calls) == 3


def test_copies_and_pickles() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.tolist() == [1.0, 2.0]
        assert made.requires_grad
        assert made.is_leaf
    assert grad_of(copy.deepcopy(x)) == [2.0, 4.0]
    half = Tensor([1.0, 2.5], dtype=tetragrad.bfloat16)
    assert pickle.loads(pickle.dumps(half)).dtype is tetragrad.bfloat16
    memo = {x: "hashed by identity"}
    assert x in memo
    assert Tensor([1.0, 2.0]) not in memo


def test_realized_tensors_let_go_of_their_graph() -> None:
    x = Tensor([1.0])
    y = (x + 1).realize()
    assert y.storage.value.sources == ()
    for _ in range(3):
        y = y * 0.9 + 1
    y.realize()
    assert y.storage.value.sources == ()


def test_long_loops_realize_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "PENDING_LIMIT", 500)
    monkeypatch.setattr(pending, "_next_check", 0)
    x = Tensor([1.0])
    for _ in range(2000):
        x = x * 0.9 + 1
    assert len(list(pending.walk([x.storage.value]))) < 2000
    np.testing.assert_allclose(x.numpy(), [10.0], rtol=1e-5)


MISTAKES = [
    (lambda x: x.add_(1), "a leaf tensor that requires a gradient cannot be changed"),
    (lambda x: x[0].zero_(), "a leaf tensor that requires a gradient"),
    (lambda x: x.backward(), "which of its 2 elements should be differentiated?"),
    (lambda x: x.detach().sum().backward(), "does not depend on anything"),
    (lambda x: x.numpy(), "would lose the gradient"),
    (lambda x: np.asarray(x), "would lose the gradient"),
    (lambda x: x.detach().retain_grad(), "does not require a gradient"),
    (lambda x: x.long().requires_grad_(), "only floating-point tensors have gradients"),
    (lambda x: copy.deepcopy(x * 2), "deepcopy of the result"),
    (lambda x: (x * 2).requires_grad_(False), "use x.detach()"),
]


@pytest.mark.parametrize(
    ("program", "message"), MISTAKES, ids=[message for _, message in MISTAKES]
)
def test_mistakes(program: Any, message: str) -> None:
    with pytest.raises(GradientError) as caught:
        program(leaf(1.0, 2.0))
    assert message in str(caught.value)
    assert "hint: " in str(caught.value) or "does not require" in message


def test_wrong_shape_of_upstream() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(ShapeError, match=r"the gradient has shape \(3,\)"):
        (x * 2).backward(tetragrad.ones(3))
