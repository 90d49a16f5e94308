"""Check and time products on the CUDA backend against PyTorch, case by case.

    python benchmarks/h200_products.py --output results.json [--only 4096] [--variants]

Each case is one kernel. It runs on the very memory that PyTorch's product reads, first
on poisoned results, which are compared with a product in float64. Then both are timed
in turns: several launches recorded as one CUDA graph, over so many sets of operands
that they do not fit into the second-level cache, seven times each; the medians count.
PyTorch writes into a given result where it can. ``--variants`` also times other plans
than the one chosen, ``--best 8`` the eight that the model likes best, ``--sweep`` takes
random sizes, ``--cases`` those whose names are given. The process ends when nothing has
happened for a minute.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
import tetragrad.nn.functional as ours
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
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import Plan, build, cut_kernel
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.products.contraction import hosted_contraction
from tetragrad.tile.plans.roles.choose_roles import role_plans
from tetragrad.tile.plans.roles.repack import Repack
from tetragrad.tile.plans.roles.role_plan import RolePlan

theirs = torch.nn.functional

ROUNDS = 7
SECONDS = 0.02
#: Operands are rotated through so many bytes: several times the second-level cache.
ROTATED_BYTES = 256 << 20
FINISHES: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "": (0, lambda p: p, lambda p: p),
    "bias": (1, lambda p, b: p + b, lambda p, b: p + b),
    "bias gelu": (1, lambda p, b: ours.gelu(p + b), lambda p, b: theirs.gelu(p + b)),
    "residual": (2, lambda p, r: p + r, lambda p, r: p + r),
}


@dataclass(frozen=True)
class Case:
    """A product of (m, k) by (k, n): how each operand lies, and what follows."""

    m: int
    n: int
    k: int
    order: str = "nn"
    dtype: str = "bfloat16"
    finish: str = ""
    batch: int = 0
    tf32: bool = False

    @property
    def name(self) -> str:
        batch = f"{self.batch}x" if self.batch else ""
        finish = f" {self.finish}" if self.finish else ""
        dtype = "tf32" if self.tf32 else self.dtype
        return f"{batch}{self.m}x{self.n}x{self.k} {self.order} {dtype}{finish}"

    @property
    def is_scaled(self) -> bool:
        """Whether PyTorch has a function of its own for such narrow operands."""
        return self.dtype.startswith("float8")

    @property
    def result_dtype(self) -> str:
        if self.dtype == "int8":
            return "int32"
        return "bfloat16" if self.is_scaled else self.dtype

    @property
    def operations(self) -> float:
        return 2.0 * self.m * self.n * self.k * max(1, self.batch)

    def shapes(self) -> list[tuple[int, ...]]:
        """How the operands lie in memory, then what the finish reads."""
        lead = (self.batch,) if self.batch else ()
        lhs = (self.m, self.k) if self.order[0] == "n" else (self.k, self.m)
        rhs = (self.k, self.n) if self.order[1] == "n" else (self.n, self.k)
        more = [(), (self.n,), (*lead, self.m, self.n)][FINISHES[self.finish][0]]
        return [(*lead, *lhs), (*lead, *rhs)] + ([more] if more else [])

    def operands(self, lhs: Any, rhs: Any) -> tuple[Any, Any]:
        """The operands as (m, k) and (k, n), in either library."""
        lhs = lhs if self.order[0] == "n" else lhs.transpose(-2, -1)
        return lhs, rhs if self.order[1] == "n" else rhs.transpose(-2, -1)

    def our_result(self, lhs: Any, rhs: Any, *more: Any) -> Any:
        lhs, rhs = self.operands(lhs, rhs)
        if self.is_scaled:
            wide = lhs.to(tetragrad.float32) @ rhs.to(tetragrad.float32)
            return wide.to(tetragrad.bfloat16)
        if self.dtype == "int8":
            return lhs.to(tetragrad.int32) @ rhs.to(tetragrad.int32)
        return FINISHES[self.finish][1](lhs @ rhs, *more)

    def their_result(self, lhs: Any, rhs: Any, *more: Any) -> Any:
        lhs, rhs = self.operands(lhs, rhs)
        if lhs.dtype is torch.float8_e4m3fn:
            one = torch.ones((), device="cuda")
            return torch._scaled_mm(lhs, rhs, one, one, out_dtype=torch.bfloat16)
        if lhs.dtype is torch.int8:
            return torch._int_mm(lhs, rhs)
        if self.finish.startswith("bias") and not self.batch:
            # The library's own way: the bias is part of the product.
            return FINISHES[self.finish][2](theirs.linear(lhs, rhs.T, more[0]), 0)
        return FINISHES[self.finish][2](lhs @ rhs, *more)


def cases() -> Iterator[Case]:
    """What the targets name; transpositions, ragged, skinny, deep and batched."""
    for dtype in ("bfloat16", "float16"):
        for order in ("nn", "nt", "tn", "tt"):
            yield Case(4096, 4096, 4096, order, dtype)
        yield Case(8192, 8192, 8192, "nt", dtype)
        yield Case(2048, 2048, 2048, "nt", dtype)
    yield Case(8192, 8192, 1024, "nt")
    yield Case(8192, 8192, 8192, "nn")
    yield Case(6144, 4096, 8192, "nt")
    yield Case(8192, 14336, 4096, "nt", finish="bias gelu")
    yield Case(4096, 4096, 4096, "nt", finish="bias")
    yield Case(4096, 4096, 4096, "nt", finish="residual")
    yield Case(4000, 4104, 1000, "nn")
    yield Case(1000, 3000, 520, "nt")
    yield Case(5000, 5000, 5000, "nn")
    yield Case(333, 1111, 777, "nn")
    yield Case(1024, 1024, 64, "nt")
    yield Case(512, 512, 65536, "nt")
    yield Case(1024, 1024, 1024, "nn")
    for size in (2048, 4096):
        yield Case(size, size, size, "nn", "float32")
    for order in ("nt", "tn", "tt"):
        yield Case(4096, 4096, 4096, order, "float32")
    yield Case(4000, 3000, 2000, "nn", "float32")
    for size in (4096, 8192):
        yield Case(size, size, size, "nt", "float8_e4m3fn")
        yield Case(size, size, size, "nt", "int8")
        yield Case(size, size, size, "nt", "float32", tf32=True)
    for rows in (4, 16, 64):
        yield Case(rows, 14336, 4096, "nt")
    yield Case(512, 512, 256, "nn", batch=64)
    yield Case(4096, 128, 4096, "nn", batch=16)


def named_cases(names: str) -> Iterator[Case]:
    """The cases with these names, as the tables show them."""
    for name in names.split(","):
        sizes, order, dtype, *finish = name.split()
        *batch, m, n, k = map(int, sizes.split("x"))
        tf32 = dtype == "tf32"
        yield Case(
            m,
            n,
            k,
            order,
            "float32" if tf32 else dtype,
            " ".join(finish),
            batch[0] if batch else 0,
            tf32,
        )


def random_cases(count: int) -> Iterator[Case]:
    """Sizes that are multiples of nothing, or of 8, in any order; some batched."""
    draw = random.Random(0)

    def size(most: int) -> int:
        found = int(2 ** draw.uniform(3, math.log2(most)))
        return found if draw.random() < 0.4 else -(-found // 8) * 8

    for _ in range(count):
        batch = draw.choice((0, 0, 0, 2, 5))
        most = 2048 if batch else 8192
        finish = draw.choice(("", "", "residual", "bias gelu"))
        yield Case(
            size(most),
            size(most),
            size(most),
            draw.choice(("nn", "nt", "tn", "tt")),
            draw.choice(("bfloat16", "float16")),
            finish,
            batch,
        )


# --- our kernels ---------------------------------------------------------------------


@dataclass
class Ready:
    """A case as one loaded program: its plan, and which argument fills each slot."""

    plan: Plan
    executable: Any
    inputs: list[int]
    scalars: Any

    def launch(self, operands: list[Any], result: Any) -> None:
        addresses = [operands[number].data_ptr() for number in self.inputs]
        addresses.append(result.data_ptr())
        count = self.executable.facts.scalars
        addresses += [self.scalars.ctypes.data + 8 * slot for slot in range(count)]
        self.executable.launch(addresses)


def lowered(case: Case, device: CudaDevice) -> tuple[Any, list[int], Any]:
    """The case's kernel, the argument that each input is, and the scalars."""
    dtype = getattr(tetragrad, case.dtype)
    leaves = [Buffer(object(), shape, dtype, "cuda") for shape in case.shapes()]
    tensors = [tetragrad.Tensor.from_node(leaf) for leaf in leaves]
    result = case.our_result(*tensors)
    _, kernels = kernels_of(without_markers([result.node]), device.target, settings())
    (entry,) = kernels
    inputs = [leaves.index(node) for node in entry.inputs]
    return entry.kernel, inputs, scalar_cells(entry.scalars)


