"""Patterns of named axes beside einops, and what is said about mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor

einops = pytest.importorskip("einops")

REARRANGED: list[tuple[str, tuple[int, ...], dict[str, int]]] = [
    ("b c h w -> b h w c", (2, 3, 4, 5), {}),
    ("b c h w -> b (c h w)", (2, 3, 4, 5), {}),
    ("b (h p) (w q) c -> b (h w) (p q c)", (2, 4, 6, 3), {"p": 2, "q": 3}),
    ("(b1 b2) c -> b2 c b1", (6, 2), {"b1": 2}),
    ("... c -> c ...", (2, 3, 4), {}),
    ("b ... d -> b (...) d", (2, 3, 4, 5), {}),
    ("a 1 b -> b a", (2, 1, 3), {}),
    ("a b -> a 1 b 1", (2, 3), {}),
    ("-> 1", (), {}),
]

REDUCED: list[tuple[str, tuple[int, ...], str, dict[str, int]]] = [
    ("b c h w -> b c", (2, 3, 4, 5), "mean", {}),
    ("b (h 2) (w 2) -> b h w", (2, 4, 6), "max", {}),
    ("b c h w -> b c 1 1", (2, 3, 4, 5), "sum", {}),
    ("... d -> d", (2, 3, 4), "min", {}),
    ("(a b) -> b", (6,), "prod", {"a": 2}),
    ("a b ->", (2, 3), "sum", {}),
]

REPEATED: list[tuple[str, tuple[int, ...], dict[str, int]]] = [
    ("h w -> h w c", (2, 3), {"c": 4}),
    ("h w -> (h 2) (w 3)", (2, 3), {}),
    ("h w -> (r h) w", (2, 3), {"r": 2}),
    ("... -> ... n", (2, 3), {"n": 2}),
]


def _values(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(("pattern", "shape", "sizes"), REARRANGED)
def test_rearrange(pattern: str, shape: Any, sizes: Any) -> None:
    values = _values(shape)
    found = tetragrad.rearrange(Tensor(values), pattern, **sizes)
    assert np.array_equal(found.numpy(), einops.rearrange(values, pattern, **sizes))


@pytest.mark.parametrize(("pattern", "shape", "reduction", "sizes"), REDUCED)
def test_reduce(pattern: str, shape: Any, reduction: str, sizes: Any) -> None:
    values = _values(shape)
    found = tetragrad.reduce(Tensor(values), pattern, reduction, **sizes)
    expected = einops.reduce(values, pattern, reduction, **sizes)
    np.testing.assert_allclose(found.numpy(), expected)


@pytest.mark.parametrize(("pattern", "shape", "sizes"), REPEATED)
def test_repeat(pattern: str, shape: Any, sizes: Any) -> None:
    values = _values(shape)
    found = tetragrad.repeat(Tensor(values), pattern, **sizes)
    assert np.array_equal(found.numpy(), einops.repeat(values, pattern, **sizes))


def test_lists_are_stacked() -> None:
    pieces = [Tensor([1, 2]), Tensor([3, 4])]
    assert tetragrad.rearrange(pieces, "b w -> (w b)").tolist() == [1, 3, 2, 4]


def test_gradients_flow() -> None:
    value = Tensor.ones(2, 4, requires_grad=True)
    (
        tetragrad.reduce(value, "a (b 2) -> b", "sum") * Tensor([1.0, 2.0])
    ).sum().backward()
    assert value.grad.tolist() == [[1, 1, 2, 2]] * 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tetragrad.rearrange(x, "a b c -> a"), "only one side has b, c"),
        (lambda x: tetragrad.rearrange(x, "a b -> b a"), r"2 dimensions, the tensor"),
        (lambda x: tetragrad.rearrange(x, "a (b c) d -> a b c d"), "pass b="),
        (lambda x: tetragrad.rearrange(x, "a (b c) d -> a b c d", b=2), "3 elements"),
        (lambda x: tetragrad.rearrange(x, "a b c -> c b a", d=2), "no axis d"),
        (lambda x: tetragrad.rearrange(x, "a b c"), "one '->'"),
        (lambda x: tetragrad.rearrange(x, "a a c -> c a"), "twice"),
        (lambda x: tetragrad.rearrange(x, "(a (b) c -> c"), "parentheses"),
        (lambda x: tetragrad.rearrange(x, "a b ? -> a"), "not understood"),
        (lambda x: tetragrad.reduce(x, "a b c -> a", "middle"), "no reduction"),
        (lambda x: tetragrad.reduce(x, "a b c -> d", "sum"), "left side has no d"),
        (lambda x: tetragrad.repeat(x, "a b c -> a"), "right side has no b, c"),
        (lambda x: tetragrad.repeat(x, "a b c -> a b c d"), "how large is d"),
    ],
)
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(tetragrad.ShapeError, match=message):
        call(Tensor.ones(2, 3, 4))
