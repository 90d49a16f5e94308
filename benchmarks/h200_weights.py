"""Time products with weights in fewer bits, made wide on their way to the matrix unit.

    python benchmarks/h200_weights.py --output results.json [--rows 1,16,64]

Weights of int8 or packed four-bit integers have a scale for each row, or for each 128
of a row; x (rows, k) in bfloat16 is multiplied by what they mean, one kernel each. The
peers get the same numbers already made wide, in bfloat16, which is what a library does
without kernels for such weights, and through PyTorch's own kernels for int8 weights
where this version has them for GPUs; the faster one counts. Timed as in
``h200_products.py``.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
from benchmarks.h200_products import (
    ROTATED_BYTES,
    Ready,
    poison,
    shown,
    times_in_turns,
)
from benchmarks.h200_timing import (
    Watchdog,
    graph_timer,
    relative_error,
    torch_timer,
    write_rows,
)
from tetragrad.backends.cuda.device import CudaDevice
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import scalar_cells, without_markers
from tetragrad.graph.leaves import Buffer
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan

GROUP = 128
KINDS = ("int8", "int8 groups", "int4 groups")


@dataclass(frozen=True)
class WeightCase:
    """x (m, k) times weights (n, k) of a kind, transposed."""

    m: int
    n: int
    k: int
    kind: str

    @property
    def name(self) -> str:
        return f"{self.m}x{self.n}x{self.k} {self.kind}"

    @property
    def operations(self) -> float:
        return 2.0 * self.m * self.n * self.k

    @property
    def groups(self) -> int:
        return self.k // GROUP if "groups" in self.kind else 1

    @property
    def is_packed(self) -> bool:
        return self.kind.startswith("int4")

    def made_wide(self, weight: Any, scale: Any, library: Any) -> Any:
        """The weights as bfloat16, in either library."""
        if self.is_packed:
            halves = library.stack([weight & 15, weight >> 4], -1)
            weight = halves.reshape(self.n, self.k).to(library.int8) - 8
        parts = weight.to(library.bfloat16).reshape(self.n, self.groups, -1)
        return (parts * scale).reshape(self.n, self.k)

    def shapes(self) -> list[tuple[tuple[int, ...], str]]:
        """What lies in memory: x, the weights, their scales."""
        packed = (self.n, self.k // 2 if self.is_packed else self.k)
        narrow = "uint8" if self.is_packed else "int8"
        return [
            ((self.m, self.k), "bfloat16"),
            (packed, narrow),
            ((self.n, self.groups, 1), "bfloat16"),
        ]


def cases(rows: list[int]) -> Iterator[WeightCase]:
    for kind, m, (n, k) in itertools.product(
        KINDS, rows, ((14336, 4096), (4096, 14336))
    ):
        yield WeightCase(m, n, k, kind)


def prepare(case: WeightCase, device: CudaDevice) -> Ready:
    """One kernel of ours, loaded."""
    leaves = [
        Buffer(object(), shape, getattr(tetragrad, dtype), "cuda")
        for shape, dtype in case.shapes()
    ]
    x, weight, scale = map(tetragrad.Tensor.from_node, leaves)
    result = x @ case.made_wide(weight, scale, tetragrad).T
    _, kernels = kernels_of(without_markers([result.node]), device.target, settings())
    (entry,) = kernels
    plan = choose_plan(entry.kernel, device.target, settings())
    program = build(entry.kernel, plan, device.target)
    code = device.assemble(device.emit(program, settings()), program)
    inputs = [leaves.index(node) for node in entry.inputs]
    return Ready(plan, device.load(code), inputs, scalar_cells(entry.scalars))


def drawn(shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "bfloat16":
        return torch.randn(shape, device="cuda").to(torch.bfloat16)
    found = torch.randint(0, 256, shape, device="cuda", dtype=torch.uint8)
    return found if dtype == "uint8" else found.view(torch.int8)


def peers(case: WeightCase, sets: list[Any], results: list[Any]) -> Iterator[Callable]:
    """What PyTorch can do, each as work over all sets of operands."""
    wide = [case.made_wide(weight, scale, torch) for _, weight, scale in sets]

    def by_wide() -> None:
        for (x, _, _), weight, result in zip(sets, wide, results, strict=True):
            torch.matmul(x, weight.T, out=result)

    yield by_wide
    if case.kind == "int8":

        def by_int8() -> None:
            for x, weight, scale in sets:
                torch._weight_int8pack_mm(x, weight, scale.reshape(-1))

        yield by_int8


def measure(
    case: WeightCase, device: CudaDevice, dog: Watchdog
) -> dict[str, Any] | None:
    nbytes = case.n * case.k * 2
    count = max(1, min(8, ROTATED_BYTES // nbytes))
    sets = [[drawn(*entry) for entry in case.shapes()] for _ in range(count)]
    results = [
        torch.empty((case.m, case.n), device="cuda", dtype=torch.bfloat16) for _ in sets
    ]
    ready = prepare(case, device)
    poison(results[0])
    torch.cuda.synchronize()
    ready.launch(sets[0], results[0])
    device.synchronize()
    x, weight, scale = sets[0]
    exact = x.double() @ case.made_wide(weight, scale, torch).double().T
    error = relative_error(results[0], exact)
    dog.progress()

    def ours() -> None:
        for operands, result in zip(sets, results, strict=True):
            ready.launch(operands, result)

    mine = graph_timer(ours, device)
    rows = []
    for peer in peers(case, sets, results):
        try:
            their = torch_timer(peer)
        except (RuntimeError, NotImplementedError) as problem:
            print(f"{case.name}: {peer.__name__}: {str(problem)[:80]}")
            continue
        row = {
            "case": case.name,
            "plan": shown(ready.plan),
            "error": error,
            "peer": peer.__name__,
        }
        rows += times_in_turns([row], [mine, their], count, dog)
    row = min(rows, key=lambda entry: entry["ratio"])
    read = case.n * case.k * (0.5 if case.is_packed else 1)
    row["gigabytes"] = read / row["microseconds"] / 1e3
    print(
        f"{case.name:<30} {row['plan']:<44} {row['microseconds']:7.1f} us "
        f"{row['gigabytes']:6.0f} GB/s  {row['torch']:7.1f} {row['peer']:<8} "
        f"{row['ratio']:5.2f}  {row['error']:.1e}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--rows", default="1,4,16,64,256,4096")
    arguments = parser.parse_args()
    torch.cuda.init()
    torch.manual_seed(0)
    device, dog = CudaDevice("cuda"), Watchdog()
    found = []
    with override(device="cuda"):
        for case in cases([int(rows) for rows in arguments.rows.split(",")]):
            try:
                found.append(measure(case, device, dog))
            except Exception as problem:
                print(f"{case.name}: {type(problem).__name__}: {problem}"[:400])
                if "cu" in str(problem) and "gave" in str(problem):
                    break
            write_rows(arguments.output, found)


if __name__ == "__main__":
    main()
