"""Time the CUDA backend against PyTorch where memory is the limit, on one GPU.

    python benchmarks/h200.py --output results.json [--compile] [--only softmax]

A row is a computation written once with each library. Ours runs as a recorded
sequence of launches, PyTorch's as a CUDA graph, so neither pays for Python. Inputs
are normal random numbers, larger than the second-level cache. Printed and kept: both
times, their ratio (above 1: we are faster), the bytes that must move over our time,
the share of a copy's rate measured in the same run, and the error of both results
against float64. Products have a benchmark of their own, ``h200_products.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tetragrad
import tetragrad.nn.functional as our_functions
from benchmarks.h200_products import driver_version
from tetragrad.backends.cuda.driver import Event
from tetragrad.engine import capture
from tetragrad.engine.realize import device, realize
from tetragrad.engine.replay import Program

SECONDS_TIMED = 0.15
WARM_UPS = 3


@dataclass(frozen=True)
class Row:
    """One computation in both libraries, and what it must move."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    nbytes: float = 0.0


@dataclass(frozen=True)
class Result:
    """What one row gave; times in microseconds."""

    name: str
    ours: float
    torch: float
    ratio: float
    gigabytes: float
    share_of_copy: float
    error: float
    torch_error: float
    peer: str


def rows() -> Iterator[Row]:
    """Elementwise chains, rows, sums, a transposition and an optimiser's step."""
    functional = torch.nn.functional
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        shape, count = (16384, 8192), 16384 * 8192
        one, both = count * size, 2 * count * size

        def row(
            name: str,
            ours: Callable[..., Any],
            theirs: Callable[..., Any],
            nbytes: float,
            shapes: tuple[tuple[int, ...], ...] = (shape,),
            dtype: str = dtype,
        ) -> Row:
            return Row(f"{name} {dtype}", shapes, dtype, ours, theirs, nbytes)

        yield row("scale", lambda x: x * 2 + 1, lambda x: x * 2 + 1, both)
        yield row(
            "gelu chain",
            lambda x: our_functions.gelu(x * 2 + 1) * x,
            lambda x: functional.gelu(x * 2 + 1) * x,
            both,
        )
        yield row("softmax", lambda x: x.softmax(1), lambda x: x.softmax(1), both)
        yield row(
            "layer norm",
            lambda x: our_functions.layer_norm(x, (8192,)),
            lambda x: functional.layer_norm(x, (8192,)),
            both,
        )
        yield row("sum", lambda x: x.sum(), lambda x: x.sum(), one)
        yield row("row sum", lambda x: x.sum(1), lambda x: x.sum(1), one)
        yield row("column sum", lambda x: x.sum(0), lambda x: x.sum(0), one)
        yield row(
            "transpose", lambda x: x.T + 1, lambda x: (x.T + 1).contiguous(), both
        )
        yield row("row max", lambda x: x.amax(1), lambda x: x.amax(1), one)
    yield Row(
        "softmax 128 float32",
        ((1 << 20, 128),),
        "float32",
        lambda x: x.softmax(1),
        lambda x: x.softmax(1),
        2 * 4 * (1 << 27),
    )
    yield Row(
        "softmax 32768 float32",
        ((4096, 32768),),
        "float32",
        lambda x: x.softmax(1),
        lambda x: x.softmax(1),
        2 * 4 * (1 << 27),
    )
    flat = (1 << 26,)
    yield Row(
        "adamw float32",
        (flat,) * 4,
        "float32",
        adamw,
        adamw,
        4.0 * 7 * (1 << 26),
    )


def adamw(weight: Any, gradient: Any, mean: Any, square: Any) -> Any:
    """One step of AdamW, written the same for both libraries."""
    mean = mean * 0.9 + gradient * 0.1
    square = square * 0.999 + gradient * gradient * 0.001
    step = (mean / 0.1) / ((square.abs() / 0.001).sqrt() + 1e-8)
    weight = weight * (1 - 1e-4) - step * 1e-3
    return weight, mean, square


