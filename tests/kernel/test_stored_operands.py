"""Operands that products would compute again and again are stored first."""

from __future__ import annotations

import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.graph.leaves import Buffer
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.nn import functional


def leaf(*shape: int) -> Tensor:
    return Tensor.from_node(Buffer(object(), shape, tetragrad.bfloat16, "cpu"))


def shapes(tensor: Tensor) -> list[tuple[int, ...]]:
    return [root.shape for group in fuse([tensor.node], SM_90A) for root in group.roots]


@pytest.mark.parametrize("rows", [16, 512])
def test_gates_are_made_once_for_all_columns(rows: int) -> None:
    gate, value = leaf(rows, 28672).chunk(2, -1)
    gated = functional.silu(gate) * value
    assert (rows, 14336) in shapes(functional.linear(gated, leaf(4096, 14336)))


def test_little_work_is_done_on_the_way() -> None:
    scaled = leaf(512, 14336) * 2.0 + 1.0
    assert shapes(functional.linear(scaled, leaf(4096, 14336))) == [(512, 4096)]


def test_few_columns_make_their_operand_themselves() -> None:
    gated = functional.silu(leaf(4096, 512))
    assert shapes(functional.linear(gated, leaf(64, 512))) == [(4096, 64)]


def test_small_operands_of_two_products_are_stored_once() -> None:
    """Each product that computes one would take as long again as a launch."""
    chances = leaf(64, 32).float().sigmoid() * 3
    made = chances @ leaf(32, 96).float(), chances.T @ leaf(64, 96).float()
    groups = fuse([tensor.node for tensor in made], SM_90A)
    assert chances.node in [root for group in groups for root in group.roots]