def prepare(case: Case, device: CudaDevice, change: dict[str, int]) -> Ready:
    """Plan, emit, assemble and load; ``change`` replaces parts of the plan."""
    kernel, inputs, scalars = lowered(case, device)
    plan = choose_plan(kernel, device.target, settings())
    if change:
        plan = changed_plan(plan, kernel, device, change)
    program = build(kernel, plan, device.target)
    code = device.assemble(device.emit(program, settings()), program)
    return Ready(plan, device.load(code), inputs, scalars)


def changed_plan(
    plan: Plan, kernel: Kernel, device: CudaDevice, change: dict[str, int]
) -> Plan:
    """The model's best plan with these sizes; a group needs none to agree with it."""
    place = len(plan.stages) - (2 if parts_of(plan) else 1)
    product = cut_kernel(kernel, plan.cuts)[place]
    contraction = hosted_contraction(product, guarded=True)
    fixed = {name: size for name, size in change.items() if name != "group"}
    candidates = [
        entry
        for entry in role_plans(product, contraction, device.target)
        if all(getattr(entry[1], name) == size for name, size in fixed.items())
    ]
    _, grid = min(candidates, key=lambda entry: entry[0])
    if "group" in change:
        grid = replace(grid, group=change["group"])
    stages = list(plan.stages)
    stages[place] = (grid,)
    return replace(plan, stages=tuple(stages))


