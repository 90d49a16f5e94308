"""Loop nests as a GPU's plans spread them, run by the simulator of tile programs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.backends.cuda_programs import planned
from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.tile.ir import Grid, Program
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32)).realize()


CASES: dict[str, Callable[[], Tensor]] = {
    "short rows": lambda: leaf(300, 7).softmax(1),
    "short rows, three axes": lambda: leaf(9, 40, 3).mean(2),
    "few columns": lambda: leaf(300, 15).amax(0),
    "very many short rows": lambda: leaf(131_072, 3).sum(1),
    "two long rows": lambda: leaf(2, 5000).softmax(1),
    "three wide rows": lambda: leaf(3, 9000).log_softmax(1),
    "short rows added": lambda: leaf(500, 5) * 2 + leaf(1, 5),
    "rows in between": lambda: leaf(33, 19) + leaf(36, 23)[1:-2, 3:-1],
    "turned": lambda: leaf(200, 6).flip(1) + leaf(200, 1),
    "across": lambda: leaf(5, 301).T + leaf(301, 5),
}


def blocks(program: Program) -> int:
    """Iterations of the first grid."""
    (grid, *_) = program.body
    assert isinstance(grid, Grid)
    return int(np.prod([extent for _, extent in grid.axes]))


@pytest.mark.parametrize("name", CASES)
def test_programs_mean_what_their_kernels_mean(name: str) -> None:
    draw = np.random.default_rng(0)
    for kernel, program in planned([CASES[name]().node], SM_90A):
        verify_program(program)
        wanted = [
            draw.standard_normal(slot.numel).astype(slot.dtype.numpy)
            for slot in kernel.slots
        ]
        found = [buffer.copy() for buffer in wanted]
        scalars = [np.full((), 2, dtype.numpy) for dtype in kernel.scalars]
        run_kernel(kernel, wanted, scalars)
        run_program(program, found, scalars)
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def test_a_few_long_rows_are_one_kernel() -> None:
    ((_, program),) = planned([leaf(2, 60_000).softmax(1).node], SM_90A)
    assert blocks(program) == 2


def test_short_rows_share_iterations() -> None:
    ((_, program),) = planned([(leaf(4096, 5) * leaf(1, 5)).node], SM_90A)
    assert blocks(program) < 100
    ((_, program),) = planned([leaf(200_000, 7).softmax(1).node], SM_90A)
    assert blocks(program) < 2000
