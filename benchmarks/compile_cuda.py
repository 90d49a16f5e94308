"""What Python spends on a CUDA kernel, over the GPU benchmarks' list; needs no GPU.

    python benchmarks/compile_cuda.py [--only softmax] [--json results.json]

Each kernel of ``h200.py``, ``h200_products.py``, ``h200_convolutions.py`` and
``h200_attention.py`` is planned, built and written as PTX for an H200, once in each of
a few processes, as what a process has found out it may remember. The least processor
time of each part counts, in milliseconds. Assembling is not Python's, and runs on other
threads. ``--profile`` shows where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import itertools
import json
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
from benchmarks import h200_attention, h200_convolutions, h200_products, h200_rows
from benchmarks.h200_timing import Assembler, as_tuple, tensor_at
from tetragrad.backends.cuda.programs import target_text
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.collector import collector_paused
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import without_markers
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan

RUNS = 3
PARTS = ("plan", "build", "emit")
#: The most that a kernel may cost, in milliseconds.
BAR = 2.0


@dataclasses.dataclass(frozen=True)
class Cost:
    """Milliseconds of each part, and the lines of PTX that came of it."""

    name: str
    plan: float
    build: float
    emit: float
    lines: int

    @property
    def all(self) -> float:
        """What Python spends on the kernel."""
        return self.plan + self.build + self.emit


def graphs() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every benchmark's computation, by name."""
    for row in h200_rows.rows():
        shapes = list(row.shapes)
        dtypes = [row.dtype] * len(shapes)
        if row.indices:
            shapes, dtypes = [*shapes, (row.indices,)], [*dtypes, "int64"]
        ours = row.ours
        if row.backward:
            ours = h200_rows.gradients_by(tetragrad, ours)
        yield row.name, _applied(ours, shapes, dtypes)
    for product in h200_products.cases():
        shapes = product.shapes()
        graph = _applied(product.our_result, shapes, [product.dtype] * len(shapes))
        yield f"product {product.name}", graph
    for convolution in h200_convolutions.cases():
        shapes = convolution.shapes()
        graph = _applied(
            convolution.our_result, shapes, [convolution.dtype] * len(shapes)
        )
        yield f"convolution {convolution.name}", graph
    for attention in h200_attention.cases():
        shapes = attention.shapes
        graph = _applied(attention.our_result, shapes, [attention.dtype] * len(shapes))
        yield f"attention {attention.name}", graph


def _applied(
    function: Callable[..., Any], shapes: list[Any], dtypes: list[str]
) -> Callable[[], Any]:
    def apply() -> Any:
        inputs = [
            tensor_at(4096 * number, shape, dtype, function)
            for number, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True), 1)
        ]
        return function(*inputs)

    return apply


def kernels(only: str) -> dict[Kernel, str]:
    """The distinct kernels of the benchmarks whose names contain a word."""
    found: dict[Kernel, str] = {}
    for name, graph in graphs():
        if only not in name:
            continue
        nodes = without_markers([entry.node for entry in as_tuple(graph())])
        for lowered in kernels_of(nodes, SM_90A, settings())[1]:
            found.setdefault(lowered.kernel, name)
    return found


def cost(kernel: Kernel, name: str) -> Cost:
    """The time of each part."""
    active = settings()
    with collector_paused():
        moments = [time.process_time()]
        plan = choose_plan(kernel, SM_90A, active)
        moments.append(time.process_time())
        program = build(kernel, plan, SM_90A)
        moments.append(time.process_time())
        text = target_text(program, SM_90A, active)
        moments.append(time.process_time())
    plan_time, build_time, emit_time = (
        1e3 * (end - start) for start, end in itertools.pairwise(moments)
    )
    return Cost(name, plan_time, build_time, emit_time, text.count("\n"))


def least(costs: Sequence[Cost]) -> Cost:
    """What a kernel costs at least, part by part."""
    parts = {part: min(getattr(cost, part) for cost in costs) for part in PARTS}
    return dataclasses.replace(costs[0], **parts)


def costs_here(only: str, profiled: int) -> list[Cost]:
    """What each kernel costs in this process."""
    # Random numbers have a state on the device.
    Assembler.install("ptxas")
    with override(device="cuda", verify=False):
        found = kernels(only)
        profile = cProfile.Profile()
        if profiled:
            profile.enable()
        costs = [cost(kernel, name) for kernel, name in found.items()]
        profile.disable()
    if profiled:
        pstats.Stats(profile).sort_stats("tottime").print_stats(profiled)
    return costs


def costs_elsewhere(only: str) -> list[Cost]:
    """What each kernel costs in a process of its own."""
    command = [sys.executable, __file__, "--only", only, "--here"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return [Cost(**entry) for entry in json.loads(printed)]


def main() -> None:
    """One line a kernel, then what all have in common."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--profile", type=int, default=0, help="so many functions")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        found = costs_here(options.only, 0)
        print(json.dumps([dataclasses.asdict(entry) for entry in found]))
        return
    if options.profile:
        costs = costs_here(options.only, options.profile)
    else:
        runs = [costs_elsewhere(options.only) for _ in range(options.runs)]
        costs = [least(entries) for entries in zip(*runs, strict=True)]
    show(costs)
    if options.json:
        record = {"date": time.strftime("%Y-%m-%d"), "kernels": costs}
        text = json.dumps(record, indent=1, default=dataclasses.asdict)
        options.json.write_text(text + "\n", "utf-8")


def show(costs: list[Cost]) -> None:
    """The slowest last, then the middle and how many hold the bar."""
    for entry in sorted(costs, key=lambda entry: entry.all):
        print(
            f"{entry.name:<60} {entry.all:7.2f} = plan {entry.plan:6.2f}"
            f" + build {entry.build:6.2f} + emit {entry.emit:6.2f}, "
            f"{entry.lines} lines"
        )
    for part in (*PARTS, "all"):
        every = [getattr(entry, part) for entry in costs]
        print(
            f"{part:<6} mean {statistics.fmean(every):.2f}, "
            f"median {statistics.median(every):.2f}, most {max(every):.2f} ms"
        )
    held = sum(value <= BAR for value in every)
    microseconds = 1e3 * sum(entry.emit for entry in costs)
    print(
        f"{len(costs)} kernels, {held} within {BAR:g} ms; "
        f"{microseconds / sum(entry.lines for entry in costs):.1f} us a line"
    )


if __name__ == "__main__":
    main()