def best_changes(case: Case, count: int, device: CudaDevice) -> list[dict[str, int]]:
    """The sizes of the plans that the model likes best, the chosen one first."""
    kernel, _, _ = lowered(case, device)
    plan = choose_plan(kernel, device.target, settings())
    first = cut_kernel(kernel, plan.cuts)[-1 if not parts_of(plan) else -2]
    contraction = hosted_contraction(first, guarded=True)
    if contraction is None:
        return [{}]
    target = device.target
    if case.tf32:
        target = replace(target, features=target.features | {"tf32"})
    found = sorted(role_plans(first, contraction, target), key=lambda entry: entry[0])
    changes: list[dict[str, int]] = []
    for _, grid in found:
        names = ("rows", "columns", "cluster", "swap")
        change = {name: getattr(grid, name) for name in names}
        if change not in changes:
            changes.append(change)
    return changes[:count]


def parts_of(plan: Plan) -> bool:
    """Whether the depth is cut into parts that are added up in the end."""
    return any(not isinstance(cut, Repack) for cut in plan.cuts)


def shown(plan: Plan) -> str:
    """The sizes of a plan."""
    grids = [grid for stage in plan.stages for grid in stage]
    grid = next((entry for entry in grids if isinstance(entry, RolePlan)), grids[-1])
    if not isinstance(grid, RolePlan):
        return type(grid).__name__
    parts = "".join(
        " copy" if isinstance(cut, Repack) else f" parts {cut.parts}"
        for cut in plan.cuts
    )
    swap = " swap" if grid.swap else ""
    return (
        f"{grid.rows}x{grid.columns} m{grid.members} s{grid.stages} g{grid.group} "
        f"p{grid.piece} w{grid.workers}x{grid.cluster}{swap}{parts}"
    )


