"""Short rows of sums of a few elements get a part of a warp on a GPU."""

from __future__ import annotations

import pytest

import tetragrad
from tests.backends.cuda_programs import planned
from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.graph.leaves import Buffer
from tetragrad.tile.ir import Grid


@pytest.mark.parametrize(
    ("channels", "threads"), [(64, 8), (128, 16), (256, 0), (48, 0), (60, 0)]
)
def test_windows_of_images(channels: int, threads: int) -> None:
    shape = (256, 112, 112, channels)
    images = Tensor.from_node(Buffer(object(), shape, tetragrad.bfloat16, "cpu"))
    pooled = images.permute(0, 3, 1, 2).max_pool2d(3, 2, 1).permute(0, 2, 3, 1)
    (_, program), *_ = planned([pooled.node], SM_90A)
    (grid,) = program.body
    assert isinstance(grid, Grid) and grid.threads == threads
