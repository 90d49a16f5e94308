"""Running values as a GPU's plans spread and divide them, run by the simulator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import planned
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core.settings import settings
from tetragrad.tile.simulator import run_program
from tetragrad.tile.text import program_text
from tetragrad.tile.verify import verify_program


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32)).realize()


def half(*shape: int) -> Tensor:
    return leaf(*shape).to(tetragrad.bfloat16).realize()


def counted(rows: int, length: int) -> Tensor:
    """How many earlier elements of a row have the element's own digit."""
    digits = Tensor(np.ones((rows, length), np.int64)).realize() % 16
    is_digit = digits.unsqueeze(-1).eq(Tensor.arange(16)).long()
    return ((is_digit.cumsum(1) - is_digit) * is_digit).sum(2)


CASES: dict[str, Callable[[], Tensor]] = {
    "a short row": lambda: leaf(100).cumsum(0),
    "one chunk": lambda: leaf(2048).cumsum(0),
    "chunks of an odd row": lambda: leaf(2, 40_001).cumsum(1),
    "many rows": lambda: leaf(300, 513).cumsum(1),
    "rows of a warp's part": lambda: leaf(1000, 20).cumsum(1),
    "from the end": lambda: leaf(7, 5000).flip(1).cumsum(1).flip(1),
    "products": lambda: leaf(5, 700).cumprod(1),
    "the least so far": lambda: leaf(3, 1500).cummin(1).values,
    "where the least stands": lambda: leaf(3, 1500).cummin(1).indices,
    "half width": lambda: half(9, 3000).cumsum(1),
    "far apart": lambda: leaf(5000, 12).cumsum(0),
    "parts": lambda: leaf(150_001).cumsum(0),
    "parts of whole numbers": lambda: (leaf(1 << 17) > 0).long().cumsum(0),
    "parts from the end": lambda: leaf(70_003).flip(0).cumsum(0).flip(0),
    "parts of the least": lambda: leaf(2, 70_000).cummin(1).values,
    "parts of half width": lambda: half(90_000).cumsum(0),
    "parts of columns": lambda: leaf(9001, 3).cumsum(0),
    "a choice at each step": lambda: counted(3, 3000),
}


@pytest.mark.parametrize("name", CASES)
def test_programs_mean_what_their_kernels_mean(name: str) -> None:
    draw = np.random.default_rng(0)
    for kernel, program in planned([CASES[name]().node], SM_90A):
        verify_program(program)
        wanted = [
            draw.integers(-3, 4, slot.numel).astype(slot.dtype.numpy)
            for slot in kernel.slots
        ]
        found = [buffer.copy() for buffer in wanted]
        run_kernel(kernel, wanted)
        run_program(program, found)
        for got, want in zip(found, wanted, strict=True):
            got, want = got.astype(np.float64), want.astype(np.float64)
            np.testing.assert_allclose(got, want, 1e-2, 1e-5)


def test_a_long_row_is_two_launches() -> None:
    """The last block to finish its part's total combines the totals."""
    ((_, program),) = planned([leaf(1_000_000).cumsum(0).node], SM_90A)
    launches = emit_program(program, SM_90A, settings()).launches
    assert [entry.blocks for entry in launches] == [245, 245]


def test_each_column_has_a_lane_where_there_are_many() -> None:
    ((_, program),) = planned([leaf(100, 8192).cumsum(0).node], SM_90A)
    assert "Running" not in program_text(program)


def test_warps_exchange_what_they_end_with() -> None:
    ((_, program),) = planned([leaf(1024).cumsum(0).node], SM_90A)
    text = emit_program(program, SM_90A, settings()).text
    # Five steps and one more to leave its own value out, in a warp and between warps.
    assert text.count("shfl.sync.up") == 5 + 1 + 3 + 1
    assert "bar.sync" in text
