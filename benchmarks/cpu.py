"""Our CPU kernels beside PyTorch's and JAX's, on the same work in the same run.

    python benchmarks/cpu.py [--rows sgemm softmax] [--json benchmarks/results/cpu.json]
    python benchmarks/cpu.py --json results/cpu.json --picture docs/roofline.svg
    python benchmarks/cpu.py --json results/cpu.json --docs docs/performance.md
    python benchmarks/cpu.py --json results/cpu.json --again

Runs are interleaved, inputs are random normal, outputs are checked against PyTorch in
float64 first (models: against its float32), and the ratio is what counts: ours over
the better peer, above 1 is faster. The ceilings (multiply-add rate, copy bandwidth)
are measured first. On a machine that others use, measure all rows ``--again``: of each,
the run stays in which everybody together took the least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cpu_models import ModelRow, model_rows
from cpu_products import product_rows
from cpu_rows import Row, rows
from roofline import draw

Run = Callable[[], object]
SECONDS_A_ROW = 1.5
ROUNDS = 5
#: How long a library runs before a run of it counts.
SETTLE_SECONDS = 0.01
#: What the table of a page begins with.
TABLE_HEAD = """\
| row | ours | PyTorch | JAX | ratio | error |
| --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Result:
    """Median milliseconds of each, and the ratios.

    ``touched`` are the bytes of all inputs, weights and results, each counted once;
    ``nbytes`` is 0 where it is operations that the row is bound by.
    """

    name: str
    tetragrad: float
    torch: float
    jax: float | None
    ratio: float
    share_of_ceiling: float
    first_call: float
    error: float | None
    operations: int
    nbytes: int
    touched: int


@dataclass(frozen=True)
class Prepared:
    """A row that has run once: who takes turns, and how that first time went."""

    runs: dict[str, Run]
    first_call: float
    error: float | None
    touched: int


# --- measuring -----------------------------------------------------------------------


def measure(
    row: Row | ModelRow, ceilings: dict[str, float], seconds_each: float
) -> Result:
    """Check the row, then time everybody in turn."""
    prepared = prepare(row) if isinstance(row, Row) else prepare_model(row)
    seconds = interleaved(prepared.runs, seconds_each)
    best = min(time for name, time in seconds.items() if name != "tetragrad")
    work = row.operations / ceilings["operations"] + row.nbytes / ceilings["nbytes"]
    return Result(
        row.name,
        seconds["tetragrad"] * 1e3,
        seconds["torch"] * 1e3,
        seconds["jax"] * 1e3 if "jax" in seconds else None,
        best / seconds["tetragrad"],
        work / seconds["tetragrad"],
        prepared.first_call * 1e3,
        prepared.error,
        row.operations,
        row.nbytes,
        prepared.touched,
    )


def prepare(row: Row) -> Prepared:
    """Run a function once in each library."""
    import torch

    import tetragrad

    random = np.random.default_rng(0)
    arrays = [entry.draw(random) for entry in row.inputs]
    ours = [tetragrad.Tensor(array) for array in arrays]
    theirs = [torch.from_numpy(array) for array in arrays]
    if row.dtype:
        ours = [entry.to(getattr(tetragrad, row.dtype)) for entry in ours]
        theirs = [entry.to(getattr(torch, row.dtype)) for entry in theirs]
    ours = [entry.realize() for entry in ours]
    captured = tetragrad.jit(lambda *inputs: row.function(tetragrad, *inputs))
    first_call, value = timed(lambda: captured(*ours))
    error = None
    if not row.random:
        exact = [e.double() if e.is_floating_point() else e for e in theirs]
        error = difference(value, row.function(torch, *exact))
    runs = {
        "tetragrad": lambda: captured(*ours),
        "torch": lambda: row.function(torch, *theirs),
    }
    jax_run = _jax_run(row, arrays)
    if jax_run is not None:
        runs["jax"] = jax_run
    return Prepared(runs, first_call, error, bytes_of([ours, value]))


