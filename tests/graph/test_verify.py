"""The graph verifier accepts what constructors make and names what is broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.engine.random_graphs import GraphBuilder
from tetragrad.core import dtypes
from tetragrad.core.errors import VerifyError
from tetragrad.engine.realize import from_array
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.graph.verify import verify_graph


def vector() -> Node:
    return from_array(np.zeros(3, np.float32), "reference")


@pytest.mark.parametrize("seed", range(50))
def test_random_graphs_are_sound(seed: int) -> None:
    verify_graph(GraphBuilder(seed, "reference").grow(20))


def wrong_shape() -> Node:
    node = ops.Exp.build((vector(),))
    node.shape = (4,)
    return node


def wrong_dtype() -> Node:
    node = ops.Exp.build((vector(),))
    node.dtype = dtypes.int8
    return node


def wrong_device() -> Node:
    node = ops.Exp.build((vector(),))
    node.device = "cpu"
    return node


def wrong_sources() -> Node:
    node = ops.Exp.build((vector(),))
    node.sources = (vector(),)
    return node


def wrong_arguments() -> Node:
    node = moves.Permute.build((vector(), (0,)))
    node.arguments = (node.sources[0], (1,))
    return node


def not_interned() -> Node:
    x = vector()
    keep.append(ops.Exp(x))
    return ops.Exp.build((x,))


def not_simplified() -> Node:
    return moves.Permute.build((vector(), (0,)))


def cyclic() -> Node:
    node = ops.Exp.build((vector(),))
    middle = ops.Neg.build((node,))
    node.arguments = node.sources = (middle,)
    return node


keep: list[Node] = []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong_shape, r"says float32\[4\]; its arguments give float32\[3\]"),
        (wrong_dtype, r"says int8\[3\]; its arguments give float32\[3\]"),
        (wrong_device, "says device 'cpu'; its sources are on 'reference'"),
        (wrong_sources, "sources of .* are not those in its arguments"),
        (wrong_arguments, "could not be built again: .* is not an order"),
        (not_interned, "not interned: another node is equal to it"),
        (not_simplified, "should have been simplified when it was made"),
        (cyclic, "depends on itself"),
    ],
)
def test_a_broken_node_is_named(make: Callable[[], Node], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify_graph([make()])
