"""Groups that repeat one another are lowered once, to what each would be alone."""

from __future__ import annotations

import pytest

from tests.counting import counting
from tests.engine.operations import WATCHED, transformer
from tests.engine.random_graphs import GraphBuilder
from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.fusion.groups import Group
from tetragrad.kernel.fusion.repeats import lower_groups
from tetragrad.kernel.lowering import Lowered, lower

TARGET = Target("test", "none", cache_bytes=1 << 15)


def one_by_one(groups: list[Group]) -> list[Lowered]:
    in_memory = {root for group in groups for root in group.roots}
    return [lower(group.roots, in_memory) for group in groups]


@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("join", [True, False], ids=["fused", "unfused"])
def test_as_if_lowered_alone(seed: int, join: bool) -> None:
    outputs = GraphBuilder(seed, "reference").grow(25)
    groups = fuse(outputs, TARGET, join=join)
    assert lower_groups(groups) == one_by_one(groups)


def test_layers_with_other_weights_and_constants() -> None:
    groups = fuse(transformer(3), TARGET)
    assert lower_groups(groups) == one_by_one(groups)


def test_equal_patterns_with_other_scalars_keep_their_own() -> None:
    x, y = (GraphBuilder(seed, "reference").leaf() for seed in (1, 1))
    values: list[Node] = [
        ops.Mul(ops.Exp(x), ops.full_like(x, 0.25)),
        ops.Mul(ops.Exp(y), ops.full_like(y, 0.75)),
    ]
    groups = [Group([value]) for value in values]
    with counting(WATCHED) as counts:
        first, second = lower_groups(groups)
    assert counts["lowering attempts"] == 1
    assert first.kernel is second.kernel
    assert [node.value for node in (*first.scalars, *second.scalars)] == [0.25, 0.75]
