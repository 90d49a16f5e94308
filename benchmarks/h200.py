"""Time the CUDA backend against PyTorch where memory is the limit, on one GPU.

    python benchmarks/h200.py --output results.json [--compile] [--only softmax]
    python benchmarks/h200.py --prepare ptxas     without a GPU: fill the disk cache

A row is a computation written once with each library, on the same memory. Inputs are
normal random numbers, larger than the second-level cache. Printed and kept: both
times, their ratio (above 1: we are faster) with its range over the turns, the bytes
that must move over our time, the share of a copy's rate measured in the same run, and
the error of both results against float64. How it is timed: ``h200_timing.py``.
Products have a benchmark of their own, ``h200_products.py``, and random shapes one
more, ``h200_sweeps.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad.nn.functional as ours
from benchmarks.h200_timing import (
    Assembler,
    Recorded,
    Watchdog,
    as_tuple,
    driver_version,
    graph_timer,
    in_turns,
    relative_error,
    repeated,
    repetitions,
    seen_by_torch,
    shared,
    tensor_at,
    torch_timer,
)
from tetragrad.core.settings import override

Shapes = tuple[tuple[int, ...], ...]
TALL = (32768, 8192)
WIDE = (16384, 8192)
#: The parameters of a transformer's 36 layers, as an optimiser sees them.
PARAMETERS: Shapes = ((768, 768), (3072, 768), (768,), (768, 3072)) * 36


@dataclass(frozen=True)
class Row:
    """One computation in both libraries, and what it must move.

    ``indices`` is the length of a last input of random positions in a row.
    """

    name: str
    shapes: Shapes
    dtype: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    nbytes: float
    indices: int = 0
    is_target: bool = False


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
    error: float
    torch_error: float
    peer: str
    kernels: list[str]
    is_target: bool


def rows() -> Iterator[Row]:
    """What the targets name, then other sizes and dtypes."""
    for row in target_rows():
        yield replace(row, is_target=True)
    for dtype in ("float32", "bfloat16"):
        yield from rows_of(dtype)
    yield from long_rows()


def target_rows() -> Iterator[Row]:
    """The rows that the issue names, in bfloat16, and an optimiser's step."""
    import torch

    functional = torch.nn.functional
    one = 2.0 * TALL[0] * TALL[1]

    def row(name: str, f: Any, g: Any, nbytes: float, shapes: Shapes = (TALL,)) -> Row:
        return Row(f"{name} 32768x8192", shapes, "bfloat16", f, g, nbytes)

    scales: Shapes = ((TALL[1],),)
    yield row("softmax", lambda x: x.softmax(1), lambda x: x.softmax(1), 2 * one)
    yield row(
        "layernorm",
        lambda x, w, b: ours.layer_norm(x, (TALL[1],), w, b),
        lambda x, w, b: functional.layer_norm(x, (TALL[1],), w, b),
        2 * one,
        (TALL, *scales, *scales),
    )
    yield row(
        "rmsnorm",
        lambda x, w: ours.rms_norm(x, (TALL[1],), w, 1e-6),
        lambda x, w: functional.rms_norm(x, (TALL[1],), w, 1e-6),
        2 * one,
        (TALL, *scales),
    )
    yield row(
        "gelu(2x+1) sigmoid(x)",
        lambda x: ours.gelu(x * 2 + 1, "tanh") * x.sigmoid(),
        lambda x: functional.gelu(x * 2 + 1, approximate="tanh") * x.sigmoid(),
        2 * one,
    )
    yield row("sum of all", lambda x: x.sum(), lambda x: x.sum(), one)
    yield row("sum over axis 0", lambda x: x.sum(0), lambda x: x.sum(0), one)
    yield row(
        "transpose", lambda x: x.T.contiguous(), lambda x: x.T.contiguous(), 2 * one
    )
    yield replace(
        row(
            "cross entropy",
            lambda x, t: ours.cross_entropy(x.float(), t),
            lambda x, t: functional.cross_entropy(x.float(), t),
            one,
        ),
        indices=TALL[0],
    )
    for batch in (1, 16):
        yield Row(
            f"matrix x vector 14336x4096 batch {batch}",
            ((batch, 4096), (14336, 4096)),
            "bfloat16",
            lambda x, w: x @ w.T,
            lambda x, w: x @ w.T,
            2.0 * 14336 * 4096,
        )
    count = sum(_numel(shape) for shape in PARAMETERS)
    yield Row(
        "adamw step 144 tensors float32",
        PARAMETERS * 4,
        "float32",
        adamw_of_all,
        adamw_of_all,
        4.0 * 7 * count,
    )


