"""Kernel text is readable, and as short as the kernel is."""

from __future__ import annotations

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.target import Target
from tetragrad.engine.realize import from_array
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Compute, Literal, Load, literal
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.lowering import lower
from tetragrad.kernel.text import expression_text, kernel_text


def buffer(*shape: int) -> Node:
    return from_array(np.zeros(shape, np.float32), "reference")


def softmax(x: Node) -> Node:
    shifted = ops.Sub(x, moves.Expand(Max(x, (1,)), x.shape))
    weights = ops.Exp(shifted)
    return ops.Div(weights, moves.Expand(Sum(weights, (1,)), x.shape))


def text_of(node: Node) -> str:
    (group,) = fuse([node], Target("test", "none", cache_bytes=1 << 20))
    return kernel_text(lower(group.roots, set()).kernel)


def test_softmax() -> None:
    assert text_of(softmax(buffer(4, 6))) == (
        "axes a0 < 4, a1 < 6\n"
        "slots s0: float32[24], s1: float32[24]\n"
        "t1 = max[a1](s0[6*a0 + a1])\n"
        "t2 = exp((s0[6*a0 + a1] - t1))\n"
        "t3 = sum[a1](t2)\n"
        "s1[6*a0 + a1] = (t2 / t3)"
    )


def test_guards_and_scalars() -> None:
    x = moves.pad(buffer(4), ((1, 0),), 0.5)
    assert text_of(ops.Mul(x, x)) == (
        "axes a0 < 5\n"
        "slots s0: float32[4], s1: float32[5]\n"
        "scalars c0: float32\n"
        "t1 = select(a0 - 1 >= 0, s0[a0 - 1 if a0 - 1 >= 0], c0)\n"
        "s1[a0] = (t1 * t1)"
    )


def shared(depth: int) -> Compute | Load | Literal:
    """Values that each use the one below twice: 2**depth leaves if written out."""
    value: Compute | Load | Literal = Load(0, Affine(0, ((0, 1),)), (), dtypes.float32)
    for number in range(depth):
        other = literal(number, dtypes.float32)
        value = Compute(ops.Add, dtypes.float32, (value, value))
        value = Compute(ops.Mul, dtypes.float32, (value, other))
    return value


def test_shared_values_are_written_once() -> None:
    short, long = expression_text(shared(100)), expression_text(shared(400))
    assert len(long) < 5 * len(short)
    assert short.count("\n") == 0


def test_deep_values_do_not_recurse() -> None:
    value = shared(1)
    for _ in range(5000):
        value = Compute(ops.Neg, dtypes.float32, (value,))
    assert expression_text(value).count("neg") == 5000
