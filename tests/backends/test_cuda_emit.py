"""The CUDA backend's text: assembled for each target, and equal in meaning.

None of this needs a GPU. The same programs run on one in benchmarks/h200_check.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import (
    assembly_report,
    emitted,
    planned,
    spilled_bytes,
)
from tests.engine.random_graphs import GraphBuilder
from tetragrad import Tensor
from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.memory import DeviceMemory
from tetragrad.backends.cuda.target import SM_80, SM_90A, target_for
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core.errors import DeviceError, UnsupportedError
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.nn import functional
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program

TARGETS = [SM_80, SM_90A]
#: Bytes that the assembler moves to memory and back though it has registers left, with
#: a counter, in this kernel for this architecture only.
WHIMS = {("half product", "sm_100a"): 8}


def leaf(*shape: int, dtype: str = "float32") -> Tensor:
    """A tensor in memory, so that the graph starts there."""
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape)
    return Tensor(numbers.astype(np.float32)).to(getattr(tetragrad, dtype)).realize()


def attention(dtype: str) -> Tensor:
    query, key, value = (leaf(2, 64, 32, dtype=dtype) for _ in range(3))
    return functional.scaled_dot_product_attention(query, key, value)


KERNELS: dict[str, Callable[[], Tensor]] = {
    "scale": lambda: leaf(512, 512) * 2 + 1,
    "gelu": lambda: functional.gelu(leaf(512, 512, dtype="bfloat16") * 2 + 1),
    "trigonometry": lambda: leaf(100, 3).sin() + leaf(100, 3).cos(),
    "float64": lambda: (leaf(64, 9).double().exp() % 1.5).log(),
    "integers": lambda: (leaf(900) * 50).to(tetragrad.int8) // 3 % 7,
    "bools": lambda: (leaf(64, 64) > 0) & (leaf(64, 64) < 1),
    "softmax": lambda: leaf(512, 4096).softmax(1),
    "long softmax": lambda: leaf(16, 40000).softmax(1),
    "short softmax": lambda: leaf(64, 10).softmax(1),
    "half softmax": lambda: leaf(64, 1000, dtype="float16").softmax(1),
    "layer norm": lambda: functional.layer_norm(leaf(64, 768), (768,)),
    "sum": lambda: leaf(1000, 1000).sum(),
    "column sum": lambda: leaf(2048, 300).sum(0),
    "argmax": lambda: leaf(64, 100).argmax(1),
    "transpose": lambda: leaf(130, 260).T + 1,
    "half transpose": lambda: leaf(128, 256, dtype="bfloat16").T + 1,
    "pad and flip": lambda: functional.pad(leaf(30, 30).flip(1), (1, 2, 3, 1)),
    "cross entropy": lambda: functional.cross_entropy(
        leaf(64, 1000), Tensor(np.arange(64)).realize()
    ),
    "embedding": lambda: leaf(100, 16)[Tensor(np.arange(30) % 7).realize()],
    "product": lambda: leaf(256, 128) @ leaf(128, 384),
    "ragged product": lambda: leaf(130, 37) @ leaf(37, 70),
    "half product": lambda: (
        leaf(512, 512, dtype="bfloat16") @ leaf(512, 512, dtype="bfloat16")
    ),
    "transposed product": lambda: (
        leaf(256, 128, dtype="float16").T @ leaf(384, 256, dtype="float16").T
    ),
    "linear": lambda: functional.linear(
        leaf(96, 200, dtype="bfloat16"), leaf(64, 200, dtype="bfloat16")
    ).relu(),
    "convolution": lambda: functional.conv2d(leaf(2, 3, 16, 16), leaf(8, 3, 3, 3)),
    "small images": lambda: functional.conv2d(
        leaf(4, 64, 4, 4), leaf(64, 64, 3, 3), padding=1
    ),
    "attention": lambda: attention("float32"),
}


@pytest.mark.parametrize(
    ("target", "architectures"),
    # What is written for Ampere is what newer GPUs but Hopper are given.
    [(SM_80, ("sm_80", "sm_100a")), (SM_90A, ("sm_90a",))],
    ids=["sm_80", "sm_90a"],
)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_assemble_without_spills(
    name: str, target: Target, architectures: tuple[str, ...], tmp_path: Path
) -> None:
    for program in emitted(KERNELS[name](), target):
        for architecture in architectures:
            report = assembly_report(program.text, target, tmp_path, architecture)
            assert spilled_bytes(report) <= WHIMS.get((name, architecture), 0), report
            assert "warning" not in report, report


def test_half_width_products_use_the_matrix_unit() -> None:
    (program,) = emitted(KERNELS["half product"](), SM_80)
    assert program.text.count("mma.sync.aligned.m16n8k16.row.col.f32.bf16") > 0
    assert "ldmatrix.sync.aligned.m8n8.x4.trans" in program.text
    assert "cp.async.cg.shared.global" in program.text


def test_a_row_is_read_once() -> None:
    (program,) = emitted(KERNELS["softmax"](), SM_90A)
    # 4096 elements are 4 for each of 256 threads, 4 times over.
    assert program.text.count("ld.global") == 4
    assert program.launches[0].threads == 256


SMALL_KERNEL = """\
.version 7.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 dynamic_shared[];
.visible .entry map_256_0(
    .param .b64 p0,
    .param .b64 p1,
    .param .b64 p2
)
.maxntid 32, 1, 1
{
    .reg .b32 %r<6>;
    .reg .b64 %d<11>;
    .reg .f32 %f<17>;
    mov.u32 %r1, %tid.x;
    ld.param.b64 %d1, [p0];
    cvta.to.global.u64 %d2, %d1;
    ld.param.b64 %d3, [p1];
    cvta.to.global.u64 %d4, %d3;
    ld.param.b64 %d5, [p2];
    cvta.to.global.u64 %d6, %d5;
    mov.u32 %r2, %ctaid.x;
    mul.lo.s32 %r3, %r1, 4;
    mul.lo.s32 %r4, %r2, 128;
    add.s32 %r5, %r4, %r3;
    mul.wide.s32 %d7, %r5, 4;
    add.s64 %d8, %d4, %d7;
    ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%d8];
    cvt.rmi.f32.f32 %f5, %f1;
    cvt.rmi.f32.f32 %f6, %f2;
    cvt.rmi.f32.f32 %f7, %f3;
    cvt.rmi.f32.f32 %f8, %f4;
    add.s64 %d9, %d2, %d7;
    ld.global.nc.v4.f32 {%f9, %f10, %f11, %f12}, [%d9];
    mul.rn.f32 %f13, %f9, %f5;
    mul.rn.f32 %f14, %f10, %f6;
    mul.rn.f32 %f15, %f11, %f7;
    mul.rn.f32 %f16, %f12, %f8;
    add.s64 %d10, %d6, %d7;
    st.global.v4.f32 [%d10], {%f13, %f14, %f15, %f16};
    ret;
}
"""


def test_text_of_a_small_kernel() -> None:
    (program,) = emitted(leaf(256) * leaf(256).floor(), SM_80)
    assert program.text.replace("\t", "    ") == SMALL_KERNEL


@pytest.mark.parametrize("seed", range(12))
def test_plans_mean_what_the_kernels_mean(seed: int) -> None:
    nodes = GraphBuilder(seed, "reference").grow(10)
    check_meaning(planned(nodes, SM_90A), seed)


@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(33, 70, 40), (64, 128, 32), (20, 200, 65)]
)
def test_overlapped_products_mean_products(rows: int, depth: int, columns: int) -> None:
    lhs, rhs = leaf(rows, depth, dtype="float16"), leaf(depth, columns, dtype="float16")
    check_meaning(planned([(lhs @ rhs).node], SM_80), 0)


def check_meaning(programs: list[tuple], seed: int, apart: float = 1e-3) -> None:
    """The simulator of tile programs and the interpreter of kernels agree."""
    draw = np.random.default_rng(seed)
    for kernel, program in programs:
        verify_program(program)
        wanted = [
            draw.standard_normal(slot.numel).astype(slot.dtype.numpy)
            for slot in kernel.slots
        ]
        found = [buffer.copy() for buffer in wanted]
        scalars = [np.ones((), dtype.numpy) for dtype in kernel.scalars]
        run_kernel(kernel, wanted, scalars)
        run_program(program, found, scalars)
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(
                got.astype(np.float64), want.astype(np.float64), 1e-2, apart
            )


def test_unknown_architectures_are_refused() -> None:
    ((_, program),) = planned([(leaf(8) + 1).node], SM_90A)
    with pytest.raises(UnsupportedError, match="PTX for sm_12"):
        emit_program(program, Target("cuda", "sm_12"), settings())


def test_targets_by_capability() -> None:
    newest, older = target_for(9, 0, 132), target_for(8, 6, 84)
    assert newest is not None and newest.architecture == "sm_90a"
    assert older is not None and (older.architecture, older.units) == ("sm_80", 84)
    assert target_for(7, 5, 40) is None


def test_an_alias_keeps_the_memory_that_it_names() -> None:
    class Pool:
        given_back: ClassVar[list[int]] = []

        def give_back(self, nbytes: int, address: int) -> None:
            self.given_back.append(address)

    memory = DeviceMemory(Pool(), 256, 4096, since=0)
    alias = memory.alias(memory)
    del memory
    assert (alias.address, alias.nbytes) == (4096, 256)
    assert not Pool.given_back
    del alias
    assert Pool.given_back == [4096]


@pytest.mark.skipif(driver.count_devices() > 0, reason="there is a GPU here")
def test_without_a_driver_the_error_says_so() -> None:
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        Tensor([1.0], device="cuda").numpy()


def test_early_kernels_read_past_the_cache_that_nobody_keeps_up_to_date() -> None:
    x, y = (Tensor(np.ones(512, np.float32), device="reference") for _ in range(2))
    (early,) = emitted(x + y, SM_90A)
    assert early.launches[0].early
    assert "ld.global.v4.f32" in early.text and ".nc" not in early.text
    # A GPU without early launches may use it: nobody writes what a kernel reads.
    (late,) = emitted(x + y, SM_80)
    assert not late.launches[0].early and "ld.global.nc.v4.f32" in late.text