def rows_of(dtype: str) -> Iterator[Row]:
    """Elementwise chains, rows, sums and a transposition in one dtype."""
    import torch

    functional = torch.nn.functional
    one = {"float32": 4.0, "bfloat16": 2.0}[dtype] * WIDE[0] * WIDE[1]

    def row(name: str, f: Any, g: Any, nbytes: float) -> Row:
        return Row(f"{name} {dtype}", (WIDE,), dtype, f, g, nbytes)

    yield row("scale", lambda x: x * 2 + 1, lambda x: x * 2 + 1, 2 * one)
    yield row(
        "gelu chain",
        lambda x: ours.gelu(x * 2 + 1) * x,
        lambda x: functional.gelu(x * 2 + 1) * x,
        2 * one,
    )
    yield row("softmax", lambda x: x.softmax(1), lambda x: x.softmax(1), 2 * one)
    yield row(
        "layer norm",
        lambda x: ours.layer_norm(x, (8192,)),
        lambda x: functional.layer_norm(x, (8192,)),
        2 * one,
    )
    yield row("sum", lambda x: x.sum(), lambda x: x.sum(), one)
    yield row("row sum", lambda x: x.sum(1), lambda x: x.sum(1), one)
    yield row("column sum", lambda x: x.sum(0), lambda x: x.sum(0), one)
    yield row("transpose", lambda x: x.T + 1, lambda x: (x.T + 1).contiguous(), 2 * one)
    yield row("row max", lambda x: x.amax(1), lambda x: x.amax(1), one)


def long_rows() -> Iterator[Row]:
    """Softmax and normalisation of rows from 128 to 131,072 elements."""
    import torch

    for dtype, size in (("float32", 4.0), ("bfloat16", 2.0)):
        for length in (128, 1024, 16384, 32768, 65536, 131072):
            shape = ((1 << 27) // length, length)
            yield Row(
                f"softmax {length} {dtype}",
                (shape,),
                dtype,
                lambda x: x.softmax(1),
                lambda x: x.softmax(1),
                2 * size * (1 << 27),
            )
    length = 32768
    yield Row(
        f"layer norm {length} float32",
        ((4096, length),),
        "float32",
        lambda x: ours.layer_norm(x, (length,)),
        lambda x: torch.nn.functional.layer_norm(x, (length,)),
        2 * 4.0 * (1 << 27),
    )


def _numel(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def adamw(weight: Any, gradient: Any, mean: Any, square: Any) -> Any:
    """One step of AdamW, written the same for both libraries."""
    mean = mean * 0.9 + gradient * 0.1
    square = square * 0.999 + gradient * gradient * 0.001
    step = (mean / 0.1) / ((square.abs() / 0.001).sqrt() + 1e-8)
    weight = weight * (1 - 1e-4) - step * 1e-3
    return weight, mean, square


def adamw_of_all(*tensors: Any) -> Any:
    """The step for every parameter: weights, gradients and both means in turn."""
    count = len(tensors) // 4
    found = [adamw(*tensors[place::count]) for place in range(count)]
    return tuple(entry for step in found for entry in step)


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
        found.append(torch.randint(0, row.shapes[0][1], (row.indices,), device="cuda"))
    return found


def candidates_of(
    row: Row, inputs: list[Any], compiled: bool
) -> dict[str, Callable[[], Any]]:
    """The ways in which PyTorch computes a row."""
    import torch

    if row.theirs is adamw_of_all:
        return {"fused": fused_adamw(inputs)}
    found = {"eager": lambda: row.theirs(*inputs)}
    if compiled:
        torch._dynamo.reset()
        function = torch.compile(row.theirs, dynamic=False)
        function(*inputs)
        found["compile"] = lambda: function(*inputs)
    return found


def measure_row(row: Row, copy: float, compiled: bool) -> Result:
    """Both libraries on the same numbers."""
    inputs = inputs_of(row)
    recorded = Recorded(row.ours, [shared(entry) for entry in inputs])
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


def errors(row: Row, recorded: Recorded, inputs: list[Any]) -> tuple[float, float]:
    """The largest error of any result against float64, ours and PyTorch's."""
    for buffer in recorded.outputs:
        seen_by_torch(buffer).fill_(float("nan"))
    recorded.launch()
    recorded.device.synchronize()
    wide = [entry.double() if entry.is_floating_point() else entry for entry in inputs]
    exact = as_tuple(row.theirs(*wide))
    found = [seen_by_torch(buffer) for buffer in recorded.outputs]
    theirs = as_tuple(row.theirs(*inputs))
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
        f"{result.share_of_copy:5.0%} {result.error:.1e} {result.torch_error:.1e} "
        f"{len(result.kernels)}"
    )


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
    Recorded(row.ours, tensors)


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
        if output:
            write(output, copy, results)
    for text in summary(results):
        print(text)


def write(output: str, copy: float, results: list[Result]) -> None:
    """Keep the rows with what they were measured on."""
    import torch

    record = {
        "date": time.strftime("%Y-%m-%d"),
        "gpu": torch.cuda.get_device_name(),
        "driver": driver_version(),
        "torch": torch.__version__,
        "copy_gigabytes": copy / 1e9,
        "rows": [asdict(entry) for entry in results],
    }
    Path(output).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
