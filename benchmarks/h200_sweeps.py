"""Random shapes on the CUDA backend against PyTorch: rows, reductions, odd strides.

    python benchmarks/h200_sweeps.py --count 200 --output results.json
    python benchmarks/h200_sweeps.py --count 200 --prepare ptxas    without a GPU
    python benchmarks/h200_sweeps.py --again results.json --below 0.9   slow ones only

Each family draws its cases from a seed: sizes over several powers of ten that are
multiples of nothing in particular, three dtypes, and for elementwise work views that
begin anywhere, step, turn round, repeat or stand across. Both libraries read the same
memory; PyTorch runs eagerly, replayed as a CUDA graph like ours. Every result is
compared with float64. Products have a sweep of their own in ``h200_products.py``.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import itertools

import tetragrad.nn.functional as ours
from benchmarks.h200_timing import (
    Assembler,
    Recorded,
    Watchdog,
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

TURNS = 3
SECONDS_A_TURN = 0.003
#: Elements of a case, at most and at least.
MOST, LEAST = 1 << 25, 1 << 10
#: How far a result of a dtype may be from float64, relative to its length.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One computation, the same in both libraries but for the module of functions."""

    family: str
    name: str
    shapes: tuple[Shape, ...]
    dtype: str
    compute: Callable[..., Any]


def size(draw: random.Random, least: float, most: float) -> int:
    """A whole number, evenly spread over the powers of ten."""
    return max(1, int(math.exp(draw.uniform(math.log(least), math.log(most)))))


def dtype_of(draw: random.Random) -> str:
    return draw.choice(("float32", "bfloat16", "float16"))


# --- families ------------------------------------------------------------------------

ROWS: dict[str, Callable[[Any, Any, int], Any]] = {
    "softmax": lambda functions, x, length: x.softmax(-1),
    "log_softmax": lambda functions, x, length: x.log_softmax(-1),
    "layer_norm": lambda functions, x, length: functions.layer_norm(x, (length,)),
    "rms_norm": lambda functions, x, length: functions.rms_norm(
        x, (length,), None, 1e-6
    ),
}


def rows(count: int, seed: int) -> Iterator[Case]:
    """Rows of up to 200,000 elements."""
    draw = random.Random(3 * seed + 1)
    for _ in range(count):
        length = size(draw, 4, 200_000)
        number = size(draw, max(1, LEAST / length), max(2, MOST / length))
        name = draw.choice(sorted(ROWS))

        def compute(functions: Any, x: Any, name: str = name, n: int = length) -> Any:
            return ROWS[name](functions, x, n)

        yield Case("row", name, ((number, length),), dtype_of(draw), compute)


REDUCTIONS: dict[str, Callable[[Any, tuple[int, ...]], Any]] = {
    "sum": lambda x, dims: x.sum(dims),
    "mean": lambda x, dims: x.mean(dims),
    "amax": lambda x, dims: x.amax(dims),
    "square sum": lambda x, dims: (x * x).sum(dims),
}


def reductions(count: int, seed: int) -> Iterator[Case]:
    """One to four dimensions, any of them reduced."""
    draw = random.Random(3 * seed + 2)
    for _ in range(count):
        rank = draw.randint(1, 4)
        shape = shape_of(draw, rank)
        dims = tuple(sorted(draw.sample(range(rank), draw.randint(1, rank))))
        name = draw.choice(sorted(REDUCTIONS))

        def compute(
            functions: Any, x: Any, name: str = name, dims: tuple[int, ...] = dims
        ) -> Any:
            return REDUCTIONS[name](x, dims)

        yield Case(
            "reduction", f"{name} over {dims}", (shape,), dtype_of(draw), compute
        )


def shape_of(draw: random.Random, rank: int) -> Shape:
    """Random sizes whose product is within the limits."""
    total = size(draw, LEAST, MOST)
    cuts = sorted(draw.random() for _ in range(rank - 1))
    edges = [0.0, *cuts, 1.0]
    return tuple(
        max(1, round(total ** (high - low))) for low, high in itertools.pairwise(edges)
    )


#: Views of a tensor with two dimensions, of which the first has an even size of 8 or
#: more, and the shape that each needs for a result of (rows, columns).
VIEWS: dict[str, tuple[Callable[[Any], Any], Callable[[int, int], Shape]]] = {
    "whole": (lambda x: x, lambda m, n: (m, n)),
    "across": (lambda x: x.T, lambda m, n: (n, m)),
    "inside": (lambda x: x[1:-2, 3:-1], lambda m, n: (m + 3, n + 4)),
    "every third": (lambda x: x[:, ::3], lambda m, n: (m, 3 * n)),
    "turned": (lambda x: x.flip(1), lambda m, n: (m, n)),
    "row": (lambda x: x, lambda m, n: (1, n)),
    "column": (lambda x: x, lambda m, n: (m, 1)),
}
CHAINS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "scaled add": lambda x, y: x * 0.5 + y,
    "relu": lambda x, y: (x - y).relu(),
    "gate": lambda x, y: x.sigmoid() * y,
    "square": lambda x, y: x * x + y * y,
}


