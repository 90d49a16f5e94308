"""Hooks and kept gradients, registered before and after a tensor is used."""

from __future__ import annotations

from typing import Any

import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import GradientError, ShapeError


def leaf() -> Tensor:
    return Tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize("is_used", [False, True])
def test_a_hook_sees_the_whole_gradient_once(is_used: bool) -> None:
    x = leaf()
    doubled = x * 2
    used = doubled.relu() if is_used else 0
    seen = []
    doubled.register_hook(lambda gradient: seen.append(gradient.tolist()))
    (used + doubled * 3).sum().backward()
    assert seen == [[4.0, 4.0] if is_used else [3.0, 3.0]]


@pytest.mark.parametrize("is_used", [False, True])
def test_hooks_replace_the_gradient_in_their_order(is_used: bool) -> None:
    x = leaf()
    doubled = x * 2
    before = doubled.relu() if is_used else None
    doubled.register_hook(lambda gradient: gradient * 10)
    doubled.register_hook(lambda gradient: gradient + 1)
    result = doubled.relu() if before is None else before
    result.sum().backward()
    assert_list(x.grad, [22.0, 22.0])


def assert_list(found: Any, expected: list[float]) -> None:
    assert found is not None
    assert found.tolist() == expected


def test_a_leaf_keeps_its_hook_when_its_value_changes() -> None:
    x = leaf()
    loss = (x * x).sum()
    handle = x.register_hook(lambda gradient: gradient * 10)
    loss.backward()
    assert_list(x.grad, [20.0, 40.0])
    with tetragrad.no_grad():
        x.copy_(Tensor([3.0, 3.0]))
    x.grad = None
    (x * x).sum().backward()
    assert_list(x.grad, [60.0, 60.0])
    handle.remove()
    handle.remove()
    x.grad = None
    (x * x).sum().backward()
    assert_list(x.grad, [6.0, 6.0])


def test_retain_grad_after_use() -> None:
    x = leaf()
    doubled = x * 2
    loss = (doubled * doubled).sum()
    doubled.retain_grad()
    assert doubled.retains_grad
    assert not x.retains_grad
    loss.backward()
    assert_list(doubled.grad, [4.0, 8.0])
    assert_list(x.grad, [8.0, 16.0])


def test_hooks_after_accumulation() -> None:
    x = leaf()
    seen = []
    handle = x.register_post_accumulate_grad_hook(
        lambda tensor: seen.append(tensor.grad.tolist())
    )
    x.sum().backward()
    x.sum().backward()
    handle.remove()
    x.sum().backward()
    assert seen == [[1.0, 1.0], [2.0, 2.0]]
    with pytest.raises(GradientError, match="not a leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)


def test_a_hook_must_keep_the_shape() -> None:
    x = leaf()
    x.register_hook(lambda gradient: gradient.sum())
    with pytest.raises(ShapeError, match="a hook of a tensor of shape"):
        x.sum().backward()
