"""One ``check`` for hundreds of cases: the same code with both libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tetragrad

torch = pytest.importorskip("torch")

TOLERANCE = {
    "float16": 4e-3,
    "bfloat16": 3e-2,
    "float32": 2e-5,
    "float64": 1e-10,
}


@dataclass(frozen=True)
class Case:
    """A program for either library, and the shapes of its floating-point inputs."""

    name: str
    program: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...] = ((3, 4),)
    low: float = -2.0
    high: float = 2.0
    gradient: bool = True
    scale: float = 1.0

    def __str__(self) -> str:
        return self.name


def random_array(shape: tuple[int, ...], low: float, high: float, seed: int) -> Any:
    """Numbers between two bounds, with no two equal."""
    generator = np.random.default_rng(seed)
    count = int(np.prod(shape))
    values = np.linspace(low, high, count + 2)[1:-1]
    return generator.permutation(values).reshape(shape)


def ours(array: Any, dtype: str, requires_grad: bool = False) -> tetragrad.Tensor:
    """The array as a tetragrad tensor."""
    return tetragrad.Tensor(array, dtype=dtype, requires_grad=requires_grad)


def theirs(array: Any, dtype: str, requires_grad: bool = False) -> Any:
    """The array as a PyTorch tensor."""
    made = torch.tensor(np.asarray(array)).to(getattr(torch, dtype))
    return made.requires_grad_(requires_grad)


def flatten(value: Any) -> list[Any]:
    """All tensors and numbers of a result."""
    if isinstance(value, tuple | list):
        return [entry for part in value for entry in flatten(part)]
    return [value]


def as_numpy(value: Any) -> np.ndarray:
    """The elements as float64 or integers, of either library's tensor."""
    if isinstance(value, tetragrad.Tensor):
        array = value.detach().numpy()
        is_float = value.dtype.is_floating_point
        return array.astype(np.float64) if is_float else array
    if isinstance(value, torch.Tensor):
        detached = value.detach()
        return (detached.double() if detached.is_floating_point() else detached).numpy()
    return np.asarray(value)


def assert_same(mine: Any, other: Any, scale: float = 1.0) -> None:
    """Equal structure, shapes, dtypes and values."""
    left, right = flatten(mine), flatten(other)
    assert len(left) == len(right)
    for have, want in zip(left, right, strict=True):
        tolerance = 0.0
        if isinstance(want, torch.Tensor):
            name = str(want.dtype).removeprefix("torch.")
            assert have.dtype.name == name
            assert tuple(have.shape) == tuple(want.shape)
            tolerance = TOLERANCE.get(name, 0.0) * scale
        np.testing.assert_allclose(
            as_numpy(have), as_numpy(want), rtol=tolerance, atol=tolerance
        )


def check(case: Case, dtype: str = "float32") -> None:
    """Values, dtypes, shapes and gradients agree with PyTorch's."""
    arrays = [
        random_array(shape, case.low, case.high, seed)
        for seed, shape in enumerate(case.shapes)
    ]
    is_float = dtype in TOLERANCE
    wants = is_float and case.gradient
    our_inputs = [ours(array, dtype, wants) for array in arrays]
    their_inputs = [theirs(array, dtype, wants) for array in arrays]
    mine = case.program(tetragrad, *our_inputs)
    other = case.program(torch, *their_inputs)
    assert_same(mine, other, case.scale)
    if wants:
        _check_gradients(case, mine, other, our_inputs, their_inputs)


def _check_gradients(
    case: Case, mine: Any, other: Any, our_inputs: list[Any], their_inputs: list[Any]
) -> None:
    pairs = [
        (have, want)
        for have, want in zip(flatten(mine), flatten(other), strict=True)
        if isinstance(want, torch.Tensor) and want.requires_grad
    ]
    for number, (have, want) in enumerate(pairs):
        assert have.requires_grad
        upstream = random_array(tuple(want.shape), -1, 1, 100 + number)
        dtype = have.dtype.name
        have.backward(ours(upstream, dtype), retain_graph=True)
        want.backward(theirs(upstream, dtype), retain_graph=True)
    for have, want in zip(our_inputs, their_inputs, strict=True):
        assert (have.grad is None) == (want.grad is None)
        if want.grad is not None:
            assert_same(have.grad, want.grad, 4 * case.scale)
