"""A leaf's value may run between two uses: it stays one variable for gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor


def pending_leaf() -> Tensor:
    """A leaf whose value has not run: adding one is still to be done."""
    return (Tensor([1.0, 2.0]) + 1).requires_grad_()


@pytest.mark.parametrize("runs", [False, True])
def test_grad_adds_what_came_before_and_after(runs: bool) -> None:
    x = pending_leaf()
    before = x * 2
    if runs:
        x.detach().realize()
    loss = before.sum() + (x * 3).sum()
    (found,) = tetragrad.grad(loss, x)
    np.testing.assert_array_equal(found.numpy(), [5.0, 5.0])


@pytest.mark.parametrize("runs", [False, True])
def test_grad_of_a_view(runs: bool) -> None:
    x = pending_leaf()
    view = x.flip(0)
    loss = (view * Tensor([1.0, 10.0])).sum()
    if runs:
        x.detach().realize()
    (found,) = tetragrad.grad(loss, view)
    np.testing.assert_array_equal(found.numpy(), [1.0, 10.0])


@pytest.mark.parametrize("runs", [False, True])
def test_backward_towards_chosen_inputs(runs: bool) -> None:
    x = pending_leaf()
    loss = (x * 2).sum()
    if runs:
        x.detach().realize()
    loss.backward(inputs=[x])
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])


@pytest.mark.parametrize("runs", [False, True])
def test_a_hook_sees_the_whole_gradient_once(runs: bool) -> None:
    x = pending_leaf()
    seen = []
    x.register_hook(lambda gradient: seen.append(gradient.tolist()))
    before = x * 2
    if runs:
        x.detach().realize()
    (before.sum() + (x * 3).sum()).backward()
    assert seen == [[5.0, 5.0]]
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [5.0, 5.0])


def test_a_function_that_reads_its_argument() -> None:
    def squares(x: Tensor) -> Tensor:
        before = x * 2
        assert float(x.detach().sum()) == 5.0
        return before.sum() + (x * x).sum()

    found = tetragrad.func.grad(squares)(Tensor([1.0, 2.0]) + 1)
    np.testing.assert_array_equal(found.numpy(), [6.0, 8.0])
