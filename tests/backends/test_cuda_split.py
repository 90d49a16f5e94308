"""Products of float32 on a matrix unit that ignores some digits: in parts, and right.

None of this needs a GPU; benchmarks/h200_products.py runs the same kernels on one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.backends.cuda_programs import assembly_report, planned, spilled_bytes
from tests.backends.test_cuda_emit import check_meaning, leaf
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import override, settings
from tetragrad.tile.plans.roles import role_cost
from tetragrad.tile.simulator import run_program
from tetragrad.tile.text import program_text
from tetragrad.tile.verify import verify_program

#: Few multiprocessors, so that small products are worth the unit.
FEW_UNITS = replace(SM_90A, units=3)
INFINITY = np.float32(np.inf)


def product(m: int, n: int, k: int, order: str = "nt") -> Tensor:
    lhs = leaf(m, k) if order[0] == "n" else leaf(k, m).T
    rhs = leaf(k, n) if order[1] == "n" else leaf(n, k).T
    return lhs @ rhs


def computed(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """The product of a matrix and another one's rows, as the tile program has it."""
    (m, k), (n, _) = lhs.shape, rhs.shape
    ((_, program),) = planned([product(m, n, k).node], FEW_UNITS)
    assert "lhs_rest" in program_text(program)
    verify_program(program)
    result = np.full(m * n, np.nan, np.float32)
    run_program(program, [lhs.ravel(), rhs.ravel(), result], [])
    return result.reshape(m, n)


@pytest.mark.parametrize("order", ["nn", "nt", "tn", "tt"])
def test_float32_is_multiplied_in_parts(order: str, tmp_path: Path) -> None:
    """Whichever way operands lie: one that is not read along the depth is turned."""
    programs = planned([product(200, 136, 300, order).node], FEW_UNITS)
    check_meaning(programs, 0)
    ((_, program),) = programs
    assert program_text(program).count("Mma(part") == 3
    text = emit_program(program, FEW_UNITS, settings()).text
    assert "k8.f32.tf32.tf32" in text
    assert spilled_bytes(assembly_report(text, FEW_UNITS, tmp_path)) == 0


def test_parts_lose_no_digits() -> None:
    draw = np.random.default_rng(0)
    lhs, rhs = (draw.standard_normal((size, 512)) for size in (128, 64))
    lhs, rhs = lhs.astype(np.float32), rhs.astype(np.float32)
    exact = lhs.astype(np.float64) @ rhs.astype(np.float64).T
    error = np.linalg.norm(computed(lhs, rhs) - exact) / np.linalg.norm(exact)
    assert error < 3e-7


def test_parts_of_what_is_short_are_exact() -> None:
    draw = np.random.default_rng(1)
    lhs = draw.integers(-1000, 1000, (128, 256)).astype(np.float32)
    chosen = draw.integers(0, 256, 64)
    rhs = np.eye(256, dtype=np.float32)[chosen]
    np.testing.assert_array_equal(computed(lhs, rhs), lhs[:, chosen])


def test_infinities_are_those_of_ordinary_products() -> None:
    draw = np.random.default_rng(2)
    lhs, rhs = (
        draw.standard_normal((size, 256)).astype(np.float32) for size in (128, 64)
    )
    lhs[3, 7], lhs[5, 8], lhs[9, 9] = INFINITY, -INFINITY, np.nan
    lhs[11, 20] = 3e38
    # What has no digits beyond the first ones, nothing at all, much, and infinity.
    rhs[1, 7], rhs[2, 7], rhs[4, 20], rhs[6, 8] = 1.0, 0.0, 1e38, INFINITY
    with np.errstate(all="ignore"):
        wanted = lhs @ rhs.T
        found = computed(lhs, rhs)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    infinite = np.isinf(wanted)
    np.testing.assert_array_equal(found[infinite], wanted[infinite])
    np.testing.assert_allclose(found[~infinite], wanted[~infinite], 1e-4, 1e-4)


def test_shallow_products_stay_ordinary_and_short_ones_need_no_parts() -> None:
    ((_, shallow),) = planned([product(256, 256, 96).node], FEW_UNITS)
    assert "lhs_rest" not in program_text(shallow)
    with override(tf32=True):
        ((_, program),) = planned([product(256, 256, 512).node], FEW_UNITS)
    text = program_text(program)
    assert "Role(multiply" in text
    assert "lhs_rest" not in text


def convolution(what: str) -> Tensor:
    """A convolution of channels that come first, or one of its gradients."""
    image, weight = leaf(32, 32, 3, 3), leaf(32, 32, 3, 3)
    upstream = leaf(32, 32, 3, 3)
    image, weight = image.requires_grad_(), weight.requires_grad_()
    result = image.conv2d(weight, padding=1)
    if what == "result":
        return result
    result.backward(upstream)
    gradient = image.grad if what == "image" else weight.grad
    assert gradient is not None
    return gradient


@pytest.mark.parametrize("what", ["result", "image", "weight"])
def test_convolutions_of_float32_too(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Depths of several axes; images are neighbours for the weight's gradient."""
    monkeypatch.setattr(role_cost, "SCATTERED_PART", 0.001)
    programs = planned([convolution(what).node], FEW_UNITS)
    assert any("lhs_rest" in program_text(program) for _, program in programs)
    check_meaning(programs, 0)


@pytest.mark.parametrize("what", ["result", "image", "weight"])
def test_convolutions_multiply_once_where_that_is_allowed(
    what: str, tmp_path: Path
) -> None:
    """As users of PyTorch allow it, whose convolutions lose digits unless told."""
    with override(tf32=True):
        programs = planned([convolution(what).node], FEW_UNITS)
        # Sums of 288 and more products, each off by 2^-10 at most.
        check_meaning(programs, 0, 0.1)
        texts = [emit_program(entry, FEW_UNITS, settings()) for _, entry in programs]
    assert not any("lhs_rest" in program_text(program) for _, program in programs)
    assert any("k8.f32.tf32.tf32" in emitted.text for emitted in texts)
    for emitted in texts:
        report = assembly_report(emitted.text, FEW_UNITS, tmp_path)
        assert spilled_bytes(report) == 0
