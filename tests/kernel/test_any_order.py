"""What fusion stores where products take their operands from memory in any order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers

PACKS = Target("test", "none", cache_bytes=1 << 15)
BRINGS = replace(PACKS, chunk_bytes=16)


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32)).realize()


def stored(target: Target, *tensors: Tensor) -> list[tuple[int, ...]]:
    """The shapes of what the kernels for these tensors store, without those."""
    nodes = without_markers([entry.node for entry in tensors])
    _, kernels = kernels_of(nodes, target, settings())
    written = [node for entry in kernels for node in entry.outputs]
    return [node.shape for node in written if node not in nodes]


@pytest.mark.parametrize(("target", "expected"), [(PACKS, []), (BRINGS, [(256, 200)])])
def test_an_operand_of_two_products(
    target: Target, expected: list[tuple[int, ...]]
) -> None:
    x, y = leaf(256, 200), leaf(256, 200)
    operand = x * y
    found = stored(target, operand @ leaf(200, 96), operand.T @ leaf(256, 64))
    assert found == expected


def test_an_operand_of_one_product() -> None:
    assert stored(BRINGS, (leaf(256, 200) * leaf(256, 200)) @ leaf(200, 96)) == []


@pytest.mark.parametrize(
    ("target", "expected"), [(PACKS, []), (BRINGS, [(1, 8, 1, 1)])]
)
def test_what_is_the_same_for_a_channel(
    target: Target, expected: list[tuple[int, ...]]
) -> None:
    image, channels = leaf(4, 8, 64, 64), leaf(8)
    assert stored(target, image * channels.reshape(1, 8, 1, 1).exp()) == expected


def test_what_is_the_same_for_a_row() -> None:
    assert stored(BRINGS, leaf(4, 8, 64) * leaf(4, 8, 1).exp()) == []
