"""Every rewrite of the kernel level: before -> after, and the same values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernel.rules import check_rule, form, index, load, position
from tetragrad.core import dtypes
from tetragrad.engine.realize import from_array
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel import simplify
from tetragrad.kernel.affine import Affine, SplitAxis, axis_form, divide
from tetragrad.kernel.coordinates import linear, origin
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Reduction,
    Scan,
    Select,
    literal,
)
from tetragrad.kernel.recognise import reduction, scatter
from tetragrad.kernel.text import affine_text, expression_text

ZERO = literal(0.0, dtypes.float32)
SIZES = (4, 5)


# --- reductions that are something cheaper --------------------------------------------


def equal(lhs: Expression, rhs: Expression) -> Compute:
    return Compute(ops.Eq, dtypes.bool_, (lhs, rhs))


def where(condition: Expression, inside: Expression) -> Compute:
    return Compute(ops.Where, inside.dtype, (condition, inside, ZERO))


def check_reduction(
    body: Expression, text: str, axes: tuple[int, ...] = (1,), op: type = Sum
) -> None:
    after = reduction(op, axes, body, SIZES)
    check_rule(Reduction(op, axes, body), after, text, SIZES)


def test_a_plain_sum_stays() -> None:
    check_reduction(load(5, 1), "sum[a1](s0[5*a0 + a1])")


def test_a_condition_on_other_axes_leaves_the_sum() -> None:
    body = Select((form(-2, 1),), load(5, 1), ZERO)
    check_reduction(body, "t1 = sum[a1](s0[5*a0 + a1]); select(a0 - 2 >= 0, t1, 0.0)")


def test_a_condition_with_another_fill_stays() -> None:
    body = Select((form(-2, 1),), load(5, 1), ZERO)
    after = reduction(Max, (1,), body, SIZES)
    assert after is Reduction(Max, (1,), body)


def test_a_sum_of_sums_is_one_sum() -> None:
    inner = Reduction(Sum, (1,), load(5, 1))
    check_reduction(inner, "sum[a0, a1](s0[5*a0 + a1])", axes=(0,))


def test_a_maximum_of_sums_stays() -> None:
    inner = Reduction(Sum, (1,), load(5, 1))
    check_reduction(inner, "t1 = sum[a1](s0[5*a0 + a1]); max[a0](t1)", (0,), Max)


def test_one_hot_with_an_affine_index_is_a_load() -> None:
    # a1 == a0 + 1 picks element a0 + 1, where there is one: a0 <= 3.
    difference = form(-1, -1, 1)
    body = Select((difference, difference.scale(-1)), load(5, 1), ZERO)
    check_reduction(body, "s0[6*a0 + 1]")


def test_one_hot_beyond_the_axis_is_guarded() -> None:
    difference = form(-3, -1, 1)
    body = Select((difference, difference.scale(-1)), load(5, 1), ZERO)
    check_reduction(body, "select(-a0 + 1 >= 0, s0[6*a0 + 3 if -a0 + 1 >= 0], 0.0)")


def test_one_hot_with_a_loaded_index_is_a_gather() -> None:
    body = where(equal(position(0, 0, 1), index(1)), load(5, 1))
    guard = "<s1[a0]> >= 0 and -<s1[a0]> + 4 >= 0"
    chosen = f"s0[5*a0 + <s1[a0]> if {guard}]"
    check_reduction(body, f"select({guard}, {chosen}, 0.0)")


def test_an_index_that_varies_along_the_axis_is_no_gather() -> None:
    body = where(equal(position(0, 0, 1), index(5, 1)), load(5, 1))
    assert isinstance(reduction(Sum, (1,), body, SIZES), Reduction)


def test_a_one_hot_sum_over_inputs_is_a_scatter() -> None:
    body = where(equal(position(0, 1), index(0, 1)), load(0, 1))
    found = scatter(Reduction(Sum, (1,), body), (0,), SIZES)
    assert found is not None
    assert (found.axis, affine_text(found.position)) == (0, "<s1[a1]>")
    assert expression_text(found.value) == "s0[a1]"


def test_a_scatter_guards_loads_that_follow_the_index() -> None:
    body = where(equal(position(0, 1), index(0, 1)), load(5, 1))
    found = scatter(Reduction(Sum, (1,), body), (0,), SIZES)
    assert found is not None
    guard = "<s1[a1]> >= 0 and -<s1[a1]> + 3 >= 0"
    assert expression_text(found.value) == f"s0[a1 + 5*<s1[a1]> if {guard}]"


@pytest.mark.parametrize("sign", [1, -1], ids=["forwards", "backwards"])
def test_a_triangular_sum_is_a_scan(sign: int) -> None:
    sizes = (5, 5)
    body = Select((form(0, sign, -sign),), load(0, 1), ZERO)
    after = reduction(Sum, (1,), body, sizes)
    assert isinstance(after, Scan)
    way = "" if sign > 0 else "backward "
    text = f"{way}scan_sum[a0](s0[a0])"
    check_rule(Reduction(Sum, (1,), body), after, text, sizes)


def test_a_triangle_of_other_sizes_is_no_scan() -> None:
    body = Select((form(0, 1, -1),), load(0, 1), ZERO)
    assert isinstance(reduction(Sum, (1,), body, SIZES), Reduction)


# --- local algebra ------------------------------------------------------------------


def check_compute(op: type[ops.Elementwise], inputs: tuple, text: str) -> None:
    is_comparison = issubclass(op, ops.Comparison) or op is ops.Not
    dtype = dtypes.bool_ if is_comparison else inputs[-1].dtype
    after = simplify.compute(op, dtype, inputs, SIZES)
    check_rule(Compute(op, dtype, inputs), after, text, SIZES)


def less(lhs: Expression, rhs: Expression) -> Compute:
    return Compute(ops.Lt, dtypes.bool_, (lhs, rhs))


THREE = literal(3, dtypes.int64)
SIMPLIFIED = {
    "literals fold": (ops.Add, (THREE, THREE), "6"),
    "positions add": (ops.Add, (position(1, 2), position(0, 1)), "(3*a0 + 1)"),
    "positions subtract": (ops.Sub, (position(1, 2), THREE), "(2*a0 - 2)"),
    "positions scale": (ops.Mul, (THREE, position(1, 2)), "(6*a0 + 3)"),
    "positions negate": (ops.Neg, (position(1, 2),), "(-2*a0 - 1)"),
    "positions do not multiply": (
        ops.Mul, (position(0, 1), position(0, 1)), "((a0) * (a0))",
    ),
    "positions do not wrap": (
        ops.Mul,
        (position(0, 50, dtype=dtypes.int8), literal(2, dtypes.int8)),
        "((50*a0) * 2)",
    ),
    "a comparison becomes a guard": (
        ops.Where,
        (less(position(0, 1), THREE), load(5, 1), ZERO),
        "select(-a0 + 2 >= 0, s0[5*a0 + a1], 0.0)",
    ),
    "the literal goes outside": (
        ops.Where,
        (less(position(0, 1), THREE), ZERO, load(5, 1)),
        "select(a0 - 3 >= 0, s0[5*a0 + a1], 0.0)",
    ),
    "a conjunction becomes two conditions": (
        ops.Where,
        (
            Compute(
                ops.And,
                dtypes.bool_,
                (less(position(0, 1), THREE), less(position(0, 0, 1), THREE)),
            ),
            load(5, 1),
            ZERO,
        ),
        "select(-a0 + 2 >= 0 and -a1 + 2 >= 0, s0[5*a0 + a1], 0.0)",
    ),
    "what always holds chooses": (
        ops.Where,
        (less(position(0, 1), position(9)), load(5, 1), ZERO),
        "s0[5*a0 + a1]",
    ),
    "not pushes into the comparison": (
        ops.Where,
        (
            Compute(ops.Not, dtypes.bool_, (less(position(0, 1), THREE),)),
            load(5, 1),
            ZERO,
        ),
        "select(a0 - 3 >= 0, s0[5*a0 + a1], 0.0)",
    ),
    "a comparison of data stays": (
        ops.Where,
        (less(load(5, 1), ZERO), load(5, 1), ZERO),
        "where((s0[5*a0 + a1] < 0.0), s0[5*a0 + a1], 0.0)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SIMPLIFIED)
def test_compute(name: str) -> None:
    check_compute(*SIMPLIFIED[name])


def test_selects_with_one_fill_join() -> None:
    inner = Select((form(-1, 1),), load(5, 1), ZERO)
    after = simplify.select((form(-1, 0, 1),), inner, ZERO, SIZES)
    before = Select((form(-1, 0, 1),), inner, ZERO)
    text = "select(a1 - 1 >= 0 and a0 - 1 >= 0, s0[5*a0 + a1], 0.0)"
    check_rule(before, after, text, SIZES)


def test_a_condition_is_asked_once() -> None:
    first, second = load(5, 1), load(1, 4)
    guard, opposite = (form(-1, 1),), (form(0, -1),)
    inside, outside = Select(guard, first, ZERO), Select(opposite, second, ZERO)
    after = simplify.select(guard, inside, outside, SIZES)
    text = "select(a0 - 1 >= 0, s0[5*a0 + a1], s0[a0 + 4*a1])"
    check_rule(Select(guard, inside, outside), after, text, SIZES)


# --- division of forms ----------------------------------------------------------------


def test_division_by_text() -> None:
    quotient, remainder = divide(form(0, 12, 4, 1), 4, (3, 3, 4)) or (None, None)
    assert quotient is not None and remainder is not None
    assert affine_text(quotient) == "3*a0 + a1"
    assert affine_text(remainder) == "a2"


def test_division_splits_an_axis_that_nests() -> None:
    with pytest.raises(SplitAxis) as caught:
        divide(form(0, 1), 4, (12,))
    assert (caught.value.axis, caught.value.inner) == (0, 4)


def test_division_that_does_not_nest() -> None:
    assert divide(form(0, 1), 4, (6,)) is None


@given(
    constant=st.integers(-20, 20),
    coefficients=st.lists(st.integers(-12, 12), min_size=1, max_size=3),
    divisor=st.integers(1, 12),
)
def test_division_is_right_wherever_it_answers(
    constant: int, coefficients: list[int], divisor: int
) -> None:
    sizes = (3, 4, 2)
    dividend = form(constant, *coefficients)
    try:
        parts = divide(dividend, divisor, sizes)
    except SplitAxis:
        return
    if parts is not None:
        for point in itertools.product(*map(range, sizes)):
            got = tuple(value_at(part, point) for part in parts)
            assert got == divmod(value_at(dividend, point), divisor)


def value_at(affine: Affine, point: tuple[int, ...]) -> int:
    return affine.constant + sum(part * point[axis] for axis, part in affine.terms)


# --- where elements come from --------------------------------------------------------


def numbered(*shape: int) -> Node:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return from_array(values, "reference")


MOVED = {
    "permute": (moves.Permute(numbered(4, 6), (1, 0)), "a0 + 6*a1"),
    "expand": (moves.Expand(numbered(4, 1), (4, 3)), "a0"),
    "shrink": (moves.Shrink(numbered(4, 6), ((1, 3), (2, 6))), "6*a0 + a1 + 8"),
    "flip": (moves.Flip(numbered(4, 6), (1,)), "6*a0 - a1 + 5"),
    "stride": (moves.Stride(numbered(4, 6), (2, 3)), "12*a0 + 3*a1"),
    "pad": (moves.pad(numbered(4), ((2, 1),), 0.0), "a0 - 2"),
    "window": (moves.Window(numbered(9), 0, 3, 2, 2), "2*a0 + 2*a1"),
    "skew": (moves.Skew(numbered(4, 3), 0, 1, 0, 5), "3*a0 - 2*a1"),
    "reshape that joins": (moves.Reshape(numbered(4, 6), (24,)), None),
    "reshape that splits": (moves.Reshape(numbered(24), (4, 6)), "6*a0 + a1"),
    "reshape that keeps": (
        moves.Reshape(numbered(4, 6), (4, 2, 3)),
        "6*a0 + 3*a1 + a2",
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_origin_of_a_movement(name: str) -> None:
    node, text = MOVED[name]
    assert isinstance(node, moves.Movement)
    axes = [dim for dim, size in enumerate(node.shape)]
    coordinates = tuple(axis_form(axis) for axis in axes)
    if text is None:
        with pytest.raises(SplitAxis):
            origin(node, coordinates, node.shape)
        return
    found = origin(node, coordinates, node.shape)
    source = node.sources[0].shape
    address = linear(source, found.coordinates)
    assert affine_text(address) == text
    moved = node.move(np.arange(np.prod(source)).reshape(source).astype(np.float32))
    for point in itertools.product(*map(range, node.shape)):
        if all(value_at(entry, point) >= 0 for entry in found.guard):
            assert value_at(address, point) == moved[point]
        else:
            assert moved[point] == 0.0