# --- measuring -----------------------------------------------------------------------


@dataclass
class Data:
    """Sets of operands and results, the same for both libraries."""

    operands: list[list[Any]]
    results: list[Any]

    @classmethod
    def of(cls, case: Case) -> Data:
        dtype = getattr(torch, case.dtype)
        lead = (case.batch,) if case.batch else ()
        shapes = [*case.shapes(), (*lead, case.m, case.n)]
        size = max(2, dtype.itemsize)
        nbytes = size * sum(torch.Size(shape).numel() for shape in shapes)
        count = max(1, min(16, ROTATED_BYTES // nbytes))
        sets = [[drawn(shape, dtype) for shape in shapes[:-1]] for _ in range(count)]
        made = getattr(torch, case.result_dtype)
        results = [torch.empty(shapes[-1], device="cuda", dtype=made) for _ in sets]
        return cls(sets, results)


def drawn(shape: tuple[int, ...], dtype: Any) -> Any:
    """Random normal numbers, or integers of every size."""
    if dtype is torch.int8:
        return torch.randint(-128, 128, shape, device="cuda", dtype=dtype)
    return torch.randn(shape, device="cuda").to(dtype)


def poison(result: Any) -> None:
    """Fill a result with what no product gives."""
    result.fill_(float("nan") if result.is_floating_point() else -1)


def check(case: Case, data: Data, ready: Ready, device: CudaDevice) -> float:
    """Our error against float64, on results that were poisoned before."""
    poison(data.results[0])
    torch.cuda.synchronize()
    ready.launch(data.operands[0], data.results[0])
    device.synchronize()
    wide = [operand.double() for operand in data.operands[0]]
    return relative_error(data.results[0], case.their_result(*wide))


def their_record(case: Case, data: Data) -> Callable[[], None]:
    def record() -> None:
        for operands, result in zip(data.operands, data.results, strict=True):
            if case.finish or case.is_scaled or case.dtype == "int8":
                case.their_result(*operands)
            else:
                torch.matmul(*case.operands(*operands), out=result)

    return record


def our_record(data: Data, ready: Ready) -> Callable[[], None]:
    def record() -> None:
        for operands, result in zip(data.operands, data.results, strict=True):
            ready.launch(operands, result)

    return record


def measure_case(
    case: Case, changes: list[dict[str, int]], device: CudaDevice, dog: Watchdog
) -> list[dict[str, Any]]:
    """Every plan of a case, timed in turns with PyTorch."""
    torch.backends.cuda.matmul.allow_tf32 = case.tf32
    data = Data.of(case)
    rows, timers = [], []
    for change in changes:
        try:
            ready = prepare(case, device, change)
            error = check(case, data, ready, device)
        except (tetragrad.core.errors.TetragradError, ValueError) as problem:
            print(f"{case.name} {change}: {str(problem)[:300]}", flush=True)
            continue
        dog.progress()
        rows.append({"case": case.name, "plan": shown(ready.plan), "error": error})
        timers.append(graph_timer(our_record(data, ready), device))
    peer = torch_timer(their_record(case, data))
    exact = case.their_result(*(operand.double() for operand in data.operands[0]))
    their_error = relative_error(case.their_result(*data.operands[0]), exact)
    rows = times_in_turns(rows, [*timers, peer], len(data.operands), dog)
    for row in rows:
        row["teraflops"] = case.operations / row["microseconds"] / 1e6
        row["torch_error"] = their_error
        print(line(row), flush=True)
    return rows


def times_in_turns(
    rows: list[dict[str, Any]],
    timers: list[Callable[[], float]],
    repeats: int,
    dog: Watchdog,
) -> list[dict[str, Any]]:
    """The rows with the times of ours in turns with the peer's, which comes last.

    A replay does the work ``repeats`` times.
    """
    for timer in timers:
        timer()
    rounds = max(1, min(20, int(SECONDS / max(timers[-1](), 1e-6))))
    times: list[list[float]] = [[] for _ in timers]
    for _ in range(ROUNDS):
        for number, timer in enumerate(timers):
            # The first replay of a turn finds the caches as the other left them.
            timer()
            found = statistics.fmean(timer() for _ in range(rounds))
            times[number].append(found / repeats)
        dog.progress()
    base = statistics.median(times[-1])
    timed = []
    for row, found in zip(rows, times, strict=False):
        seconds = statistics.median(found)
        ratios = sorted(
            peer / mine for peer, mine in zip(times[-1], found, strict=True)
        )
        figures = {
            "microseconds": seconds * 1e6,
            "torch": base * 1e6,
            "ratio": base / seconds,
            "ratios": [ratios[0], ratios[-1]],
        }
        timed.append(row | figures)
    return timed


def line(row: dict[str, Any]) -> str:
    low, high = row["ratios"]
    return (
        f"{row['case']:<44} {row['plan']:<34} {row['microseconds']:9.1f} us "
        f"{row['teraflops']:6.1f} TFLOP/s  {row['ratio']:5.3f} "
        f"({low:.3f} to {high:.3f})  {row['error']:.1e} {row['torch_error']:.1e}"
    )


def variants(case: Case) -> list[dict[str, int]]:
    """Other plans that are worth a look; the first is the one chosen."""
    if min(case.m, case.n) < 2048:
        return [{}, {"cluster": 1}, {"cluster": 2}, {"cluster": 1, "members": 2}]
    if case.is_scaled:
        pairs = itertools.product((128, 192), (1, 2))
        return [{}, *({"columns": n, "cluster": cluster} for n, cluster in pairs)]
    wide = {"rows": 128, "columns": 256}
    return [
        {},
        *({**wide, "cluster": cluster} for cluster in (1, 2)),
        *({**wide, "cluster": 2, "group": group} for group in (4, 8)),
        {"rows": 128, "columns": 192, "cluster": 2},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--best", type=int, default=0, help="so many plans of each")
    parser.add_argument("--cases", default="", help="names, with commas between")
    parser.add_argument("--sweep", type=int, default=0, help="so many random cases")
    arguments = parser.parse_args()
    torch.cuda.init()
    torch.manual_seed(0)
    device, dog = CudaDevice("cuda"), Watchdog()
    results: list[dict[str, Any]] = []
    with override(device="cuda"):
        chosen = random_cases(arguments.sweep) if arguments.sweep else cases()
        if arguments.cases:
            chosen = named_cases(arguments.cases)
        names = arguments.only.split(",")
        for case in chosen:
            if not any(name in case.name for name in names):
                continue
            changes = variants(case) if arguments.variants else [{}]
            try:
                with override(tf32=case.tf32):
                    if arguments.best:
                        changes = best_changes(case, arguments.best, device)
                    results += measure_case(case, changes, device, dog)
            except Exception as problem:
                print(f"{case.name}: {type(problem).__name__}: {problem}"[:600])
                if "cu" in str(problem) and "gave" in str(problem):
                    break
            write_rows(arguments.output, results)
            torch.cuda.empty_cache()
    ratios = sorted(row["ratio"] for row in results)
    if ratios:
        shown = (ratios[0], statistics.median(ratios), ratios[-1])
        worst = max(row["error"] / (row["torch_error"] or 1) for row in results)
        print("ratios from {:.2f}, median {:.2f}, to {:.2f};".format(*shown), end=" ")
        print(f"largest error {worst:.2f} times PyTorch's")


if __name__ == "__main__":
    main()
