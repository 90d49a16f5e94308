"""Stores of a few narrow lanes leave their neighbours alone.

LLVM 22 makes one store of a masked store of which it knows that one lane is set, and
for AVX-512 takes the elements to be as wide as what they were cut off from.
"""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor, dtype
from tetragrad.backends.cpu import compiler
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.emit.program import emit
from tetragrad.backends.cpu.target import make_target
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Compute, Load
from tetragrad.kernel.ir import Slot
from tetragrad.tile.ir import Grid, Program, Store

AVX512 = Processor(
    "x86_64-unknown-linux-gnu",
    "cascadelake",
    ("+avx512f", "+avx512bw", "+avx512vl", "+avx512dq"),
)


@pytest.mark.parametrize("to", [dtypes.int16, dtypes.int8], ids=str)
def test_the_assembled_store_is_as_wide_as_the_element(to: dtype) -> None:
    lane = axis_form(0)
    load = Load(0, lane, (), dtypes.int32)
    only_first = (Affine(0, ((0, -1),)),)
    store = Store(((0, 16),), 1, lane, Compute(Cast, to, (load,)), only_first)
    slots = Slot(dtypes.int32, 16), Slot(to, 16)
    program = Program("p", slots, (), (), (Grid((), (store,)),), frozenset({1}))
    text = emit(program, make_target(AVX512, units=1), settings())
    assembly = compiler.disassemble(text, AVX512)
    assert "vmovss" not in assembly and "movl\t%eax, (" not in assembly, assembly


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int16", "uint8", "int32"])
@pytest.mark.parametrize("columns", [1, 17, 33])
def test_rows_that_threads_write_side_by_side(name: str, columns: int) -> None:
    wide = "int64" if name == "int32" else "int32"
    rng = np.random.default_rng(columns)
    values = rng.integers(-100, 100, (2, 64, columns))
    source = Tensor(values).to("float32" if name == "bfloat16" else wide)
    wanted = (values + values[:, :1]).astype(np.int64)
    for _ in range(20):
        got = (source + source[:, :1]).to(name).to("int64").numpy()
        rounded = (
            wanted.astype(np.uint8).astype(np.int64) if name == "uint8" else wanted
        )
        if name == "int8":
            rounded = wanted if name == "bfloat16" else wanted.astype(name)
        np.testing.assert_array_equal(got, rounded)
