"""Gradients of the graph's ops against finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tetragrad.backends.reference.graph import evaluate
from tetragrad.core import dtypes
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement, reduce
from tetragrad.graph.gradients import gradients
from tetragrad.graph.leaves import Buffer, constant
from tetragrad.graph.node import Node

STEP = 1e-6


def leaf(array: np.ndarray) -> tuple[Buffer, dict[Buffer, np.ndarray]]:
    """A buffer node that stands for the array."""
    node = Buffer(object(), array.shape, dtypes.float64, "cpu")
    return node, {node: array}


def value(node: Node, memory: dict[Buffer, np.ndarray]) -> np.ndarray:
    """What the node means."""
    return evaluate([node], memory.__getitem__)[0]


def check(build: Callable[..., Node], *arrays: np.ndarray) -> None:
    """The analytic gradient of Σ weight * f equals its central difference."""
    memory: dict[Buffer, np.ndarray] = {}
    leaves = []
    for array in arrays:
        node, known = leaf(np.asarray(array, np.float64))
        leaves.append(node)
        memory |= known
    output = build(*leaves)
    weight = np.random.default_rng(0).normal(size=output.shape)
    upstream, known = leaf(weight)
    found = gradients({output: upstream}, leaves)
    for node in leaves:
        have = value(found[node], memory | known)
        assert have.shape == node.shape
        want = _differences(output, node, memory, weight)
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


def _differences(
    output: Node, node: Buffer, memory: dict[Buffer, np.ndarray], weight: np.ndarray
) -> np.ndarray:
    result = np.zeros(node.shape)
    for place in np.ndindex(*node.shape):
        sums = []
        for sign in (1, -1):
            moved = memory[node].copy()
            moved[place] += sign * STEP
            sums.append((value(output, memory | {node: moved}) * weight).sum())
        result[place] = (sums[0] - sums[1]) / (2 * STEP)
    return result


def numbers(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    count = int(np.prod(shape))
    spaced = np.linspace(low, high, count + 2)[1:-1]
    return np.random.default_rng(1).permutation(spaced).reshape(shape)


POSITIVE = {"low": 0.2, "high": 3.0}


@pytest.mark.parametrize(
    ("op", "bounds"),
    [
        (ops.Neg, {}),
        (ops.Reciprocal, POSITIVE),
        (ops.Sqrt, POSITIVE),
        (ops.Exp, {}),
        (ops.Exp2, {}),
        (ops.Log, POSITIVE),
        (ops.Log2, POSITIVE),
        (ops.Sin, {}),
        (ops.Cos, {}),
        (ops.Tanh, {}),
        (ops.Erf, {}),
    ],
)
def test_unary(op: type[Node], bounds: dict[str, float]) -> None:
    check(op, numbers(2, 3, **bounds))


@pytest.mark.parametrize("op", [ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Maximum])
def test_binary(op: type[Node]) -> None:
    check(op, numbers(2, 3), numbers(2, 3, low=0.3, high=2.7))


def test_power() -> None:
    check(ops.Pow, numbers(2, 3, **POSITIVE), numbers(2, 3))


def test_power_at_its_edges() -> None:
    """0**0 and 0**2 have slopes that are numbers, and so has a negative base."""
    base, known = leaf(np.array([0.0, 0.0, -2.0, 3.0]))
    exponent, more = leaf(np.array([0.0, 2.0, 3.0, 0.0]))
    upstream, ones = leaf(np.ones(4))
    found = gradients({ops.Pow(base, exponent): upstream}, [base, exponent])
    memory = known | more | ones
    np.testing.assert_allclose(value(found[base], memory), [0.0, 0.0, 12.0, 0.0])
    slopes = value(found[exponent], memory)
    np.testing.assert_allclose(slopes[[0, 1, 3]], [0.0, 0.0, np.log(3)])


def test_modulo() -> None:
    check(lambda x: ops.Mod(x, ops.full_like(x, 0.7)), numbers(6))


def test_where() -> None:
    def build(lhs: Node, rhs: Node) -> Node:
        return ops.Where(ops.Lt(lhs, rhs), ops.Mul(lhs, lhs), rhs)

    check(build, numbers(2, 3), numbers(2, 3, low=-1.9, high=2.1))


@pytest.mark.parametrize("dims", [(0,), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("op", [reduce.Sum, reduce.Prod, reduce.Max, reduce.Min])
def test_reduce(op: type[reduce.Reduce], dims: tuple[int, ...]) -> None:
    check(lambda x: op(x, dims), numbers(2, 3, 2))


def test_product_with_zeros() -> None:
    rows = np.array([[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 4.0]])
    check(lambda x: reduce.Prod(x, (1,)), rows)


def test_equal_extremes_share_the_gradient() -> None:
    node, memory = leaf(np.array([1.0, 5.0, 5.0]))
    upstream, ones = leaf(np.ones(1))
    found = gradients({reduce.Max(node, (0,)): upstream}, [node])
    assert value(found[node], memory | ones).tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    "build",
    [
        lambda x: movement.Reshape(x, (6, 4)),
        lambda x: movement.Permute(x, (2, 0, 1)),
        lambda x: movement.Expand(movement.Reshape(x, (4, 1, 6)), (4, 5, 6)),
        lambda x: movement.Shrink(x, ((1, 2), (0, 2), (1, 3))),
        lambda x: movement.pad(x, ((1, 0), (0, 2), (1, 1)), 7.0),
        lambda x: movement.Flip(x, (0, 2)),
        lambda x: movement.Stride(x, (1, 2, 2)),
        lambda x: movement.Stride(x, (3, 1, 3)),
        lambda x: movement.Skew(x, 1, 1, 0, 5),
        lambda x: movement.Skew(x, 1, 2, -1, 6),
        lambda x: movement.Skew(x, 1, -1, 1, 4),
    ],
)
def test_movement(build: Callable[[Node], Node]) -> None:
    check(build, numbers(2, 3, 4))


@pytest.mark.parametrize("length", [5, 8, 11])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_window(length: int, size: int, stride: int, dilation: int) -> None:
    check(
        lambda x: movement.Window(x, 1, size, stride, dilation), numbers(2, length, 2)
    )


def test_windows_in_two_dimensions() -> None:
    def build(source: Node) -> Node:
        return movement.Window(movement.Window(source, 0, 2, 2, 1), 2, 3, 1, 2)

    check(build, numbers(5, 7))


def test_two_uses_add_up() -> None:
    check(lambda x: ops.Mul(ops.Exp(x), ops.Add(x, ops.full_like(x, 3.0))), numbers(4))


def test_casts_and_half_precision_sums() -> None:
    node, memory = leaf(np.array([1.0, 2.0]))
    half = ops.Cast(node, dtypes.float16)
    upstream = constant(1.0, dtypes.float16)
    total = reduce.Sum(half, (0,))
    found = gradients({total: movement.broadcast_to(upstream, (1,))}, [node])
    assert found[node].dtype is dtypes.float64
    assert value(found[node], memory).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "build",
    [
        lambda x: movement.Expand(movement.Expand(x, (4,)), (5,)),
        lambda x: movement.Shrink(movement.Shrink(x, ((0, 1),)), ((0, 2),)),
        lambda x: movement.Permute(x, (1,)),
        lambda x: movement.Reshape(x, (3,)),
        lambda x: movement.pad(x, ((-1, 0),), 0),
        lambda x: movement.Stride(x, (0,)),
        lambda x: movement.Window(x, 0, 3, 1, 1),
        lambda x: reduce.Sum(x, (1,)),
    ],
)
def test_sizes_that_do_not_fit(build: Callable[[Node], Node]) -> None:
    node, _ = leaf(np.zeros(1))
    with pytest.raises(ValueError, match=r"shape|dimension"):
        build(node)
