"""What repeats is reduced once, and gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.graph.elementwise import Mul, full_like
from tetragrad.graph.movement import Expand, Reshape
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max, Min, Prod, Reduce, Sum

#: Whose products are exact in any order.
VALUES = np.random.default_rng(3).choice([-2.0, -0.5, 1.0, 4.0], (4, 1, 5))


def leaf(values: np.ndarray) -> Node:
    return Tensor(values).realize().node


@pytest.mark.parametrize("op", [Sum, Prod, Max, Min])
def test_what_repeats_along_other_dimensions_is_reduced_once(op: type[Reduce]) -> None:
    source = leaf(VALUES)
    found = op(Expand(source, (4, 3, 5)), (0, 2))
    assert found is Expand(op(source, (0, 2)), (1, 3, 1))
    wanted = op.reduce(np.broadcast_to(VALUES, (4, 3, 5)), (0, 2))
    np.testing.assert_array_equal(Tensor.from_node(found).numpy(), wanted)


def test_a_product_repeats_where_all_its_factors_do() -> None:
    source = leaf(VALUES)
    repeated = Expand(source, (4, 3, 5))
    third = full_like(repeated, 1 / 3)
    once = Sum(Mul(source, full_like(source, 1 / 3)), (2,))
    assert Sum(Mul(repeated, third), (2,)) is Expand(once, (4, 3, 1))
    whole = leaf(np.ones((4, 3, 5)))
    assert Sum(Mul(repeated, whole), (2,)).source is Mul(repeated, whole)


def test_repetitions_are_added() -> None:
    """Not multiplied by how many they are: that rounds differently."""
    source = leaf(VALUES)
    repeated = Expand(source, (4, 3, 5))
    assert Sum(repeated, (1,)).source is repeated
    partly = Sum(Expand(Reshape(source, (1, 4, 1, 5)), (2, 4, 3, 5)), (2, 3))
    assert partly.shape == (2, 4, 1, 1)
    assert partly.source.source.shape == (1, 4, 3, 5)


def test_the_largest_of_nothing_is_nothing_where_nothing_is_asked() -> None:
    nothing = Expand(leaf(np.ones((1, 0), np.float32)), (0, 0))
    assert Max(nothing, (1,)).shape == (0, 1)
