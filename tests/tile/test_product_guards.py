"""Guards of a product's results: shortened, they say the same."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from tetragrad.kernel.affine import Affine
from tetragrad.tile.plans.products.micro_tiles import Product


@given(
    groups=st.integers(1, 6),
    lanes=st.integers(1, 6),
    step=st.integers(2, 6),
    bound=st.integers(-5, 40),
)
def test_lanes_that_do_not_decide_are_left_out(
    groups: int, lanes: int, step: int, bound: int
) -> None:
    extents = {0: groups, 1: lanes}
    product = cast(Any, SimpleNamespace(builder=SimpleNamespace(extents=extents)))
    condition = Affine(bound, ((0, -step), (1, -1)))
    shorter = Product.for_all_lanes(product, condition)
    for group, lane in itertools.product(range(groups), range(lanes)):
        found = [
            form.constant + form.coefficient(0) * group + form.coefficient(1) * lane
            for form in (condition, shorter)
        ]
        assert (found[0] >= 0) == (found[1] >= 0)


def test_a_pair_of_lanes_is_inside_or_outside_as_a_whole() -> None:
    extents = {0: 64, 1: 2}
    product = cast(Any, SimpleNamespace(builder=SimpleNamespace(extents=extents)))
    condition = Affine(171, ((0, -2), (1, -1)))
    assert Product.for_all_lanes(product, condition) == Affine(170, ((0, -2),))