def prepare_model(row: ModelRow) -> Prepared:
    """Build a model in each library, with the same weights, and run it once."""
    import torch

    import tetragrad
    import tetragrad.nn
    import tetragrad.optim

    random = np.random.default_rng(0)
    arrays = [entry.draw(random) for entry in row.inputs]
    ours = [tetragrad.Tensor(array).realize() for array in arrays]
    theirs = [torch.from_numpy(array) for array in arrays]
    torch.manual_seed(0)
    their_model, our_model = row.model(torch), row.model(tetragrad)
    weights = their_model.state_dict()
    our_model.load_state_dict({name: value.clone() for name, value in weights.items()})
    captured = tetragrad.jit(row.step(tetragrad, our_model))
    their_step = row.step(torch, their_model)
    first_call, value = timed(lambda: captured(*ours))
    error = difference(value, their_step(*theirs))
    runs: dict[str, Run] = {
        "tetragrad": lambda: captured(*ours),
        "torch": lambda: their_step(*theirs),
    }
    touched = bytes_of([ours, list(weights.values()), value])
    return Prepared(runs, first_call, error, touched)


def bytes_of(values: Any) -> int:
    """The bytes of tensors, in lists of lists."""
    if isinstance(values, tuple | list):
        return sum(bytes_of(entry) for entry in values)
    return int(values.nbytes)


def timed(run: Run) -> tuple[float, Any]:
    """Seconds that a call took, and what it gave."""
    started = time.perf_counter()
    value = run()
    return time.perf_counter() - started, value


def difference(ours: Any, theirs: Any) -> float:
    """The largest error of any result, relative to that result's largest element."""
    if isinstance(ours, tuple | list):
        pairs = zip(ours, theirs, strict=True)
        return max(difference(mine, other) for mine, other in pairs)
    if isinstance(theirs, tuple | list):
        (theirs,) = theirs
    wanted = theirs.detach().numpy()
    largest = max(float(np.abs(wanted).max()), 1e-30)
    return float(np.abs(ours.numpy() - wanted).max() / largest)


def _jax_run(row: Row, arrays: list[np.ndarray]) -> Run | None:
    try:
        import jax
    except ImportError:
        return None
    if row.jax is None:
        return None
    compiled = jax.jit(row.jax)
    placed = [jax.numpy.asarray(array) for array in arrays]
    return lambda: jax.block_until_ready(compiled(*placed))


def interleaved(runs: dict[str, Run], seconds_each: float) -> dict[str, float]:
    """Median seconds of each, taking turns so that all see the same machine.

    A turn starts with runs that do not count. The threads of the library before it
    spin for some milliseconds after their last job, and would take half of our cores.
    """
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    deadline = time.perf_counter() + seconds_each * len(runs)
    rounds = 0
    while rounds < ROUNDS or time.perf_counter() < deadline:
        rounds += 1
        for name, run in runs.items():
            settle(run)
            samples[name].append(timed(run)[0])
    return {name: float(np.median(times)) for name, times in samples.items()}


def settle(run: Run) -> None:
    """Run until other libraries' threads have gone to sleep, and at least once."""
    started = time.perf_counter()
    while True:
        run()
        if time.perf_counter() - started > SETTLE_SECONDS:
            return


# --- the table -----------------------------------------------------------------------


