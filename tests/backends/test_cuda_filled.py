"""Operands of products that threads compute into shared memory.

None of this needs a GPU; benchmarks/h200_weights.py and h200_convolutions.py run the
same kernels on one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import (
    assembly_report,
    emitted,
    planned,
    spilled_bytes,
)
from tests.backends.test_cuda_convolutions import convolution, half, large
from tests.backends.test_cuda_emit import check_meaning, leaf
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.division import quotient, remainder
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes
from tetragrad.graph.leaves import Buffer
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Program, Space, Tile
from tetragrad.tile.layout import offsets, swizzled
from tetragrad.tile.plans.build import Plan, build
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.products.contraction import hosted_contraction
from tetragrad.tile.plans.roles.choose_roles import role_plans
from tetragrad.tile.text import program_text

FEW_UNITS = replace(SM_90A, units=3)
Make = Callable[..., Tensor]


def unseen(*shape: int, dtype: str = "bfloat16") -> Tensor:
    """A leaf of which nothing is computed, so that it may be large."""
    return Tensor.from_node(Buffer(object(), shape, getattr(dtypes, dtype), "cuda"))


def narrow_weights(make: Make, m: int, n: int, k: int, order: str = "t") -> Tensor:
    """A product with weights of int8, a scale for each of their rows."""
    x, scale = make(m, k, dtype="bfloat16"), make(n, 1, dtype="bfloat16")
    stored = make(n, k, dtype="int8") if order == "t" else make(k, n, dtype="int8").T
    return x @ (stored.to(tetragrad.bfloat16) * scale).T


def grouped_weights(make: Make, m: int, n: int, k: int, group: int = 64) -> Tensor:
    """The same with a scale for each group of neighbours."""
    x, weight = make(m, k, dtype="bfloat16"), make(n, k, dtype="int8")
    wide = weight.to(tetragrad.bfloat16).reshape(n, k // group, group)
    wide = wide * make(n, k // group, 1, dtype="bfloat16")
    return x @ wide.reshape(n, k).T


def packed_weights(make: Make, m: int, n: int, k: int, group: int = 64) -> Tensor:
    """Two weights of four bits in each byte."""
    x, weight = make(m, k, dtype="bfloat16"), make(n, k // 2, dtype="uint8")
    halves = tetragrad.stack([weight & 15, weight >> 4], -1).reshape(n, k)
    wide = (halves.to(tetragrad.int8) - 8).to(tetragrad.bfloat16)
    wide = wide.reshape(n, k // group, group)
    wide = wide * make(n, k // group, 1, dtype="bfloat16")
    return x @ wide.reshape(n, k).T


def filled_program(kernel: Kernel, target=SM_90A, *, held: bool = False) -> Program:
    """The best program in which threads compute an operand, nothing stored first."""
    kernel = simplify_axes(kernel)
    contraction = hosted_contraction(kernel, guarded=True)
    assert contraction is not None
    found = [
        entry
        for entry in role_plans(kernel, contraction, target)
        if any(entry[1].filled) and entry[1].held is held
    ]
    assert found, "there are such plans"
    _, plan = min(found, key=lambda entry: entry[0])
    return build(kernel, Plan((), ((plan,),)), target)


FILLED = {
    "weights": lambda: narrow_weights(leaf, 8, 200, 144),
    "weights the other way": lambda: narrow_weights(leaf, 24, 136, 72, "n"),
    "many rows": lambda: narrow_weights(leaf, 200, 72, 208),
    "groups": lambda: grouped_weights(leaf, 16, 72, 256),
    "half bytes": lambda: packed_weights(leaf, 16, 72, 256),
    "rows begin anywhere": lambda: (
        leaf(77, 111, dtype="float16") @ leaf(35, 111, dtype="float16").T
    ),
    "columns begin anywhere": lambda: (
        leaf(111, 77, dtype="bfloat16").T @ leaf(111, 133, dtype="bfloat16")
    ),
    "scaled": lambda: (
        (leaf(40, 72, dtype="bfloat16") * 2.0).relu() @ leaf(72, 64, dtype="bfloat16")
    ),
    "three channels": lambda: convolution("result", (2, 3, 16, 64, 7, 2, 3), make=half),
    "their weight": lambda: convolution("weight", (2, 3, 16, 64, 7, 2, 3), make=half),
    "their input": lambda: convolution("input", (2, 3, 16, 64, 7, 2, 3), make=half),
}


@pytest.mark.parametrize("target", [SM_90A, FEW_UNITS], ids=["many", "few"])
@pytest.mark.parametrize("name", FILLED)
def test_threads_compute_operands(name: str, target) -> None:
    (*_, (kernel, _)) = planned([FILLED[name]().node], target)
    program = filled_program(kernel, target)
    assert "Role(fill" in program_text(program)
    assert not program.scratch
    check_meaning([(kernel, program)], 0)


HELD = ("weights", "many rows", "groups")


@pytest.mark.parametrize("target", [SM_90A, FEW_UNITS], ids=["many", "few"])
@pytest.mark.parametrize("name", HELD)
def test_members_compute_operands_in_registers(name: str, target) -> None:
    (*_, (kernel, _)) = planned([FILLED[name]().node], target)
    program = filled_program(kernel, target, held=True)
    assert "Map(held" in program_text(program)
    check_meaning([(kernel, program)], 0)


@pytest.mark.parametrize("nbytes", [64, 128])
def test_fragments_are_read_from_different_banks(nbytes: int) -> None:
    """A warp reads two neighbours in each of eight rows, four threads in each."""
    dtype = dtypes.int8
    layout = swizzled((nbytes, 64), 0, dtype, nbytes)
    tile = Tile("tile", (nbytes, 64), dtype, Space.SHARED, layout)
    for first in range(0, nbytes, 8):
        step, row = np.meshgrid(first + 2 * np.arange(4), np.arange(8))
        banks = offsets(tile, (step, row)) // 4 % 32
        pairs = {
            (int(bank), int(line))
            for bank, line in zip(
                banks.ravel(), (offsets(tile, (step, row)) // 4).ravel(), strict=True
            )
        }
        assert len({bank for bank, _ in pairs}) == len(pairs) == 16


LARGE = {
    "groups": lambda: grouped_weights(unseen, 4, 4096, 4096),
    "few rows": lambda: narrow_weights(unseen, 16, 14336, 4096),
    "many rows": lambda: narrow_weights(unseen, 512, 14336, 4096),
    "the other way": lambda: narrow_weights(unseen, 64, 4096, 4096, "n"),
    "half bytes": lambda: packed_weights(unseen, 16, 14336, 4096),
    "first layer": lambda: convolution("result", (64, 3, 224, 64, 7, 2, 3), make=large),
    "its weight": lambda: convolution("weight", (64, 3, 224, 64, 7, 2, 3), make=large),
    "its input": lambda: convolution("input", (64, 3, 224, 64, 7, 2, 3), make=large),
}


@pytest.mark.parametrize("name", LARGE)
def test_filled_products_assemble(name: str, tmp_path: Path) -> None:
    (program, *_) = emitted(LARGE[name](), SM_90A)
    report = assembly_report(program.text, SM_90A, tmp_path)
    assert spilled_bytes(report) == 0, report
    assert "warning" not in report and "serialized" not in report, report
    assert "wgmma.mma_async" in program.text


def test_narrow_weights_arrive_in_boxes() -> None:
    """Nothing wide is stored in memory, and the engine brings the bytes."""
    ((_, program),) = planned([narrow_weights(unseen, 16, 14336, 4096).node], SM_90A)
    text = program_text(program)
    # Sums of parts of the depth may be stored, but no weights.
    assert all(tile.dtype is dtypes.float32 for tile in program.scratch)
    assert "Copy(narrow_lhs = s1" in text
    assert "Map(held[" in text
    assert "Role(fill" not in text


# --- divisions -----------------------------------------------------------------------


def run(lines: list[str], number: int) -> int:
    """What a few instructions make of a number in ``%n``."""
    registers = {"%n": number}

    def value(text: str) -> int:
        return registers[text] if text in registers else int(text)

    result = number
    for line in lines:
        name, operands = line.strip().rstrip(";").split(" ", 1)
        target, *inputs = (text.strip() for text in operands.split(","))
        first, *others = map(value, inputs)
        match name:
            case "shr.u32":
                result = first >> others[0]
            case "and.b32":
                result = first & others[0]
            case "mul.hi.u32":
                assert others[0] < 1 << 32
                result = first * others[0] >> 32
            case "mad.lo.s32":
                result = first * others[0] + others[1]
            case _:
                raise AssertionError(name)
        registers[target] = result
    return result


def test_indices_are_divided_exactly() -> None:
    draw = np.random.default_rng(0)
    divisors = [*range(1, 200), *map(int, draw.integers(200, 1 << 31, 200))]
    for divisor in [*divisors, (1 << 31) - 1, 1 << 30]:
        near = [divisor * factor + shift for factor in (1, 2, 7) for shift in (-1, 0)]
        far = [(1 << 31) - 1, *map(int, draw.integers(0, 1 << 31, 20))]
        for number in (entry for entry in (*near, *far) if entry < 1 << 31):
            for function, wanted in (
                (quotient, number // divisor),
                (remainder, number % divisor),
            ):
                builder = Builder()
                text = function(builder, "%n", divisor)
                found = run(builder.lines, number) if text != "%n" else number
                assert found == wanted, (number, divisor)
