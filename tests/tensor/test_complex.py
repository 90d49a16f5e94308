"""Complex tensors against PyTorch and NumPy: values, gradients, branch cuts, views."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import GradientError

RANDOM = np.random.default_rng(7)
VALUES = RANDOM.normal(size=(3, 4)) + 1j * RANDOM.normal(size=(3, 4))
OTHERS = RANDOM.normal(size=(3, 4)) + 1j * RANDOM.normal(size=(3, 4))

FUNCTIONS = (
    "abs", "angle", "conj", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt",
    "rsqrt", "reciprocal", "square", "sgn", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "neg",
    "sum", "prod", "mean", "t", "flatten",
)  # fmt: skip

COMBINATIONS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / y,
    lambda x, y: x**y,
    lambda x, y: x @ y.mT,
    lambda x, y: (x * 2j + 1) / (3 - 1j),
    lambda x, y: x * y.real,
    lambda x, y: x.imag - y,
    lambda x, y: x**2,
    lambda x, y: x[1:, ::2] * y[[0, 2]][:, :2],
    lambda x, y: x.cumsum(0) + y.cumprod(1),
    lambda x, y: (x.var() + y.norm()) * x,
)


def check_gradients(function: Callable[..., Any], *values: np.ndarray) -> None:
    """Values and gradients agree with PyTorch's, for a loss of both parts."""
    ours = [Tensor(value, requires_grad=True) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]
    found, expected = function(*ours), function(*theirs)
    assert str(found.dtype) == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().resolve_conj(), 1e-9, 1e-12
    )
    weight = 0.5 - 1.5j
    for result in (found, expected):
        weighed = (result * weight).sum()
        (weighed.real + 2 * weighed.imag).backward()
    for own, other in zip(ours, theirs, strict=True):
        if other.grad is not None:
            assert own.grad is not None
            np.testing.assert_allclose(
                own.grad.numpy(), other.grad.resolve_conj(), 1e-8, 1e-11
            )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    check_gradients(lambda x: getattr(x, name)(), VALUES)


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_combinations(combine: Callable[[Any, Any], Any]) -> None:
    check_gradients(combine, VALUES, OTHERS)


@pytest.mark.parametrize("name", "sqrt log asin acos atan asinh acosh atanh".split())
def test_sides_of_branch_cuts(name: str) -> None:
    """Above and below a cut, the sign of zero decides."""
    sizes = (-3.0, -0.5, 0.5, 3.0)
    signs = (0.0, -0.0)
    points = [complex(x, y) for x in sizes for y in signs]
    points += [complex(y, x) for x in sizes for y in signs]
    found = getattr(Tensor(np.array(points)), name)().numpy()
    expected = np.array([getattr(cmath, name)(point) for point in points])
    np.testing.assert_allclose(found.real, expected.real, 1e-12, 1e-14)
    np.testing.assert_allclose(found.imag, expected.imag, 1e-12, 1e-14)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "sinh", "cosh", "tanh"])
def test_infinities_as_in_the_c_standard(name: str) -> None:
    edges = (-math.inf, -0.0, 0.0, 1.0, math.inf, math.nan)
    points = [complex(x, y) for x in edges for y in edges]
    found = getattr(Tensor(np.array(points)), name)().numpy()
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(np.array(points))
    for point, own, other in zip(points, found, expected, strict=True):
        for mine, its in ((own.real, other.real), (own.imag, other.imag)):
            assert mine == pytest.approx(its, nan_ok=True), (point, own, other)


def test_sizes_neither_overflow_nor_vanish() -> None:
    points = np.array([3e200 + 4e200j, 3e-200 + 4e-200j, 1e308 + 1e308j])
    tensor = Tensor(points)
    np.testing.assert_allclose(tensor.abs().numpy(), np.abs(points), 1e-14)
    np.testing.assert_allclose(tensor.log().numpy(), np.log(points), 1e-14)
    np.testing.assert_allclose((tensor.sqrt() ** 2).numpy(), points, 1e-14)
    np.testing.assert_allclose((tensor / tensor).numpy(), np.ones(3), 1e-14)


def test_parts_are_views() -> None:
    tensor = Tensor([1 + 2j, 3 + 4j])
    tensor.real[0] = 7
    tensor.imag.mul_(10)
    assert tensor.tolist() == [7 + 20j, 3 + 40j]
    pairs = tetragrad.view_as_real(tensor)
    pairs[1] = Tensor([5.0, 6.0])
    assert tetragrad.view_as_complex(pairs).tolist() == [7 + 20j, 5 + 6j]
    assert tensor.real.stride() == (2,)


