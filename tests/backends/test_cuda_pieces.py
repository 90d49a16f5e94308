"""One kernel over many buffers, and launches that are recorded: without a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.backends.cuda_programs import assembly_report, planned, spilled_bytes
from tetragrad import Tensor
from tetragrad.backends.cuda import launches
from tetragrad.backends.cuda.emit.pieces import emit_pieces, member_table, piece_table
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.launches import LaunchSequence
from tetragrad.backends.cuda.programs import facts_from, facts_text, target_text
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Program
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.pieces import PIECE, piece_of


def piece_program(dtype: str, target: Target) -> Program:
    """What a momentum step over a part of a parameter compiles to."""
    weight, gradient = (
        Tensor(np.ones(70_000, np.float32)).to(dtype).realize() for _ in range(2)
    )
    ((kernel, _),) = planned([(weight * 0.9 - gradient * 0.1).node], target)
    return rest_program(kernel, target)


def rest_program(kernel: Kernel, target: Target) -> Program:
    found = piece_of(kernel)
    assert found is not None
    rest = found[0].rest
    return build(rest, choose_plan(rest, target, settings()), target)


@pytest.mark.parametrize("target", [SM_80, SM_90A], ids=["sm_80", "sm_90a"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_kernel_over_pieces_assembles(
    dtype: str, target: Target, tmp_path: Path
) -> None:
    text = target_text(piece_program(dtype, target), target, settings())
    report = assembly_report(text, target, tmp_path)
    assert "_pieces" in text
    assert spilled_bytes(report) == 0, report


def test_a_whole_piece_has_no_guards() -> None:
    emitted = emit_pieces(piece_program("float32", SM_90A), SM_90A, settings())
    assert emitted is not None
    text, launch = emitted
    whole, rest = text.split("L1:")
    assert whole.count("ld.global.nc.v4.f32") == 2
    assert "v4" not in rest
    assert launch.threads == 256


def test_other_programs_have_none() -> None:
    ((_, program),) = planned([(Tensor(np.ones(512, np.float32)) + 1).node], SM_80)
    assert emit_pieces(program, SM_80, settings()) is None
    assert emit_program(program, SM_80, settings()).launches


def test_facts_come_back_as_they_were() -> None:
    program = piece_program("float32", SM_90A)
    facts = facts_from(facts_text(target_text(program, SM_90A, settings()), program))
    assert facts.pieces is not None
    assert facts.pieces.name == f"{program.name}_pieces"
    assert (facts.slots, facts.scalars) == (3, len(program.scalars))


def test_tables_name_every_piece_once() -> None:
    counts = [PIECE + 1, 5, 2 * PIECE]
    pieces = piece_table(counts)
    assert pieces.tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1]]
    members = member_table([4, 0], counts, [10, 11, 20, 21, 30, 31], [7, 8, 9])
    rows = members[2:].reshape(3, 4)
    assert members[:2].tolist() == [4, 0]
    assert rows.tolist() == [[10, 11, 7, PIECE + 1], [20, 21, 8, 5], [30, 31, 9, 32768]]


# --- recorded launches -------------------------------------------------------------


class Recorded:
    """A graph that notes what it is told."""

    def __init__(self, context: object, record: Any) -> None:
        record()
        self.told: list[tuple[object, object]] = []
        self.launched = 0

    def update(self, node: object, call: object) -> None:
        self.told.append((node, call))

    def launch(self) -> None:
        self.launched += 1


def test_only_changed_launches_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "Graph", Recorded)
    started: list[object] = []

    def record(call: object) -> object:
        return f"node of {call}"

    device: Any = SimpleNamespace(
        context=SimpleNamespace(lock=nullcontext()),
        blaming=nullcontext,
        start=started.append,
        record=record,
        progress=SimpleNamespace(launched=lambda name: None),
    )
    programs: Any = [
        SimpleNamespace(calls=lambda cells, name=name: [f"{name}{cells}"])
        for name in "ab"
    ]
    cells = np.array([1, 2, 3], np.uint64)
    sequence = LaunchSequence(device, programs, [0, 2], cells)
    sequence()
    assert started == ["a[1, 2]", "b[3]"]
    sequence()
    graph: Any = sequence._graph
    assert (graph.launched, graph.told) == (1, [])
    cells[2] = 4
    sequence()
    sequence()
    assert graph.told == [("node of b[3]", "b[4]")]
    assert graph.launched == 3
