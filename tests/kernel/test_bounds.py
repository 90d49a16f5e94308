"""Proofs of affine forms: right when they say yes, and strong enough to say it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.random_graphs import GraphBuilder
from tetragrad.core import dtypes
from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Iota
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import Affine, combine, of_atom
from tetragrad.kernel.bounds import Domain
from tetragrad.kernel.expression import Indexed, Load, anything
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.lowering import lower
from tetragrad.kernel.verify import verify_kernel

TARGET = Target("test", "none", cache_bytes=1 << 15)


def form(constant: int, *coefficients: int) -> Affine:
    return combine(constant, list(enumerate(coefficients)))


def value_at(affine: Affine, point: tuple[int, ...]) -> int:
    return affine.constant + sum(part * point[axis] for axis, part in affine.terms)


def test_intervals() -> None:
    assert Domain((3, 4)).proves(form(0, 4, 1))
    assert Domain((3, 4)).proves(form(11, -4, -1))
    assert not Domain((3, 4)).proves(form(10, -4, -1))


def test_a_guard_narrows_an_axis() -> None:
    assert Domain((8,), (form(-1, 1),)).proves(form(-1, 1))
    assert Domain((8,), (form(-3, 2),)).proves(form(-2, 1))
    assert not Domain((8,), (form(-3, 2),)).proves(form(-3, 1))


def test_a_padded_window_over_two_dimensions() -> None:
    # Rows a0 + a2 - 1 of 6, columns 2*a1 + a3 - 1 of 9: a padded convolution.
    row, column = form(-1, 1, 0, 1, 0), form(-1, 0, 2, 0, 1)
    guard = (row, row.scale(-1).shift(5), column, column.scale(-1).shift(8))
    address = row.scale(9) + column
    inside = Domain((6, 5, 3, 3), guard)
    assert inside.proves(address)
    assert inside.proves(address.scale(-1).shift(6 * 9 - 1))
    assert not inside.proves(address.scale(-1).shift(6 * 9 - 2))
    assert not Domain((6, 5, 3, 3), guard[:2]).proves(address)


def test_elimination_needs_several_guards_at_once() -> None:
    # a0 >= a1, a1 >= a2, a2 >= 3 say a0 >= 3, which no interval finds.
    guard = (form(0, 1, -1), form(0, 0, 1, -1))
    assert Domain((8, 8, 8), guard).proves(form(0, 1, 0, -1))
    assert not Domain((8, 8, 8), guard).proves(form(-1, 1, 0, -1))


def test_elimination_rounds_to_integers() -> None:
    # 2*a0 - 2*a1 >= 1 says a0 - a1 >= 1 for integers.
    assert Domain((9, 9), (form(-1, 2, -2),)).proves(form(-1, 1, -1))


def test_an_index_is_as_free_as_its_guard_leaves_it() -> None:
    index = Load(0, form(0, 1), (), dtypes.int64)
    raw = of_atom(anything(index))
    limited = of_atom(Indexed(index, 0, 3))
    guard = (raw, raw.scale(-1).shift(3))
    assert Domain((5,), guard).proves(limited)
    assert Domain((5,), guard).proves(limited.scale(-4).shift(12))
    assert not Domain((5,)).proves(limited)


SIZES = (4, 3, 5)
FORMS = st.builds(form, st.integers(-12, 12), *[st.integers(-4, 4)] * 3)


@given(wanted=FORMS, guard=st.lists(FORMS, max_size=3).map(tuple))
def test_a_proof_is_never_wrong(wanted: Affine, guard: tuple[Affine, ...]) -> None:
    points = itertools.product(*map(range, SIZES))
    values = [
        value_at(wanted, point)
        for point in points
        if all(value_at(entry, point) >= 0 for entry in guard)
    ]
    if Domain(SIZES, guard).proves(wanted):
        assert min(values, default=0) >= 0


def gather(values: Node, index: Node) -> Node:
    """values[index], as the sum of one-hot selections that networks write."""
    count, width = values.shape
    shape = (index.numel, count, width)
    positions = moves.Reshape(Iota(count, dtypes.int64), (1, count, 1))
    wanted = moves.Reshape(ops.Cast(index, dtypes.int64), (index.numel, 1, 1))
    rows = moves.broadcast_to(moves.Reshape(values, (1, count, width)), shape)
    is_chosen = ops.Eq(
        moves.broadcast_to(positions, shape), moves.broadcast_to(wanted, shape)
    )
    chosen = ops.Where(is_chosen, rows, ops.full_like(rows, 0.0))
    return moves.Reshape(Sum(chosen, (1,)), (index.numel, width))


def random_outputs(seed: int) -> list[Node]:
    """A random graph, every third with a gather of one of its values."""
    builder = GraphBuilder(seed, "reference")
    outputs = builder.grow(14)
    values = next((node for node in reversed(builder.pool) if node.ndim == 2), None)
    if seed % 3 or values is None:
        return outputs
    padded = moves.pad(values, ((1, 0), (0, 2)), 0.0)
    return [*outputs, gather(padded, moves.Reshape(outputs[0], (outputs[0].numel,)))]


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_every_kernel_of_random_graphs_is_proved(first: int) -> None:
    for seed in range(first, first + 40):
        outputs = random_outputs(seed)
        for join in (True, False):
            groups = fuse(outputs, TARGET, join=join)
            in_memory = {root for group in groups for root in group.roots}
            for group in groups:
                verify_kernel(lower(group.roots, in_memory).kernel)
