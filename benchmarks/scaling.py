"""What a second thread (or more) is worth, row by row of the CPU benchmark.

    python benchmarks/scaling.py [--rows conv sgemm] [--threads 2] [--json FILE]

Each compute-bound row runs with one thread and with all, in turns; so does a kernel
that stays in registers, which says what the machine gives at that time: cores of a
virtual machine may be two halves of one, or busy for somebody else. Turns in which
registers gain less than they should do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cpu_products import product_rows
from cpu_rows import Row, rows

import tetragrad
from tetragrad.core.settings import settings
from tetragrad.engine import ceilings
from tetragrad.engine.memory import allocate
from tetragrad.engine.realize import device

SECONDS_A_ROW = 1.0
#: Runs of a turn: the first one, after workers were started, does not count.
RUNS_A_TURN = 4
#: What registers gain at least in a turn that counts, as a share of the threads.
GIVEN = 0.9

Run = Callable[[], object]


def main() -> None:
    """Print a line for each row, and write them as JSON."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", default=[], help="parts of row names")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=SECONDS_A_ROW)
    parser.add_argument("--json", type=Path, help="a file to bring up to date")
    arguments = parser.parse_args()
    tetragrad.set_num_threads(arguments.threads)
    registers = registers_run()
    found = {}
    print(f"{'row':34}{'one ms':>9}{'all ms':>9}{'gain':>7}{'registers':>11}")
    for row in (*rows(), *product_rows()):
        if not row.operations or (
            arguments.rows and not any(part in row.name for part in arguments.rows)
        ):
            continue
        one, every, gain, most = gains(row, registers, arguments)
        found[row.name] = {"one": one, "all": every, "gain": gain, "registers": most}
        print(f"{row.name:34}{one:9.3f}{every:9.3f}{gain:7.2f}{most:11.2f}", flush=True)
    if arguments.json:
        known = {}
        if arguments.json.exists():
            known = json.loads(arguments.json.read_text("utf-8"))
        arguments.json.write_text(json.dumps(known | found, indent=2) + "\n", "utf-8")


def gains(
    row: Row, registers: Run, arguments: argparse.Namespace
) -> tuple[float, float, float, float]:
    """Milliseconds with one thread and with all, their ratio, and registers' ratio."""
    captured, inputs = prepared(row)
    runs: dict[str, Run] = {"row": lambda: captured(*inputs), "registers": registers}
    turns: dict[tuple[str, int], list[float]] = {}
    deadline = time.perf_counter() + arguments.seconds
    while not turns or time.perf_counter() < deadline:
        for threads in (1, arguments.threads):
            tetragrad.set_num_threads(threads)
            for name, run in runs.items():
                turns.setdefault((name, threads), []).append(turn(run))
    times = {key: np.array(samples) for key, samples in turns.items()}
    given = times["registers", 1] / times["registers", arguments.threads]
    counts = given >= GIVEN * arguments.threads
    if not counts.any():
        counts = given == given.max()
    one, every = (times["row", threads][counts] for threads in (1, arguments.threads))
    return (
        float(np.median(one)) * 1e3,
        float(np.median(every)) * 1e3,
        float(np.median(one / every)),
        float(np.median(given[counts])),
    )


def prepared(row: Row) -> tuple[Callable[..., object], list[tetragrad.Tensor]]:
    """The row as a captured function, and what it is called with."""
    random = np.random.default_rng(0)
    inputs = [tetragrad.Tensor(entry.draw(random)) for entry in row.inputs]
    if row.dtype:
        inputs = [entry.to(getattr(tetragrad, row.dtype)) for entry in inputs]
    inputs = [entry.realize() for entry in inputs]
    captured = tetragrad.jit(lambda *given: row.function(tetragrad, *given))
    # What stays the same over some calls is packed once.
    for _ in range(RUNS_A_TURN):
        captured(*inputs)
    return captured, inputs


def turn(run: Run) -> float:
    """The median of some runs, in seconds."""
    times = []
    for _ in range(RUNS_A_TURN):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def registers_run() -> Run:
    """Launches a kernel of multiplications in registers, which all threads share."""
    on = device("cpu")
    program = ceilings.product_program(on.target)
    executable = on.load(on.assemble(on.emit(program, settings()), program))
    block = allocate(program.slots[0].numel * 4)
    return lambda: executable.launch((block.address,))


if __name__ == "__main__":
    main()
