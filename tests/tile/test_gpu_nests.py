"""Loop nests as a GPU's plans spread them, run by the simulator of tile programs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import check_kernels, planned
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import settings
from tetragrad.tile.ir import Grid, Program
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.nests.nest import NestPlan
from tetragrad.tile.plans.prepare.cuts import Cut
from tetragrad.tile.text import program_text
from tetragrad.tile.verify import verify_program


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32)).realize()


def places(count: int) -> Tensor:
    return Tensor(np.arange(count) % 3).realize()


def counts(rows: int, length: int) -> Tensor:
    """How often each digit stands in each row."""
    digits = Tensor(np.ones((rows, length), np.int32)).realize() % 16
    return digits.unsqueeze(1).eq(Tensor.arange(16).reshape(16, 1)).int().sum(2)


CASES: dict[str, Callable[[], Tensor]] = {
    "short rows": lambda: leaf(300, 7).softmax(1),
    "short rows, three axes": lambda: leaf(9, 40, 3).mean(2),
    "few columns": lambda: leaf(300, 15).amax(0),
    "very many short rows": lambda: leaf(131_072, 3).sum(1),
    "two long rows": lambda: leaf(2, 5000).softmax(1),
    "three wide rows": lambda: leaf(3, 9000).log_softmax(1),
    "short rows added": lambda: leaf(500, 5) * 2 + leaf(1, 5),
    "rows in between": lambda: leaf(33, 19) + leaf(36, 23)[1:-2, 3:-1],
    "short rows with gaps": lambda: leaf(900, 6)[1:-2, 3:-1] * leaf(897, 1),
    "turned": lambda: leaf(200, 6).flip(1) + leaf(200, 1),
    "across": lambda: leaf(5, 301).T + leaf(301, 5),
    "rows of a warp's part": lambda: leaf(2000, 72).softmax(1),
    "uneven rows of a warp": lambda: leaf(1100, 77).log_softmax(1),
    "the middle of short rows": lambda: leaf(70, 5, 4).amax(1),
    "one column of many rows": lambda: leaf(3000, 1, 2).sum((0, 2)),
    "columns around": lambda: leaf(3, 900, 6).sum(1),
    "odd columns": lambda: leaf(700, 129).sum(0),
    "columns of several parts": lambda: leaf(50_021, 5).mean(0),
    "parts of an odd row": lambda: leaf(70_001).sum(),
    "counts of digits": lambda: counts(150, 200),
    "random numbers in pairs": lambda: tetragrad.rand(2, 5000),
    "rows from places": lambda: leaf(9, 700)[places(30)],
}


def blocks(program: Program) -> int:
    """Iterations of the first grid."""
    (grid, *_) = program.body
    assert isinstance(grid, Grid)
    return int(np.prod([extent for _, extent in grid.axes]))


@pytest.mark.parametrize("name", CASES)
def test_programs_mean_what_their_kernels_mean(name: str) -> None:
    check_kernels([CASES[name]().node])


@pytest.mark.parametrize(("rows", "columns"), [(5001, 64), (701, 192)])
def test_sums_of_the_same_are_divided_together(rows: int, columns: int) -> None:
    x, y, mean = leaf(rows, columns), leaf(rows, columns), leaf(1, columns)
    sums = [(x * y).sum(0).node, ((x - mean) * y * mean).sum(0).node]
    ((kernel, _),) = planned(sums, SM_90A)
    plan = choose_plan(kernel, SM_90A, settings())
    assert all(isinstance(cut, Cut) and cut.beside == (1,) for cut in plan.cuts)
    assert plan.cuts
    assert all(len(stage) == 1 for stage in plan.stages)
    check_kernels(sums, absolute=1e-3)


@pytest.mark.parametrize("channels", [64, 256, 2048, 96])
def test_rows_share_what_they_read_for_each_channel(channels: int) -> None:
    pixels = (1 << 22) // channels
    image = leaf(pixels, channels).to(tetragrad.bfloat16)
    scale, shift, mean = (leaf(1, channels) for _ in range(3))
    value = ((image.realize().float() - mean) * scale + shift).relu()
    ((kernel, _),) = planned([value.to(tetragrad.bfloat16).node], SM_90A)
    ((plan,),) = choose_plan(kernel, SM_90A, settings()).stages
    assert isinstance(plan, NestPlan)
    is_shared = plan.rows * channels >= 8 * 1024
    assert is_shared == (channels != 96)


def test_a_few_long_rows_are_one_kernel() -> None:
    ((_, program),) = planned([leaf(2, 60_000).softmax(1).node], SM_90A)
    assert blocks(program) == 2


def test_rows_of_a_few_elements_are_staged() -> None:
    ((_, program),) = planned([leaf(500, 7).softmax(1).node], SM_90A)
    text = program_text(program)
    assert "rows: float32[224], shared, written once" in text
    assert "Store(s1[224*i0 + " in text


def test_few_threads_share_a_short_row() -> None:
    ((_, program),) = planned([leaf(4096, 128).softmax(1).node], SM_90A)
    (launch,) = emit_program(program, SM_90A, settings()).launches
    # Eight threads a row, of which one holds sixteen elements.
    assert (launch.threads, launch.blocks) == (64, 512)


def test_sums_down_few_columns_read_memory_in_order() -> None:
    ((_, program),) = planned([leaf(100_000, 3).sum(0).node], SM_90A)
    emitted = emit_program(program, SM_90A, settings())
    assert len(emitted.launches) == 1
    assert "ld.global.v4.f32" in emitted.text


def test_kinds_of_sums_read_memory_once() -> None:
    ((_, program),) = planned([counts(150, 200).node], SM_90A)
    assert blocks(program) == 150


def test_random_numbers_share_their_counters() -> None:
    """A thread has both words of a counter: twenty rounds of two additions, or so."""
    ((_, program),) = planned([tetragrad.rand(1 << 20).node], SM_90A)
    (launch,) = emit_program(program, SM_90A, settings()).launches
    assert launch.blocks * launch.threads * 8 == 1 << 20


def test_rows_from_places_share_iterations() -> None:
    ((_, program),) = planned([leaf(9, 700)[places(30)].node], SM_90A)
    assert blocks(program) == 15


def test_narrow_floats_are_added_up_in_float32() -> None:
    table = Tensor(np.zeros((9, 4), np.float32)).to(tetragrad.bfloat16).realize()
    places = Tensor(np.array([1, 1, 8, 3])).realize()
    rows = Tensor(np.ones((4, 4), np.float32)).to(tetragrad.bfloat16).realize()
    table.requires_grad_()
    chosen = tetragrad.nn.functional.embedding(places, table)
    (gradient,) = tetragrad.grad(chosen, [table], rows)
    ((_, program),) = planned([gradient.node], SM_90A)
    verify_program(program)
    assert [tile.dtype for tile in program.scratch] == [tetragrad.float32]
    assert "red.global.add.f32" in emit_program(program, SM_90A, settings()).text


POWERS: dict[str, tuple[Callable[[], Tensor], bool]] = {
    "rows rounded to 16 bits": (lambda: half(64, 4096).softmax(1), True),
    "sums below the greatest": (lambda: leaf(64, 4096).log_softmax(1), True),
    "rows in float32": (lambda: leaf(64, 4096).softmax(1), False),
    "a difference": (lambda: (half(64, 64).float().exp() - 1).bfloat16(), False),
}


def half(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32)).to(tetragrad.bfloat16).realize()


@pytest.mark.parametrize("name", POWERS)
def test_quick_powers_only_where_their_error_is_lost(name: str) -> None:
    compute, is_quick = POWERS[name]
    ((_, program),) = planned([compute().node], SM_90A)
    assert ("quick 2**" in program_text(program)) == is_quick


def test_short_rows_share_iterations() -> None:
    ((_, program),) = planned([(leaf(4096, 5) * leaf(1, 5)).node], SM_90A)
    assert blocks(program) < 100
    ((_, program),) = planned([leaf(200_000, 7).softmax(1).node], SM_90A)
    assert blocks(program) < 2000
