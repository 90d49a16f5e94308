"""What the tests of the CUDA backend share: programs of graphs, and the assembler."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import nvidia

from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import Emitted, emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.graph.node import Node
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Program
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program

#: An instruction's name in machine code, behind its place and perhaps a predicate.
INSTRUCTION = re.compile(r"/\*[0-9a-f]+\*/ +(?:@!?U?P\w+ +)?([A-Z]\w*)")
#: Products of the matrix unit: of floats, of bytes that are floats, and of integers.
PRODUCTS = ("HGMMA", "QGMMA", "IGMMA")


def planned(nodes: Sequence[Node], target: Target) -> list[tuple[Kernel, Program]]:
    """The kernels of a graph, with their tile programs for a target."""
    _, kernels = kernels_of(without_markers(nodes), target, settings())
    return [
        (entry.kernel, build(entry.kernel, plan, target))
        for entry in kernels
        for plan in [choose_plan(entry.kernel, target, settings())]
    ]


def check_kernels(nodes: Sequence[Node], absolute: float = 1e-5) -> None:
    """Each program of a graph computes, simulated, what its kernel means."""
    draw = np.random.default_rng(0)
    for kernel, program in planned(nodes, SM_90A):
        verify_program(program)
        wanted = [
            draw.standard_normal(slot.numel).astype(slot.dtype.numpy)
            for slot in kernel.slots
        ]
        found = [buffer.copy() for buffer in wanted]
        scalars = [np.full((), 2, dtype.numpy) for dtype in kernel.scalars]
        run_kernel(kernel, wanted, scalars)
        run_program(program, found, scalars)
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want, 1e-4, absolute)


def emitted(tensor: Tensor, target: Target) -> list[Emitted]:
    """The PTX of everything that computes a tensor."""
    programs = planned([tensor.node], target)
    return [emit_program(program, target, settings()) for _, program in programs]


def ptxas() -> Path:
    """The assembler."""
    return _tool("ptxas", "nvidia-cuda-nvcc-cu12")


def _tool(name: str, wheel: str) -> Path:
    """A program that a wheel of NVIDIA's carries."""
    places = (Path(root).glob(f"*/bin/{name}") for root in nvidia.__path__)
    found = [path for place in places for path in place]
    assert found, f"pip install {wheel} (in the extra 'test')"
    return found[0]


def assembly_report(
    text: str, target: Target, folder: Path, architecture: str = ""
) -> str:
    """What the assembler says about registers, spills and mistakes.

    A newer ``architecture`` than the target's reads the same text.
    """
    source = folder / "kernel.ptx"
    source.write_text(text)
    architecture = architecture or target.architecture
    arguments = ["-v", f"-arch={architecture}", "-o", str(folder / "cubin")]
    run = subprocess.run(
        [str(ptxas()), *arguments, str(source)], capture_output=True, text=True
    )
    assert run.returncode == 0, f"{run.stderr}\n{text}"
    return run.stderr


def check_products(text: str, folder: Path) -> None:
    """In what was assembled last, each product and each copy is one instruction."""
    disassembler = _tool("nvdisasm", "nvidia-cuda-nvdisasm")
    command = [str(disassembler), "-c", str(folder / "cubin")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = Counter(INSTRUCTION.findall(run.stdout))
    products = sum(found[name] for name in PRODUCTS)
    assert products == text.count("wgmma.mma_async") > 0, found
    assert found["UTMALDG"] == text.count("cp.async.bulk.tensor"), found


def spilled_bytes(report: str) -> int:
    """Bytes that all kernels of a report move between registers and memory."""
    return sum(map(int, re.findall(r"(\d+) bytes spill", report)))
