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
    for overlap, last in ((0, 256), (1, 172), (8, 176), (64, 192)):
        cells = Cells((0,), (300,), (128,), overlap=overlap)
        assert first_positions(cells) == [0, 128, last]


@pytest.mark.parametrize("overlap", [0, 1, 8])
@pytest.mark.parametrize("chunk", [8, 96])
@pytest.mark.parametrize("size", [96, 97, 100, 128, 257])
def test_every_position_is_in_a_cell(size: int, chunk: int, overlap: int) -> None:
    cells = Cells((0,), (size,), (chunk,), overlap=overlap)
    starts = first_positions(cells)
    found = {start + place for start in starts for place in range(chunk)}
    assert found >= set(range(size))
    assert all(start % max(overlap, 1) == 0 for start in starts)


@pytest.mark.parametrize("m, n", [(200, 328), (129, 264), (1032, 24)])
@pytest.mark.parametrize("order", ["nt", "tn"])
def test_products_whose_blocks_overlap(m: int, n: int, order: str) -> None:
    random = np.random.default_rng(m)
    shapes = ((m, 72), (n, 72)) if order == "nt" else ((72, m), (72, n))
    lhs, rhs = (
        Tensor(random.standard_normal(shape).astype(np.float32)).bfloat16().realize()
        for shape in shapes
    )
    product = lhs @ rhs.T if order == "nt" else lhs.T @ rhs
    for kernel, program in planned([product.node], SM_90A):
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
