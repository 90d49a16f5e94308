"""A graph's text reads back to the same interned nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.random_graphs import GraphBuilder
from tetragrad.core import dtypes
from tetragrad.core.errors import FileFormatError
from tetragrad.engine.realize import from_array
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Iota, constant
from tetragrad.graph.markers import CustomGradient, Variable
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.graph.text import graph_text, names_of, parse_graph


def buffer(*shape: int) -> Node:
    return from_array(np.zeros(shape, np.float32), "reference")


def test_text_of_a_small_graph() -> None:
    x = buffer(4, 6)
    half = ops.full_like(x, 0.5)
    total = Sum(ops.Mul(x, half), (1,))
    assert graph_text([total]) == (
        "%0 = Buffer float32[4,6] @b0\n"
        "%1 = Constant float32[] bits=0x0000003f constant_dtype=float32  # 0.5\n"
        "%2 = Reshape float32[1,1] %1 new_shape=(1, 1)\n"
        "%3 = Expand float32[4,6] %2 new_shape=(4, 6)\n"
        "%4 = Mul float32[4,6] %0 %3\n"
        "%5 = Sum float32[4,1] %4 dims=(1,)\n"
        "return %5"
    )


@given(seed=st.integers(0, 100_000), steps=st.integers(1, 25))
def test_random_graphs_read_back_to_the_same_nodes(seed: int, steps: int) -> None:
    outputs = GraphBuilder(seed, "reference").grow(steps)
    assert parse_graph(graph_text(outputs), names_of(outputs)) == outputs


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (-0.0, dtypes.float32),
        (float("nan"), dtypes.float64),
        (float("-inf"), dtypes.bfloat16),
        (True, dtypes.bool_),
        (-7, dtypes.int8),
        (1 + 2j, dtypes.complex64),
    ],
)
def test_every_bit_of_a_constant_survives(value: object, dtype: dtypes.DType) -> None:
    node = constant(value, dtype)
    assert parse_graph(graph_text([node])) == [node]


def test_deep_graphs_do_not_recurse() -> None:
    node = buffer(2)
    for _ in range(5000):
        node = ops.Sin(ops.Neg(node))
    assert parse_graph(graph_text([node]), names_of([node])) == [node]


def test_markers_name_what_text_cannot_hold() -> None:
    x = Variable(buffer(3), object())
    node = CustomGradient(ops.Exp(x), lambda upstream: (upstream,), (x,))
    text = graph_text([node])
    assert "CustomGradient float32[3] %2 rule=@o1 inputs=(%1,)" in text
    assert parse_graph(text, names_of([node])) == [node]


def test_buffers_are_given_by_name() -> None:
    x, other = buffer(3), buffer(3)
    text = graph_text([ops.Exp(x)], {"x": x})
    assert text.splitlines()[0] == "%0 = Buffer float32[3] @x"
    assert parse_graph(text, {"x": other}) == [ops.Exp(other)]


def test_casts_iota_and_pads() -> None:
    positions = ops.Cast(Iota(5, dtypes.int64), dtypes.float16)
    node = moves.pad(positions, ((1, 2),), float("-inf"))
    assert parse_graph(graph_text([node])) == [node]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%0 = Iota int64[4] size=4 iota_dtype=int64", "ends without its outputs"),
        ("%0 = Iota int64[5] size=4 iota_dtype=int64", "arguments give int64[4]"),
        ("%0 = Iota int64[4] size=4 iota_dtype=int63", "'int63' is neither"),
        ("%0 = Buffer float32[3] @x", "nothing is called @x"),
        ("%0 = Convolve float32[3] %1", "there is no node class 'Convolve'"),
        ("%0 = Neg float32[3] %7", "%7 is not a line above"),
        ("%0 is a node", "it is not '%number"),
        ("%0 = Iota int64[4] size=!", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        parse_graph(text)
    assert message in str(caught.value)
