"""Kernels whose rows stay in shared memory from one to the next, in the simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.h200_timing import tensor_at
from tests.backends.cuda_programs import assembly_report, planned
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Node
from tetragrad.kernel.cost import work_of
from tetragrad.kernel.ir import Kernel
from tetragrad.tensor.gathering import take_along
from tetragrad.tensor.joining import concatenate_nodes
from tetragrad.tensor.sorting_network import sorted_columns, sorted_rows
from tetragrad.tile.ir import Alloc, Grid, Program
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program


def keys_of(length: int, rows: int) -> Node:
    """A matrix of unsigned numbers on a GPU that need not be there."""
    numbers = tensor_at(4096, (length, rows), "int64", None).node
    return ops.Bitcast(numbers, dtypes.uint64)


def chained(node: Node) -> tuple[Kernel, Program]:
    """The only kernel of a graph, and its program."""
    ((kernel, program),) = planned([node], SM_90A)
    assert kernel.inner
    return kernel, program


@pytest.mark.parametrize(("length", "rows"), [(64, 4), (32, 48), (64, 1)])
def test_a_network_is_one_kernel_that_sorts(length: int, rows: int) -> None:
    _, program = chained(sorted_columns(keys_of(length, rows)))
    verify_program(program)
    random = np.random.default_rng(length)
    given = random.integers(0, 1 << 62, (length, rows))
    result = np.zeros(length * rows, np.uint64)
    run_program(program, [given.ravel().copy(), result], [])
    expected = np.sort(given, axis=0).astype(np.uint64)
    np.testing.assert_array_equal(result.reshape(length, rows), expected)


def test_blocks_hold_whole_rows(tmp_path: object) -> None:
    kernel, program = chained(sorted_columns(keys_of(64, 48)))
    assert {entry.rows for entry in kernel.inner} == {48}
    emitted = emit_program(program, SM_90A, settings())
    (launch,) = emitted.launches
    # Sixteen rows of 64 numbers, twice, with gaps after sixteen and after each row.
    assert launch.blocks == 3
    assert launch.shared_bytes == 2 * 8 * (15 * (4 * 17 + 1) + 3 * 17 + 16)
    assert "ERROR" not in assembly_report(emitted.text, SM_90A, tmp_path)  # type: ignore[arg-type]


def test_what_stays_on_the_chip_is_no_traffic() -> None:
    kernel, _ = chained(sorted_columns(keys_of(64, 4)))
    assert work_of(kernel).nbytes == 2 * 8 * 64 * 4


def test_what_somebody_else_reads_is_not_between() -> None:
    numbers = keys_of(64, 4)
    kept = moves.Kept(ops.Xor(numbers, moves.Flip(numbers, (0,))))
    turned = moves.Kept(ops.Add(kept, moves.Flip(kept, (0,))))
    kernels = [kernel for kernel, _ in planned([turned, kept], SM_90A)]
    assert [len(kernel.inner) for kernel in kernels] == [0, 0]
    assert len(chained(turned)[0].inner) == 1


def test_rows_that_need_one_another_are_one_block() -> None:
    numbers = keys_of(64, 4)
    kept = moves.Kept(ops.Xor(numbers, moves.Flip(numbers, (0,))))
    mixed = moves.Kept(ops.Add(kept, moves.Flip(kept, (1,))))
    kernel, _ = chained(mixed)
    assert kernel.inner[0].rows == 1


def test_what_data_chooses_is_not_handed_on() -> None:
    numbers = keys_of(64, 4)
    kept = moves.Kept(ops.Xor(numbers, moves.Flip(numbers, (0,))))
    places = tensor_at(4096, (8, 4), "int64", None).node
    chosen = moves.Kept(take_along(kept, places, 0))
    kernels = [kernel for kernel, _ in planned([chosen], SM_90A)]
    assert [len(kernel.inner) for kernel in kernels] == [0, 0]


def test_a_choice_between_rows_is_made_by_each_block() -> None:
    numbers = keys_of(64, 4)
    kept = moves.Kept(ops.Xor(numbers, moves.Flip(numbers, (0,))))
    columns = [moves.Shrink(kept, ((0, 64), (row, row + 1))) for row in range(4)]
    squares = [ops.Mul(column, column) for column in columns[:2]]
    pieces = [*squares, ops.Not(columns[2]), columns[3]]
    together = moves.Kept(concatenate_nodes(pieces, 1))
    _, program = chained(moves.Kept(ops.Add(together, moves.Flip(together, (0,)))))
    given = np.random.default_rng(0).integers(0, 1 << 62, (64, 4)).astype(np.uint64)
    result = np.zeros(given.size, np.uint64)
    run_program(program, [given.view(np.int64).ravel().copy(), result], [])
    mixed = given ^ given[::-1]
    chosen = np.stack([*(mixed[:, :2] ** 2).T, ~mixed[:, 2], mixed[:, 3]], 1)
    expected = chosen + chosen[::-1]
    np.testing.assert_array_equal(result.reshape(64, 4), expected)


def test_blocks_are_sorted_and_merged() -> None:
    numbers = tensor_at(4096, (1, 1024), "float64", None).node
    (asked,) = without_markers([sorted_rows(numbers, 64)])
    # A chip that holds 64 numbers twice, with their gaps.
    target = replace(SM_90A, shared_bytes=64 * 8 * 5 // 2)
    given = np.random.default_rng(1).standard_normal((1, 1024))
    known = {numbers: given.ravel().copy()}
    _, kernels = kernels_of([asked], target, settings())
    for entry in kernels:
        plan = choose_plan(entry.kernel, target, settings())
        program = build(entry.kernel, plan, target)
        (result,) = entry.outputs
        known[result] = np.zeros(given.size)
        run_program(program, [known[node] for node in (*entry.inputs, result)], [])
    # The blocks, then four times between them and in them; and what is asked for.
    assert len(kernels) == 10
    np.testing.assert_array_equal(known[result], np.sort(given.ravel()))


def test_what_ends_between_banks_is_stored_with_a_condition() -> None:
    columns = sorted_columns(keys_of(64, 4))
    first = moves.Shrink(columns, ((0, 50), (0, 4)))
    _, program = chained(moves.Kept(moves.Permute(first, (1, 0))))
    verify_program(program)
    given = np.random.default_rng(2).integers(0, 1 << 62, (64, 4))
    result = np.zeros(200, np.uint64)
    run_program(program, [given.ravel().copy(), result], [])
    expected = np.sort(given, axis=0)[:50].T
    np.testing.assert_array_equal(result.reshape(4, 50), expected)
    (grid,) = program.body
    assert isinstance(grid, Grid)
    tiles = [entry.tile for entry in grid.body if isinstance(entry, Alloc)]
    assert {tile.layout.strides[1] for tile in tiles} == {17}
