"""Sums of products of half-width floats: carried in float32, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

HALVES = ("float16", "bfloat16")

CONTRACTIONS: dict[str, tuple[tuple[tuple[int, ...], ...], Callable[..., Any]]] = {
    "conv1d": (((2, 6, 19), (4, 6, 5)), lambda x, w: x.conv1d(w, stride=2)),
    "conv2d": (
        ((2, 8, 9, 7), (6, 4, 3, 3)),
        lambda x, w: x.conv2d(w, padding=1, groups=2),
    ),
    "conv_transpose2d": (
        ((2, 6, 5, 4), (6, 4, 3, 3)),
        lambda x, w: x.conv_transpose2d(w, stride=2, padding=1),
    ),
    "einsum": (
        ((7, 5), (5, 9), (9, 4)),
        lambda a, b, c: tetragrad.einsum("ij,jk,kl->il", a, b, c),
    ),
    "tensordot": (
        ((3, 4, 11), (4, 11, 5)),
        lambda a, b: tetragrad.tensordot(a, b, dims=2),
    ),
}


def operands(shapes: tuple[tuple[int, ...], ...], dtype: str) -> list[Tensor]:
    """Tensors of the half-width dtype."""
    random = np.random.default_rng(3)
    arrays = [random.standard_normal(shape) for shape in shapes]
    return [Tensor(array.astype(np.float32)).to(dtype) for array in arrays]


def assert_rounded_once(found: Tensor, exact: Tensor, dtype: str) -> None:
    """Nearly everything is the exact value rounded; the rest is its neighbour.

    Rounding each product would leave most sums off by some units in the last place.
    """
    assert str(found.dtype) == dtype
    wanted = exact.to(dtype)
    is_same = found.float().numpy() == wanted.float().numpy()
    assert is_same.mean() > 0.97
    spacing = 2.0 ** (-10 if dtype == "float16" else -7)
    scale = np.abs(exact.numpy()).max()
    np.testing.assert_allclose(
        found.double().numpy(), exact.numpy(), rtol=spacing, atol=1e-5 * scale
    )


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_products_are_not_rounded(name: str, dtype: str) -> None:
    shapes, function = CONTRACTIONS[name]
    inputs = operands(shapes, dtype)
    exact = function(*(entry.double() for entry in inputs))
    assert_rounded_once(function(*inputs), exact, dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_nor_are_those_of_gradients(name: str, dtype: str) -> None:
    shapes, function = CONTRACTIONS[name]
    inputs = [entry.requires_grad_() for entry in operands(shapes, dtype)]
    wide = [entry.detach().double().requires_grad_() for entry in inputs]
    found = tetragrad.grad(function(*inputs).sum(), inputs)
    exact = tetragrad.grad(function(*wide).sum(), wide)
    for mine, other in zip(found, exact, strict=True):
        assert mine is not None and other is not None
        assert_rounded_once(mine, other, dtype)
