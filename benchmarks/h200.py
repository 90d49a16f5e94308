"""Time the CUDA backend against PyTorch where memory is the limit, on one GPU.

    python benchmarks/h200.py --output results.json [--compile] [--only softmax]
    python benchmarks/h200.py --prepare ptxas     without a GPU: fill the disk cache

A row is a computation written once with each library, on the same memory. Inputs are
normal random numbers, larger than the second-level cache. Printed and kept: both
times, their ratio (above 1: we are faster) with its range over the turns, the bytes
that must move over our time, the share of a copy's rate measured in the same run, and
the error of both results against float64. How it is timed: ``h200_timing.py``.
Products have a benchmark of their own, ``h200_products.py``, and random shapes one
more, ``h200_sweeps.py``. The rows are those of ``h200_rows.py``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
from benchmarks.h200_rows import Row, adamw_of_all, gradients_by, rows
from benchmarks.h200_timing import (
    Assembler,
    Recorded,
    Watchdog,
    as_tuple,
    graph_timer,
    in_turns,
    relative_error,
    repeated,
    repetitions,
    seen_by_torch,
    shared,
    tensor_at,
    torch_timer,
    write_rows,
)
from tetragrad.core.settings import override


@dataclass(frozen=True)
class Result:
    """What one row gave; times in microseconds."""

    name: str
    ours: float
    torch: float
    ratio: float
    ratios: tuple[float, float]
    gigabytes: float
    share_of_copy: float
    error: float | None
    torch_error: float | None
    peer: str
    kernels: list[str]
    is_target: bool


def fused_adamw(tensors: list[Any]) -> Callable[[], Any]:
    """PyTorch's own fused step over the same parameters."""
    import torch

    weights = tensors[: len(tensors) // 4]
    gradients = tensors[len(tensors) // 4 : len(tensors) // 2]
    copies = [weight.clone().requires_grad_() for weight in weights]
    for copy, gradient in zip(copies, gradients, strict=True):
        copy.grad = gradient
    optimizer = torch.optim.AdamW(copies, fused=True, capturable=True)
    return optimizer.step


# --- measuring -----------------------------------------------------------------------


def copy_rate() -> float:
    """Bytes a second that a copy on the device moves, read and written.

    Not in a graph: there the copy engine would do it, which is slower.
    """
    import torch

    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def measure() -> float:
        start.record()
        for _ in range(10):
            target.copy_(source)
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e4

    return 2 * 4 * (1 << 28) / statistics.median(in_turns([measure])[0])


def inputs_of(row: Row) -> list[Any]:
    """Random inputs in PyTorch's hands."""
    import torch

    dtype = getattr(torch, row.dtype)
    found = [torch.randn(shape, device="cuda").to(dtype) for shape in row.shapes]
    if row.indices:
        limit = row.limit or row.shapes[0][1]
        found.append(torch.randint(0, limit, (row.indices,), device="cuda"))
    return found


def candidates_of(
    row: Row, inputs: list[Any], compiled: bool
) -> dict[str, Callable[[], Any]]:
    """The ways in which PyTorch computes a row."""
    import torch

    if row.theirs is adamw_of_all:
        return {"fused": fused_adamw(inputs)}
    eager = computed(row, torch, row.theirs)
    found = {"eager": lambda: eager(*inputs)}
    if compiled:
        torch._dynamo.reset()
        function = computed(row, torch, torch.compile(row.theirs, dynamic=False))
        function(*inputs)
        found["compile"] = lambda: function(*inputs)
    return found


def computed(row: Row, library: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    """What a row computes with a library: a forward pass, or gradients as well."""
    return gradients_by(library, forward) if row.backward else forward


def measure_row(row: Row, copy: float, compiled: bool) -> Result:
    """Both libraries on the same numbers."""
    inputs = inputs_of(row)
    function = computed(row, tetragrad, row.ours)
    recorded = Recorded(function, [shared(entry) for entry in inputs])
    device = recorded.device
    recorded.launch()
    device.synchronize()
    once = graph_timer(recorded.launch, device)
    once()
    times = repetitions(once())
    timers = [graph_timer(repeated(recorded.launch, times), device)]
    candidates = candidates_of(row, inputs, compiled)
    timers += [torch_timer(repeated(entry, times)) for entry in candidates.values()]
    turns = in_turns(timers)
    medians = [statistics.median(found) / times for found in turns]
    seconds, peers = medians[0], medians[1:]
    best = min(range(len(peers)), key=peers.__getitem__)
    ratios = [
        theirs / mine for mine, theirs in zip(turns[0], turns[1 + best], strict=True)
    ]
    error, torch_error = errors(row, recorded, inputs)
    return Result(
        row.name,
        seconds * 1e6,
        peers[best] * 1e6,
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        row.nbytes / seconds / 1e9,
        row.nbytes / seconds / copy,
        error,
        torch_error,
        list(candidates)[best],
        recorded.names,
        row.is_target,
    )


def errors(
    row: Row, recorded: Recorded, inputs: list[Any]
) -> tuple[float | None, float | None]:
    """The largest error of any result against float64, ours and PyTorch's."""
    import torch

    if row.random:
        return None, None
    compute = computed(row, torch, row.theirs)
    for buffer in recorded.outputs:
        seen = seen_by_torch(buffer)
        seen.fill_(float("nan") if seen.is_floating_point() else -1)
    recorded.launch()
    recorded.device.synchronize()
    wide = [entry.double() if entry.is_floating_point() else entry for entry in inputs]
    exact = as_tuple(compute(*wide))
    found = [seen_by_torch(buffer) for buffer in recorded.outputs]
    theirs = as_tuple(compute(*inputs))
    return (
        max(map(relative_error, found, exact)),
        max(map(relative_error, theirs, exact)),
    )


def line(result: Result) -> str:
    """One row of the printed table."""
    low, high = result.ratios
    return (
        f"{result.name:<42} {result.ours:8.1f} {result.torch:8.1f} {result.peer:<8}"
        f"{result.ratio:6.3f} ({low:.3f} to {high:.3f}) {result.gigabytes:6.0f} "
        f"{result.share_of_copy:5.0%} {error_text(result.error)} "
        f"{error_text(result.torch_error)} {len(result.kernels)}"
    )


def error_text(error: float | None) -> str:
    """An error, if there is one to speak of."""
    return "      –" if error is None else f"{error:.1e}"


def summary(results: list[Result]) -> Iterator[str]:
    """Geometric means of the ratios."""
    for title, chosen in (
        ("target rows", [entry for entry in results if entry.is_target]),
        ("all rows", results),
    ):
        if chosen:
            mean = statistics.geometric_mean(entry.ratio for entry in chosen)
            worst = min(chosen, key=lambda entry: entry.ratio)
            yield f"{title}: mean {mean:.3f}, worst {worst.ratio:.3f} ({worst.name})"


def prepare(row: Row) -> None:
    """Assemble a row's kernels, for a run elsewhere."""
    tensors = [tensor_at(4096, shape, row.dtype, row) for shape in row.shapes]
    if row.indices:
        tensors.append(tensor_at(4096, (row.indices,), "int64", row))
    Recorded(computed(row, tetragrad, row.ours), tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--prepare", default="", help="the assembler, without a GPU")
    arguments = parser.parse_args()
    chosen = [row for row in rows() if arguments.only in row.name]
    with override(device="cuda"):
        if arguments.prepare:
            Assembler.install(arguments.prepare)
            for row in chosen:
                prepare(row)
        else:
            measure(chosen, arguments.output, arguments.compile)


def measure(chosen: list[Row], output: str, compiled: bool) -> None:
    """Measure rows on a GPU; what is known so far is always written."""
    import torch

    dog, copy = Watchdog(), copy_rate()
    print(f"copy {copy / 1e9:.0f} GB/s")
    results: list[Result] = []
    for row in chosen:
        try:
            results.append(measure_row(row, copy, compiled))
            print(line(results[-1]), flush=True)
        except Exception as error:
            text = str(error).strip().splitlines()
            print(f"{row.name}: {type(error).__name__}: {text[:3]}", flush=True)
        dog.progress()
        torch.cuda.empty_cache()
        measured = [asdict(entry) for entry in results]
        write_rows(output, measured, copy_gigabytes=copy / 1e9)
    for text in summary(results):
        print(text)


if __name__ == "__main__":
    main()