def test_memory_is_shared_with_numpy() -> None:
    array = np.array([1 + 2j, 3j])
    shared = tetragrad.from_numpy(array)
    array[0] = 5
    shared[1] = -1j
    assert shared.tolist() == [5, -1j]
    assert array.tolist() == [5, -1j]


def test_writing_to_parts_of_a_tensor() -> None:
    tensor = Tensor.zeros(2, 3, dtype="complex128")
    expected = np.zeros((2, 3), np.complex128)
    for target in (tensor, expected):
        target[0] = 1j
        target[:, 1] = 2
        target[[1, 0], [2, 2]] = target[0, 0] * 3
        target[target == 0] = 9j  # type: ignore[index]
    assert tensor.tolist() == expected.tolist()
    tensor += 1j
    assert tensor.tolist() == (expected + 1j).tolist()


def test_casts() -> None:
    tensor = Tensor([0j, 1 - 2j])
    assert tensor.dtype is tetragrad.complex64
    assert tensor.to("float64").tolist() == [0, 1]
    assert tensor.bool().tolist() == [False, True]
    assert Tensor([1, 2]).to("complex128").tolist() == [1, 2]
    assert (Tensor([1.0], dtype="float64") * 1j).dtype is tetragrad.complex128
    assert (Tensor([1]) + Tensor(1j)).dtype is tetragrad.complex64


def test_joining_and_moving() -> None:
    ours, theirs = Tensor(VALUES), torch.tensor(VALUES)
    pairs = [
        (tetragrad.cat([ours, ours.real], 1), torch.cat([theirs, theirs.real], 1)),
        (tetragrad.stack([ours, -ours], -1), torch.stack([theirs, -theirs], -1)),
        (ours.tril(), theirs.tril()),
        (ours.roll(1, 1).flip(0), theirs.roll(1, 1).flip(0)),
        (ours.T.reshape(2, 6), theirs.T.reshape(2, 6)),
        (ours.repeat(2, 1), theirs.repeat(2, 1)),
        (ours.diagonal(), theirs.diagonal()),
        (ours.unfold(1, 2, 1), theirs.unfold(1, 2, 1)),
        (ours.where(ours.real > 0, 1j), torch.where(theirs.real > 0, theirs, 1j)),
        (tetragrad.einsum("ij,kj->ik", ours, ours), theirs @ theirs.T),
        (ours.mH, theirs.mH),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found.numpy(), expected.resolve_conj(), 1e-12)


def test_random_access_and_printing() -> None:
    tensor = Tensor([[1 + 2j, -3.5 + 0j]])
    assert repr(tensor) == "tensor([[ 1.0000+2.j, -3.5000+0.j]])"
    assert complex(tensor[0, 0].item()) == 1 + 2j
    assert tensor[0, 1].tolist() == -3.5


def test_a_loss_is_real() -> None:
    tensor = Tensor([1j], requires_grad=True)
    with pytest.raises(GradientError, match="a loss is a real number"):
        (tensor * 2).sum().backward()


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_optimisers_step_both_parts(name: str) -> None:
    start = np.array([1 + 2j, 3 - 1j])
    ours = tetragrad.nn.Parameter(Tensor(start))
    theirs = torch.nn.Parameter(torch.tensor(start))
    pairs: list[tuple[Any, Any]] = [
        (ours, getattr(tetragrad.optim, name)([ours], lr=0.1)),
        (theirs, getattr(torch.optim, name)([theirs], lr=0.1)),
    ]
    for parameter, optimizer in pairs:
        for _ in range(3):
            optimizer.zero_grad()
            (parameter * parameter).abs().sum().backward()
            optimizer.step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach(), 1e-6, 1e-6)


def test_random_numbers() -> None:
    tetragrad.manual_seed(1)
    draw = tetragrad.randn(20_000, dtype="complex64").numpy()
    assert np.mean(np.abs(draw) ** 2) == pytest.approx(1, abs=0.05)
    assert np.mean(draw.real * draw.imag) == pytest.approx(0, abs=0.05)
    even = tetragrad.rand(2, 3, dtype="complex128")
    assert even.shape == (2, 3)
    assert 0 <= float(even.real.amin()) <= float(even.imag.amax()) < 1