def elementwise(count: int, seed: int) -> Iterator[Case]:
    """Two operands, each seen in some odd way."""
    draw = random.Random(3 * seed + 3)
    for _ in range(count):
        total = size(draw, LEAST, MOST / 4)
        m = size(draw, 1, total)
        n = max(1, total // m)
        first = draw.choice([name for name in VIEWS if name not in ("row", "column")])
        second = draw.choice(sorted(VIEWS))
        chain = draw.choice(sorted(CHAINS))

        def compute(
            functions: Any,
            x: Any,
            y: Any,
            views: tuple[str, str] = (first, second),
            chain: str = chain,
        ) -> Any:
            lhs, rhs = VIEWS[views[0]][0](x), VIEWS[views[1]][0](y)
            return CHAINS[chain](lhs, rhs)

        shapes = (VIEWS[first][1](m, n), VIEWS[second][1](m, n))
        name = f"{chain} of {first} and {second}"
        yield Case("elementwise", name, shapes, dtype_of(draw), compute)


FAMILIES = {"row": rows, "reduction": reductions, "elementwise": elementwise}


# --- measuring -----------------------------------------------------------------------


def measure_case(case: Case) -> dict[str, Any]:
    """Both libraries on one case: times, and errors against float64."""
    import torch

    functional = torch.nn.functional
    dtype = getattr(torch, case.dtype)
    inputs = [torch.randn(shape, device="cuda").to(dtype) for shape in case.shapes]

    def theirs(*values: Any) -> Any:
        return case.compute(functional, *values)

    def mine(*values: Any) -> Any:
        # A result that is seen in an odd way is not computed at all.
        return case.compute(ours, *values)

    recorded = Recorded(mine, [shared(entry) for entry in inputs])
    result = seen_by_torch(recorded.outputs[0])
    result.fill_(float("nan"))
    torch.cuda.synchronize()
    recorded.launch()
    recorded.device.synchronize()
    exact = theirs(*(entry.double() for entry in inputs))
    error = relative_error(result, exact)
    torch_error = relative_error(theirs(*inputs), exact)
    once = graph_timer(recorded.launch, recorded.device)
    once()
    times = repetitions(once())
    timers = [
        graph_timer(repeated(recorded.launch, times), recorded.device),
        torch_timer(repeated(lambda: theirs(*inputs), times)),
    ]
    turns = in_turns(timers, TURNS, SECONDS_A_TURN)
    medians = [statistics.median(found) / times for found in turns]
    return {
        "family": case.family,
        "case": title(case),
        "microseconds": medians[0] * 1e6,
        "torch": medians[1] * 1e6,
        "ratio": medians[1] / medians[0],
        "error": error,
        "torch_error": torch_error,
        "right": error <= max(2 * torch_error, TOLERANCES[case.dtype]),
        "kernels": recorded.names,
    }


def title(case: Case) -> str:
    """What tells a case from others."""
    return f"{case.name} {case.dtype} {' '.join(map(shown, case.shapes))}"


def shown(shape: Shape) -> str:
    return "x".join(map(str, shape))


def prepare(case: Case) -> None:
    """Assemble a case's kernels, for a run elsewhere."""
    tensors = [tensor_at(4096, shape, case.dtype, case) for shape in case.shapes]
    Recorded(lambda *values: case.compute(ours, *values), tensors)


def summary(results: list[dict[str, Any]]) -> Iterator[str]:
    """For each family how many are right, and how the ratios are distributed."""
    for family in FAMILIES:
        chosen = [entry for entry in results if entry["family"] == family]
        if not chosen:
            continue
        ratios = sorted(entry["ratio"] for entry in chosen)
        right = sum(entry["right"] for entry in chosen)
        parts = [ratios[int(part * (len(ratios) - 1))] for part in (0, 0.1, 0.5, 0.9)]
        yield (
            f"{family}: {right} of {len(chosen)} right; ratios from {parts[0]:.2f}, "
            f"a tenth below {parts[1]:.2f}, median {parts[2]:.2f}, a tenth above "
            f"{parts[3]:.2f}, to {ratios[-1]:.2f}"
        )
        for entry in sorted(chosen, key=lambda entry: entry["ratio"])[:8]:
            time_shown = f"{entry['microseconds']:.1f} us"
            yield f"    {entry['ratio']:.2f} {time_shown} {entry['case']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--family", default="", choices=["", *FAMILIES])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", default="", help="only cases of earlier results")
    parser.add_argument("--below", type=float, default=math.inf, help="their ratio")
    parser.add_argument("--prepare", default="", help="the assembler, without a GPU")
    arguments = parser.parse_args()
    cases = [
        case
        for family, draw in FAMILIES.items()
        if arguments.family in ("", family)
        for case in draw(arguments.count, arguments.seed)
    ]
    if arguments.again:
        slow = slow_titles(Path(arguments.again), arguments.below)
        cases = [case for case in cases if title(case) in slow]
    with override(device="cuda"):
        if arguments.prepare:
            Assembler.install(arguments.prepare)
            for case in cases:
                prepare(case)
            return
        measure(cases, arguments.output)


def slow_titles(results: Path, below: float) -> set[str]:
    """The cases whose ratio was less than that."""
    rows = json.loads(results.read_text())["rows"]
    return {entry["case"] for entry in rows if entry["ratio"] < below}


def measure(cases: list[Case], output: str) -> None:
    """Measure cases on a GPU; what is known is written every now and then."""
    import torch

    dog = Watchdog()
    results: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        try:
            results.append(measure_case(case))
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            print(f"{case}: {type(error).__name__}: {text}", flush=True)
            if "gave CUDA_ERROR" in text:
                break
        dog.progress()
        if number % 20 == 0:
            torch.cuda.empty_cache()
            write_rows(output, results)
    write_rows(output, results)
    for entry in results:
        if not entry["right"]:
            print(f"wrong: {entry['case']}: {entry['error']:.1e}")
    for text in summary(results):
        print(text)


if __name__ == "__main__":
    main()
