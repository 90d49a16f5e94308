"""The rows of benchmarks/h200.py: assembled for every target, without spills."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.h200_rows import Row, adamw_of_all, long_rows, target_rows
from benchmarks.h200_timing import as_tuple, tensor_at
from tests.backends.cuda_programs import assembly_report, planned, spilled_bytes
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.settings import settings
from tetragrad.core.target import Target

# An optimiser's step is in test_cuda_pieces.py, and products are in test_cuda_roles.py.
ROWS = [
    row
    for row in (*target_rows(), *long_rows())
    if row.ours is not adamw_of_all
    and row.shapes[0][1] in (128, 8192, 16384)
    and not row.name.startswith("layer norm 3")
]


def outputs_of(row: Row) -> list[Tensor]:
    """What a row computes, from memory that is not there."""
    tensors = [tensor_at(4096, shape, row.dtype, row) for shape in row.shapes]
    if row.indices:
        tensors.append(tensor_at(4096, (row.indices,), "int64", row))
    return list(as_tuple(row.ours(*tensors)))


@pytest.mark.parametrize("target", [SM_80, SM_90A], ids=["sm_80", "sm_90a"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_rows_assemble_without_spills(row: Row, target: Target, tmp_path: Path) -> None:
    nodes = [tensor.node for tensor in outputs_of(row)]
    for _, program in planned(nodes, target):
        text = emit_program(program, target, settings()).text
        report = assembly_report(text, target, tmp_path)
        assert spilled_bytes(report) == 0, report


def test_long_rows_are_shared_by_clusters() -> None:
    (row,) = [row for row in long_rows() if row.name == "softmax 131072 float32"]
    ((_, program),) = planned([outputs_of(row)[0].node], SM_90A)
    text = emit_program(program, SM_90A, settings()).text
    assert ".reqnctapercluster 8, 1, 1" in text
    assert text.count("mapa.shared::cluster") == 2
    # Of 131,072 elements, each of 4,096 threads has 32, in its block's shared memory.
    assert text.count("cp.async.cg") == 8
    assert "ld.global" not in text


def test_each_pass_over_a_long_row_reads_shared_memory() -> None:
    (row,) = [row for row in long_rows() if row.name == "softmax 32768 bfloat16"]
    ((_, program),) = planned([outputs_of(row)[0].node], SM_90A)
    emitted = emit_program(program, SM_90A, settings())
    (launch,) = emitted.launches
    assert launch.threads == 512
    assert launch.shared_bytes >= 2 * 32768
    assert emitted.text.count("cp.async.cg") == 8
    assert emitted.text.count("ld.shared.v4") >= 3 * 8


def test_rows_that_begin_anywhere_stay_in_registers() -> None:
    x = tensor_at(4096, (64, 32770), "bfloat16", None)
    ((_, program),) = planned([x.softmax(1).node], SM_90A)
    assert "cp.async" not in emit_program(program, SM_90A, settings()).text


def test_sums_of_everything_are_one_launch() -> None:
    (row,) = [row for row in target_rows() if row.name.startswith("sum of all")]
    ((_, program),) = planned([outputs_of(row)[0].node], SM_90A)
    assert len(emit_program(program, SM_90A, settings()).launches) == 1


def test_what_a_row_shares_is_loaded_once_where_the_row_ends() -> None:
    """Not behind a condition for each place that the row's end may have."""
    rows = tensor_at(4096, (512, 50304), "bfloat16", None)
    most = tensor_at(4096, (512, 1), "float32", None)
    ((_, program),) = planned([(rows.float() - most).bfloat16().node], SM_90A)
    text = emit_program(program, SM_90A, settings()).text
    # Whole blocks load it once, and so do those at the end.
    assert text.count("ld.global.nc.f32") == 2
