"""Products of float32 in patches: their meaning, and how they are assembled.

None of this needs a GPU; benchmarks/h200_products.py runs the same kernels on one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.backends.cuda_programs import assembly_report, planned, spilled_bytes
from tests.backends.test_cuda_emit import check_meaning, leaf
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.patches import (
    EACH,
    LANES_ACROSS,
    LANES_DOWN,
    SIDE,
    THREADS,
    WARPS_ACROSS,
    WARPS_DOWN,
    positions,
)
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import settings

#: Few multiprocessors, so that small products have a block for each.
FEW_UNITS = replace(SM_90A, units=3)


def product(m: int, n: int, k: int, order: str) -> Tensor:
    lhs = leaf(m, k) if order[0] == "n" else leaf(k, m).T
    rhs = leaf(k, n) if order[1] == "n" else leaf(n, k).T
    return lhs @ rhs


@pytest.mark.parametrize("order", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("shape", [(256, 256, 64), (200, 300, 48)])
def test_patches_compute_products(
    order: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    programs = planned([product(*shape, order).node], FEW_UNITS)
    check_meaning(programs, 0)
    text = "".join(
        emit_program(program, FEW_UNITS, settings()).text for _, program in programs
    )
    report = assembly_report(text, FEW_UNITS, tmp_path)
    # Guards on words that are turned around on their way cost a few registers.
    assert spilled_bytes(report) <= (0 if shape[0] % SIDE == 0 else 128), report
    # Every step of the depth is 64 products a thread, written out for a whole step.
    assert text.count("fma.rn.f32") >= EACH * EACH * 16
    assert "ld.shared.v4.f32" in text
    assert "cp.async" in text


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("lanes", "warps"), [(LANES_DOWN, WARPS_DOWN), (LANES_ACROSS, WARPS_ACROSS)]
)
def test_every_position_is_some_thread_s(deep: bool, lanes: int, warps: int) -> None:
    step = 1 if deep else 4
    found = [
        warp * lanes * EACH + lane * step + position
        for warp in range(warps)
        for lane in range(lanes)
        for position in positions(lanes, deep=deep)
    ]
    assert sorted(found) == list(range(SIDE))
    assert LANES_DOWN * LANES_ACROSS * WARPS_DOWN * WARPS_ACROSS == THREADS
