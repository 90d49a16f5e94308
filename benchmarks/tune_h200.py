"""How good the model's plans for products are on a GPU, beside the best of eight.

    python benchmarks/tune_h200.py [--shapes 40] [--output results.json] [--write]

Draws products at random, measures the plans that the model finds cheapest as
``TETRAGRAD_TUNE=1`` would, in a process of its own, and prints how far the model's own
choice is from the fastest. ``--write`` keeps what was found in the package's file for
this target; commit it if it holds on another day, too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.h200_timing import driver_version, tensor_at
from tetragrad.backends.backend import Device
from tetragrad.core.settings import configure, settings
from tetragrad.engine import realize
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.tuning_database import DEFAULTS, UNKNOWN, Entry, TuningDatabase
from tetragrad.engine.watched_tuning import watched
from tetragrad.kernel.ir import Kernel

#: Sizes of random products, half of them multiples of eight; and how much work most.
SMALLEST, LARGEST = 8, 8192
MOST_MULTIPLICATIONS = 2e11
#: A plan of the model's is good if the fastest is hardly faster.
GOOD = 1.10


class Shape:
    """A product drawn at random."""

    def __init__(self, random: np.random.Generator) -> None:
        while True:
            low, high = math.log(SMALLEST), math.log(LARGEST)
            sizes = np.exp(random.uniform(low, high, 3)).astype(int)
            if random.random() < 0.5:
                sizes = (sizes + 7) // 8 * 8
            if math.prod(sizes.tolist()) <= MOST_MULTIPLICATIONS:
                break
        self.rows, self.columns, self.depth = map(int, sizes)
        self.turned = tuple(bool(entry) for entry in random.random(2) < 0.5)

    def __str__(self) -> str:
        words = "".join("t" if entry else "n" for entry in self.turned)
        return f"{self.rows}x{self.columns}x{self.depth} {words} bfloat16"

    def kernel(self, on: Device) -> Kernel:
        """The product's kernel; there is nothing in its operands' memory."""
        left, right = (self.rows, self.depth), (self.depth, self.columns)
        a, b = (
            tensor_at(4096 * number, shape[::-1] if turned else shape, "bfloat16", self)
            for number, shape, turned in zip(
                (1, 2), (left, right), self.turned, strict=True
            )
        )
        product = (a.T if self.turned[0] else a) @ (b.T if self.turned[1] else b)
        nodes = realize.without_markers([product.node])
        (lowered,) = kernels_of(nodes, on.target, settings())[1]
        return lowered.kernel


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=40)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--write", action="store_true", help="keep as defaults")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    shapes = [Shape(random) for _ in range(options.shapes)]
    with tempfile.TemporaryDirectory() as folder:
        configure(device="cuda", cache=folder)
        on = realize.device("cuda")
        found = {}
        rows = []
        for shape in shapes:
            kernel = shape.kernel(on)
            started = time.perf_counter()
            entry = watched(kernel, on, settings())
            took = time.perf_counter() - started
            if entry is None:
                print(f"{shape}: nothing could be measured", flush=True)
                continue
            found[TuningDatabase(on.target, settings()).key(kernel)] = entry
            rows.append(row_of(str(shape), entry, took))
            show(rows[-1])
        record = summary(rows)
        print(json.dumps({k: v for k, v in record.items() if k != "rows"}))
        if options.output is not None:
            options.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        if options.write:
            write(TuningDatabase(on.target, settings()), found)


def row_of(name: str, entry: Entry, took: float) -> dict[str, Any]:
    """What is published of one product."""
    best = min(entry.seconds, key=lambda plan: entry.seconds[plan])
    return {
        "name": name,
        "model us": round(1e6 * entry.seconds[UNKNOWN], 2),
        "best us": round(1e6 * entry.seconds[best], 2),
        "ratio": round(entry.seconds[UNKNOWN] / entry.seconds[best], 3),
        "best": best,
        "plans": len(entry.seconds),
        "seconds": round(took, 2),
    }


def show(row: dict[str, Any]) -> None:
    """A line for one product."""
    print(
        f"{row['name']:32} {row['model us']:8.2f} {row['best us']:8.2f} "
        f"{row['ratio']:.2f} {row['plans']} plans in {row['seconds']} s: {row['best']}",
        flush=True,
    )


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the model is good, and what measuring costs."""
    ratios = sorted(row["ratio"] for row in rows)
    # The first one waits for the process to begin.
    seconds = sorted(row["seconds"] for row in rows[1:])
    return {
        "date": time.strftime("%Y-%m-%d"),
        "driver": driver_version(),
        "shapes": len(rows),
        "within 10 %": sum(ratio <= GOOD for ratio in ratios),
        "median ratio": ratios[len(ratios) // 2],
        "worst ratio": ratios[-1],
        "seconds a kernel": [seconds[len(seconds) // 2], seconds[-1]],
        "rows": rows,
    }


def write(database: TuningDatabase, found: dict[str, Entry]) -> None:
    """Add the kernels for which the model is wrong to the package's file."""
    path = DEFAULTS / f"{database.name}.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known |= {key: entry.plan for key, entry in found.items() if entry.plan != UNKNOWN}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{path.name} has {len(known)} plans")


if __name__ == "__main__":
    main()
