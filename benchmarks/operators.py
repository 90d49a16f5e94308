"""Common operators, one by one beside PyTorch's eager mode on the CPU.

    python benchmarks/operators.py [--match softmax] [--part 1/3]

Each operator is timed as a captured function and as a plain call, in turns with
PyTorch, after its values were compared. ``conformance/results/operators.json`` keeps
the newest figures of every operator, so a run may measure only a part of them, and
``conformance/report.py`` makes the list of slow ones in ``docs/conformance.md`` of it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cpu import settle
from operator_cases import Case, cases, draw

RESULTS = Path(__file__).parents[1] / "conformance" / "results" / "operators.json"
#: Seconds for all turns of one operator, and the fewest turns.
SECONDS = 0.25
TURNS = 5
#: The largest difference, relative to the largest element, that counts as equal.
TOLERANCE = 2e-3


def measured(case: Case) -> dict[str, Any]:
    """Milliseconds of each, and how far the values are apart; or what went wrong."""
    import torch

    import tetragrad
    from tetragrad.core.errors import CaptureError

    random = np.random.default_rng(0)
    arrays = [draw(entry, random) for entry in case.inputs]
    ours = [tetragrad.Tensor(array).realize() for array in arrays]
    theirs = [torch.from_numpy(array) for array in arrays]

    def plain() -> Any:
        # New handles on the same memory: known values would not be computed anew.
        fresh = [tetragrad.from_numpy(array) for array in arrays]
        return realized(case.function(tetragrad, *fresh))

    error = difference(_first(plain()), _first(case.function(torch, *theirs)))
    if not error <= TOLERANCE:
        return {"failure": f"the values are {error:.1e} apart"}
    runs: dict[str, Callable[[], Any]] = {
        "torch": lambda: case.function(torch, *theirs),
        "plain": plain,
    }
    captured = tetragrad.jit(lambda *inputs: case.function(tetragrad, *inputs))
    try:
        captured(*ours)
        runs["captured"] = lambda: captured(*ours)
    except CaptureError:
        # What depends on values, such as how many there are, is not captured.
        pass
    return {"error": error, "milliseconds": in_turns(runs)}


def _first(value: Any) -> Any:
    """The result, or the first of several."""
    return value[0] if isinstance(value, tuple | list) else value


def realized(value: Any) -> Any:
    """The value, computed."""
    for entry in value if isinstance(value, tuple | list) else [value]:
        entry.realize()
    return value


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest element."""
    wanted = theirs.resolve_conj().to(_widest(theirs)).numpy()
    found = ours.numpy().astype(wanted.dtype)
    if found.shape != wanted.shape:
        return float("inf")
    largest = max(float(np.abs(wanted).max(initial=0)), 1e-30)
    return float(np.abs(found - wanted).max(initial=0) / largest)


def _widest(tensor: Any) -> Any:
    import torch

    return torch.complex128 if tensor.is_complex() else torch.float64


def in_turns(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median milliseconds of each."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    deadline = time.perf_counter() + SECONDS
    while len(samples["torch"]) < TURNS or time.perf_counter() < deadline:
        for name, run in runs.items():
            settle(run)
            started = time.perf_counter()
            run()
            samples[name].append(time.perf_counter() - started)
    return {name: float(np.median(taken)) * 1e3 for name, taken in samples.items()}


def part_of(found: Sequence[Case], text: str) -> Sequence[Case]:
    """Every n-th case: ``2/3`` is the second of three parts."""
    number, _, count = text.partition("/")
    return found[int(number) - 1 :: int(count)]


def line_of(name: str, result: dict[str, Any]) -> str:
    """One line of the table."""
    if "failure" in result:
        return f"{name:24} {result['failure']}"
    took = result["milliseconds"]
    best = min(took["plain"], took.get("captured", took["plain"]))
    captured = f"{took['captured']:9.3f}" if "captured" in took else "        –"
    return (
        f"{name:24}{captured}{took['plain']:9.3f}{took['torch']:9.3f}"
        f"{took['torch'] / best:8.2f}"
    )


def main() -> None:
    """Measure, print, and bring the file up to date."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--match", nargs="*", default=[], help="parts of names")
    parser.add_argument("--part", default="1/1", help="which part of all operators")
    parser.add_argument("--json", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    import torch

    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    record = {"operators": {}}
    if arguments.json.exists():
        record = json.loads(arguments.json.read_text("utf-8"))
    record |= {
        "date": time.strftime("%Y-%m-%d"),
        "threads": threads,
        "torch": torch.__version__,
    }
    print(f"{'operator':24}{'captured':>9}{'plain':>9}{'torch':>9}{'ratio':>8}")
    for case in part_of(cases(), arguments.part):
        if arguments.match and not any(part in case.name for part in arguments.match):
            continue
        name = _full_name(case)
        try:
            result = measured(case)
        except Exception as problem:  # One operator's mistake must not hide the rest.
            result = {"failure": f"{type(problem).__name__}: {problem}"[:200]}
        record["operators"][name] = result
        print(line_of(name, result), flush=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def _full_name(case: Case) -> str:
    """The operator, and what kind of numbers it is given, if that is not float32."""
    kind = case.inputs[0].partition(" ")[0]
    return f"{case.name} ({kind})" if kind == "complex" else case.name


if __name__ == "__main__":
    main()