# --- timing --------------------------------------------------------------------------


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class Ours:
    """A computation recorded once, to be replayed."""

    def __init__(self, function: Callable[..., Any], inputs: list[Any]) -> None:
        nodes = realize([entry.node for entry in inputs])
        recorder = capture.Recorder()
        with capture.recording(recorder):
            for entry, buffer in zip(inputs, nodes, strict=True):
                recorder.realized[entry.node] = buffer
            outputs = as_tuple(function(*inputs))
            results = realize([entry.node for entry in outputs])
        self.device = device("cuda")
        self.inputs = nodes
        self.program = Program(
            recorder.runs, nodes, [], recorder.host_data, list(dict.fromkeys(results))
        )
        self.outputs = outputs
        self.launches = [
            (entry.name, entry.executable.facts.launches)
            for entry in self.program.launches
        ]

    def run(self) -> None:
        self.program.replay(self.inputs, [])

    def seconds(self) -> float:
        """The median of several measurements of one run."""
        for _ in range(WARM_UPS * 4):
            self.run()
        self.device.synchronize()
        return median_seconds(self._measure)

    def _measure(self, count: int) -> float:
        start, stop = (Event(self.device.context) for _ in range(2))
        start.record()
        for _ in range(count):
            self.run()
        stop.record()
        return stop.seconds_since(start) / count


def median_seconds(measure: Callable[[int], float]) -> float:
    """Measure often enough to fill the time, then take the median of five."""
    once = measure(2)
    count = max(2, min(200, int(SECONDS_TIMED / 5 / max(once, 1e-7))))
    return sorted(measure(count) for _ in range(5))[2]


def torch_seconds(function: Callable[..., Any], inputs: list[Any]) -> float:
    """The median time of a CUDA graph of one call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function(*inputs)

    def measure(count: int) -> float:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            graph.replay()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3 / count

    measure(WARM_UPS)
    return median_seconds(measure)


def copy_rate() -> float:
    """Bytes a second that a copy on the device moves, read and written."""
    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)

    def measure(count: int) -> float:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            target.copy_(source)
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3 / count

    measure(WARM_UPS)
    return 2 * 4 * (1 << 28) / median_seconds(measure)


def relative_error(got: Any, want: Any) -> float:
    difference = (got.double() - want).norm() / want.norm().clamp_min(1e-30)
    return float(difference)


def measure_row(row: Row, copy: float, compiled: bool) -> Result:
    """Both libraries on the same numbers."""
    theirs = [torch.randn(shape, device="cuda") for shape in row.shapes]
    theirs = [entry.to(getattr(torch, row.dtype)) for entry in theirs]
    ours = []
    for entry in theirs:
        array = entry.float().cpu().numpy()
        tensor = tetragrad.Tensor(array, device="cuda")
        ours.append(tensor.to(getattr(tetragrad, row.dtype)).realize())
    recorded = Ours(row.ours, ours)
    seconds = recorded.seconds()
    found = as_tuple(row.ours(*ours))[0].float().numpy()
    candidates = {"eager": row.theirs}
    if compiled:
        candidates["compile"] = torch.compile(row.theirs, dynamic=False)
    times = {name: torch_seconds(entry, theirs) for name, entry in candidates.items()}
    peer = min(times, key=lambda name: times[name])
    exact = as_tuple(row.theirs(*(entry.double() for entry in theirs)))[0]
    error = relative_error(torch.from_numpy(np.array(found)).cuda(), exact)
    torch_error = relative_error(as_tuple(row.theirs(*theirs))[0], exact)
    rate = row.nbytes / seconds
    return Result(
        row.name,
        seconds * 1e6,
        times[peer] * 1e6,
        times[peer] / seconds,
        rate / 1e9,
        rate / copy,
        error,
        torch_error,
        peer,
    )


def line(result: Result) -> str:
    """One row of the printed table."""
    return (
        f"{result.name:<32} {result.ours:9.1f} {result.torch:9.1f} {result.peer:<8}"
        f"{result.ratio:6.2f} {result.gigabytes:7.0f} {result.share_of_copy:5.0%} "
        f"{result.error:.1e} {result.torch_error:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    copy = copy_rate()
    print(f"copy {copy / 1e9:.0f} GB/s")
    print(f"{'row':<32}   ours us  torch us peer    ratio    GB/s  copy  error")
    results = []
    for row in rows():
        if arguments.only not in row.name:
            continue
        try:
            results.append(measure_row(row, copy, arguments.compile))
            print(line(results[-1]), flush=True)
        except Exception as error:
            text = str(error).strip().splitlines()
            print(f"{row.name}: {type(error).__name__}: {text[:3]}", flush=True)
    if arguments.output:
        record = {
            "date": time.strftime("%Y-%m-%d"),
            "gpu": torch.cuda.get_device_name(),
            "driver": driver_version(),
            "torch": torch.__version__,
            "copy_gigabytes": copy / 1e9,
            "rows": [asdict(entry) for entry in results],
        }
        Path(arguments.output).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