def main() -> None:
    """Measure the rows asked for, print the table, and write it as JSON."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="parts of row names")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=SECONDS_A_ROW)
    parser.add_argument("--part", default="1/1", help="which part of the rows")
    parser.add_argument("--json", type=Path, help="a file to bring up to date")
    parser.add_argument("--again", action="store_true", help="keep the quieter runs")
    parser.add_argument("--picture", type=Path, help="draw what the file holds")
    parser.add_argument("--docs", type=Path, help="a page whose table to renew")
    arguments = parser.parse_args()
    import torch

    from tetragrad import set_num_threads
    from tetragrad.engine.ceilings import measure as measure_ceilings
    from tetragrad.engine.realize import device

    # Steps repeated on one batch end in gradients so small that PyTorch, which does
    # not flush them by itself, takes thirty times as long. Threads inherit this.
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    set_num_threads(arguments.threads)
    limits = asdict(measure_ceilings(device("cpu")))
    print(f"ceilings: {limits['operations'] / 1e9:.0f} GFLOP/s, "
          f"{limits['nbytes'] / 1e9:.1f} GB/s")  # fmt: skip
    print(f"{'row':34}{'ours ms':>9}{'torch':>9}{'jax':>9}{'ratio':>7}"
          f"{'ceiling':>9}{'first':>8}{'error':>9}")  # fmt: skip
    results = []
    for row in part_of((*rows(), *product_rows(), *model_rows()), arguments.part):
        if arguments.rows and not any(part in row.name for part in arguments.rows):
            continue
        results.append(measure(row, limits, arguments.seconds))
        print(line_of(results[-1]), flush=True)
        if arguments.json:
            write(arguments.json, arguments, limits, results)
    ratios = [result.ratio for result in results]
    print(f"geometric mean of ratios: {np.exp(np.mean(np.log(ratios))):.2f}")
    if arguments.json:
        publish(json.loads(arguments.json.read_text("utf-8")), arguments)


def publish(record: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Draw the picture and renew the table, as far as they are asked for."""
    if arguments.picture:
        draw(record, arguments.picture)
    if arguments.docs:
        text = arguments.docs.read_text("utf-8")
        start = text.index(TABLE_HEAD) + len(TABLE_HEAD)
        end = text.index("\n\n", start)
        lines = "".join(table_line(row) for row in record["rows"])
        arguments.docs.write_text(text[:start] + lines + text[end + 1 :], "utf-8")


def table_line(row: dict[str, Any]) -> str:
    """One row of the page's table."""
    times = [row["tetragrad"], row["torch"], row["jax"], row["ratio"]]
    cells = ["–" if entry is None else f"{entry:.2f}" for entry in times]
    error = "–" if row["error"] is None else f"{row['error']:.1e}"
    return f"| {' | '.join([row['name'], *cells, error])} |\n"


def part_of(found: Sequence[Row | ModelRow], text: str) -> Sequence[Row | ModelRow]:
    """A stretch of the rows: ``2/3`` is the second of three."""
    number, count = (int(entry) for entry in text.split("/"))
    length = -(-len(found) // count)
    return found[(number - 1) * length : number * length]


def line_of(result: Result) -> str:
    """One line of the table."""
    jax = f"{result.jax:9.2f}" if result.jax is not None else "        –"
    error = f"{result.error:9.1e}" if result.error is not None else "        –"
    return (
        f"{result.name:34}{result.tetragrad:9.2f}{result.torch:9.2f}{jax}"
        f"{result.ratio:7.2f}{result.share_of_ceiling:9.0%}"
        f"{result.first_call:8.0f}{error}"
    )


def together(entry: dict[str, Any]) -> float:
    """What all libraries took for a row."""
    return float(entry["tetragrad"] + entry["torch"] + (entry["jax"] or 0.0))


def write(
    path: Path,
    arguments: argparse.Namespace,
    limits: dict[str, float],
    results: list[Result],
) -> None:
    """Keep the figures, with what they were measured on; other rows stay."""
    rows = {result.name: asdict(result) for result in results}
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        earlier = {entry["name"]: entry for entry in known["rows"]}
        if arguments.again:
            rows = {
                name: min(entry, earlier.get(name, entry), key=together)
                for name, entry in rows.items()
            }
        rows = earlier | rows
        # Of several runs the quietest says what the machine can do.
        limits = {name: max(limits[name], known["ceilings"][name]) for name in limits}
    record = {
        "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "threads": arguments.threads,
        "ceilings": limits,
        "rows": list(rows.values()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
