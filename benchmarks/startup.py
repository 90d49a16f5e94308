"""What starting costs: the import, and the first result with and without kept kernels.

    python benchmarks/startup.py

Each figure is the least of several runs of a fresh interpreter, in milliseconds: the
time on the clock, and the processor's time, which a busy machine disturbs less.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 7
NUMPY = "import numpy"
IMPORT = "import tetragrad"
FIRST = "from tetragrad import Tensor; print((Tensor.ones(3) + 1).tolist())"


def _environment(cache: str) -> dict[str, str]:
    """As for an installed package: with bytecode, even where it is switched off."""
    kept = {**os.environ, "TETRAGRAD_CACHE": cache}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


def measure(program: str, cache: str, runs: int = RUNS) -> tuple[float, float, float]:
    """Least and median time on the clock, and least processor time, in ms."""
    clocks, processor = [], []
    for _ in range(runs):
        before, start = os.times(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", program],
            env=_environment(cache),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        clocks.append(1e3 * (time.perf_counter() - start))
        after = os.times()
        spent = after.children_user + after.children_system
        processor.append(1e3 * (spent - before.children_user - before.children_system))
    return min(clocks), statistics.median(clocks), min(processor)


def main() -> None:
    """Print one line a figure."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    with tempfile.TemporaryDirectory() as kept:
        measure(FIRST, kept, runs=1)
        numpy = measure(NUMPY, kept)
        rows = {
            "import numpy": numpy,
            "import tetragrad": measure(IMPORT, kept),
            "first result, warm": measure(FIRST, kept),
        }
    cold = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as empty:
            cold.append(measure(FIRST, empty, runs=1))
    clocks = [clock for clock, _, _ in cold]
    spent = min(processor for _, _, processor in cold)
    rows["first result, cold"] = (min(clocks), statistics.median(clocks), spent)
    print(f"{'':20} {'least':>8} {'median':>8} {'processor':>10}")
    for name, figures in rows.items():
        least, median, processor = figures
        print(f"{name:20} {least:8.0f} {median:8.0f} {processor:10.0f}")
    added = rows["import tetragrad"][2] - numpy[2]
    print(f"tetragrad's import costs {added:.0f} ms of the processor beyond NumPy's")


if __name__ == "__main__":
    main()
