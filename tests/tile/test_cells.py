"""Where the cells of a product's sides begin, and what lies beyond the edges."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.cuda_programs import planned
from tetragrad import Tensor
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.kernel.affine import ZERO, axis_form
from tetragrad.tile.plans.roles.cells import Cells
from tetragrad.tile.simulator import run_program

BLOCK = 7


def first_positions(cells: Cells) -> list[int]:
    (form,) = cells.starts(axis_form(BLOCK), ZERO, cells.blocks).values()
    return [evaluated(form, number) for number in range(cells.blocks)]


def evaluated(form, number: int) -> int:
    """A form of one block number, which may choose between two."""
    total = form.constant
    for atom, factor in form.terms:
        if atom == BLOCK:
            total += factor * number
            continue
        chosen = atom.value
        (guard,) = chosen.guard
        if evaluated(guard, number) >= 0:
            total += factor * evaluated(chosen.inside.form, number)
        else:
            total += factor * chosen.outside.value
    return total


def test_the_last_cell_ends_with_its_axis() -> None:
    assert first_positions(Cells((0,), (300,), (128,), may_overlap=True)) == [
        0,
        128,
        172,
    ]
    assert first_positions(Cells((0,), (300,), (128,))) == [0, 128, 256]


@pytest.mark.parametrize("chunk", [8, 96])
@pytest.mark.parametrize("size", [96, 100, 128, 257])
def test_every_position_is_in_a_cell(size: int, chunk: int) -> None:
    cells = Cells((0,), (size,), (chunk,), may_overlap=True)
    starts = first_positions(cells)
    found = {start + place for start in starts for place in range(chunk)}
    assert found >= set(range(size))
    assert max(found) < size or size < chunk or size % chunk == 0


@pytest.mark.parametrize("m, n", [(200, 328), (129, 264), (1032, 24)])
def test_products_whose_blocks_overlap(m: int, n: int) -> None:
    random = np.random.default_rng(m)
    lhs, rhs = (
        Tensor(random.standard_normal(shape).astype(np.float32)).bfloat16().realize()
        for shape in ((m, 72), (n, 72))
    )
    for kernel, program in planned([(lhs @ rhs.T).node], SM_90A):
        buffers = [
            random.standard_normal(slot.numel).astype(slot.dtype.numpy)
            for slot in kernel.slots
        ]
        found = [buffer.copy() for buffer in buffers]
        run_kernel(kernel, buffers, [])
        run_program(program, found, [])
        for mine, theirs in zip(found, buffers, strict=True):
            np.testing.assert_allclose(
                mine.astype(np.float32), theirs.astype(np.float32), 2e-2, 1e-2
            )
