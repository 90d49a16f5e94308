"""Compare the CUDA backend with the reference: random graphs, then ops by dtype.

    python benchmarks/h200_check.py --graphs 200

Needs a GPU, so it is not part of the test suite. Prints what differs, then a count.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
from tests.engine.random_graphs import GraphBuilder
from tetragrad.backends.reference.graph import evaluate
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device, read_buffer, realize, without_markers
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.text import program_text

Case = tuple[str, Callable[[str], tetragrad.Tensor], float]

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64", "uint32")
UNARY = ("exp", "log", "sqrt", "sin", "cos", "tanh", "erf", "floor", "abs", "relu")
TOLERANCES = {"float32": 4e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 2e-2}


def random_graph(seed: int) -> None:
    """One random graph, compared with the interpreter of graphs."""
    with override(device="cuda"):
        outputs = GraphBuilder(seed, "cuda").grow(14)
        wanted = evaluate(outputs, read_buffer)
        found = [read_buffer(buffer) for buffer in realize(outputs)]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def random_kernels(seed: int) -> None:
    """Every kernel of a random graph on random buffers, against its interpreter."""
    with override(device="cuda"):
        on, active = device("cuda"), settings()
        nodes = without_markers(GraphBuilder(seed, "reference").grow(14))
        _, kernels = kernels_of(nodes, on.target, active)
    draw = np.random.default_rng(seed)
    for kernel in {entry.kernel for entry in kernels}:
        program = build(kernel, choose_plan(kernel, on.target, active), on.target)
        buffers = [
            draw.standard_normal(slot.numel).astype(slot.dtype.numpy)
            for slot in kernel.slots
        ]
        cells = np.full(max(1, len(kernel.scalars)), 0.5, np.float32).astype(np.uint64)
        scalars = [
            np.frombuffer(cells[n : n + 1].tobytes(), dtype.numpy)[0]
            for n, dtype in enumerate(kernel.scalars)
        ]
        memory = [on.allocate(buffer.nbytes) for buffer in buffers]
        for block, buffer in zip(memory, buffers, strict=True):
            on.copy_in(block, buffer)
        executable = on.load(on.assemble(on.emit(program, active), program))
        addresses = [block.address for block in memory]
        addresses += [cells.ctypes.data + 8 * n for n in range(len(kernel.scalars))]
        executable.launch(addresses)
        run_kernel(kernel, buffers, scalars)
        for number, (block, want) in enumerate(zip(memory, buffers, strict=True)):
            got = on.copy_out(block, want.shape, kernel.slots[number].dtype)
            message = f"slot {number} of\n{program_text(program)}"
            np.testing.assert_allclose(got, want, 2e-4, 2e-4, err_msg=message)


def values(shape: tuple[int, ...], dtype: str, device: str) -> tetragrad.Tensor:
    """The same random numbers on every device."""
    draw = np.random.default_rng(sum(shape))
    if dtype in INTEGERS:
        numbers = draw.integers(0 if dtype[0] == "u" else -60, 60, shape)
    else:
        numbers = draw.standard_normal(shape) * 3
    tensor = tetragrad.Tensor(numbers, device=device)
    return tensor.to(getattr(tetragrad, dtype))


def cases() -> Iterator[Case]:
    """Name, the computation on a device, and the tolerance."""
    for dtype in FLOATS:
        tolerance = TOLERANCES[dtype]
        for name in UNARY:
            yield (
                f"{name} {dtype}",
                lambda device, name=name, dtype=dtype: getattr(
                    values((37, 129), dtype, device), name
                )(),
                tolerance,
            )
        yield from binary_cases(dtype, tolerance)
        yield from row_cases(dtype, 8 * tolerance)
    for dtype in INTEGERS:
        yield from binary_cases(dtype, 0.0)
        yield (
            f"sum {dtype}",
            lambda device, dtype=dtype: values((9, 300), dtype, device).sum(1),
            0.0,
        )
    for source in (*FLOATS, *INTEGERS, "bool"):
        for target in (*FLOATS, *INTEGERS, "bool"):
            yield (
                f"cast {source} to {target}",
                lambda device, source=source, target=target: (
                    values((65, 33), "int8" if source == "bool" else source, device)
                    .to(getattr(tetragrad, source))
                    .to(getattr(tetragrad, target))
                ),
                1e-6,
            )


def binary_cases(dtype: str, tolerance: float) -> Iterator[Case]:
    """Arithmetic of two operands, one of them broadcast."""
    for name in ("add", "sub", "mul", "maximum", "floor_divide", "remainder", "lt"):
        yield (
            f"{name} {dtype}",
            lambda device, name=name: getattr(values((37, 129), dtype, device), name)(
                values((129,), dtype, device)
            ),
            tolerance,
        )


def row_cases(dtype: str, tolerance: float) -> Iterator[Case]:
    """Reductions, rows, transpositions and products."""
    for shape in ((3, 5), (64, 1000), (7, 4096), (2, 40000), (300, 129)):
        for name, compute in ROWS.items():
            yield (
                f"{name} {dtype} {shape}",
                lambda device, shape=shape, compute=compute: compute(
                    values(shape, dtype, device)
                ),
                tolerance,
            )
    for m, n, k in PRODUCTS:
        yield (
            f"matmul {dtype} {m}x{n}x{k}",
            lambda device, m=m, n=n, k=k: (
                values((m, k), dtype, device) @ values((k, n), dtype, device)
            ),
            30 * tolerance,
        )


PRODUCTS = (
    (5, 7, 3),
    (64, 64, 64),
    (130, 70, 200),
    (257, 100, 33),
    (300, 264, 136),
    (128, 128, 1024),
)

ROWS: dict[str, Callable[[tetragrad.Tensor], tetragrad.Tensor]] = {
    "sum": lambda x: x.sum(),
    "sum0": lambda x: x.sum(0),
    "sum1": lambda x: x.sum(1),
    "max1": lambda x: x.amax(1),
    "argmax": lambda x: x.argmax(1),
    "mean0": lambda x: x.mean(0),
    "softmax": lambda x: x.softmax(1),
    "softmax0": lambda x: x.softmax(0),
    "log_softmax": lambda x: x.log_softmax(1),
    "transpose": lambda x: x.T + 1,
    "pad": lambda x: tetragrad.nn.functional.pad(x, (1, 2, 3, 1)) * 2,
    "flip": lambda x: x.flip(1) + x,
    "var": lambda x: x.var(1),
}


def compare(case: Case) -> None:
    """Run one case on the GPU and on the reference."""
    _, compute, tolerance = case
    got = as_float64(compute("cuda"))
    want = as_float64(compute("reference"))
    scale = np.maximum(np.abs(want), 1.0) if tolerance else 1.0
    # Infinities and NaN must be equal.
    with np.errstate(all="ignore"):
        close = (np.abs(got - want) <= tolerance * scale) | (got == want)
    close |= np.isnan(got) & np.isnan(want)
    if not close.all():
        place = np.argwhere(~close)[0]
        raise AssertionError(
            f"{(~close).sum()} of {close.size} differ, first at {place}: "
            f"{got[tuple(place)]} for {want[tuple(place)]}"
        )


def as_float64(tensor: tetragrad.Tensor) -> np.ndarray:
    return np.asarray(tensor.numpy()).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    checks: list[tuple[str, Callable[[], None]]] = [
        (f"graph {seed}", lambda seed=seed: random_graph(seed))
        for seed in range(arguments.graphs)
    ]
    checks += [
        (f"kernels of graph {seed}", lambda seed=seed: random_kernels(seed))
        for seed in range(arguments.graphs)
    ]
    checks += [(case[0], lambda case=case: compare(case)) for case in cases()]
    wrong = 0
    checks = [entry for entry in checks if arguments.only in entry[0]]
    for name, check in checks:
        try:
            check()
        except Exception as error:
            wrong += 1
            lines = str(error).strip().splitlines()
            frame = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{name}: {type(error).__name__}: {' '.join(lines)[:1500]}")
            print(f"    {frame.filename}:{frame.lineno}", flush=True)
    print(f"{len(checks) - wrong} of {len(checks)} agree with the reference")


if __name__ == "__main__":
    main()
