"""Tune the CPU benchmark's rows, and keep what was found as the package's defaults.

    python benchmarks/tune.py [--rows softmax sum] [--write]

Prints every kernel whose measured plan beat the model's. With ``--write`` the package's
file for this target is replaced; commit it if it holds on another day, too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping

import numpy as np
from cpu_rows import rows

import tetragrad
from tetragrad.core.settings import configure, settings
from tetragrad.engine import realize
from tetragrad.engine.tuning_database import DEFAULTS, UNKNOWN, Entry, TuningDatabase


def main() -> None:
    """Run each row once with tuning on, starting from nothing known."""
    os.environ.setdefault("TETRAGRAD_DEVICE", "cpu")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="parts of row names")
    parser.add_argument("--write", action="store_true", help="keep as defaults")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        configure(tune=True, cache=folder)
        database = TuningDatabase(realize.device("cpu").target, settings())
        for row in rows():
            if not arguments.rows or any(part in row.name for part in arguments.rows):
                known = set(database.entries())
                started = time.perf_counter()
                random = np.random.default_rng(0)
                inputs = [tetragrad.Tensor(entry.draw(random)) for entry in row.inputs]
                value = row.function(tetragrad, *inputs)
                for part in value if isinstance(value, tuple | list) else [value]:
                    part.realize()
                print(f"{row.name}: {time.perf_counter() - started:.1f} s")
                entries = database.entries()
                report({key: entries[key] for key in entries.keys() - known})
        if arguments.write:
            write(database)


def report(entries: Mapping[str, Entry]) -> None:
    """A line for each kernel that another plan is better for."""
    for entry in entries.values():
        if entry.plan != UNKNOWN:
            gain = entry.seconds[UNKNOWN] / entry.seconds[entry.plan]
            before = entry.seconds[UNKNOWN] * 1e3
            print(f"    {entry.plan}: {gain:.2f} times faster than {before:.3f} ms")


def write(database: TuningDatabase) -> None:
    """The package's file for this target: the kernels for which the model is wrong."""
    chosen = {
        key: entry.plan
        for key, entry in database.entries().items()
        if entry.plan != UNKNOWN
    }
    path = DEFAULTS / f"{database.name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"wrote {len(chosen)} plans to {path}")


if __name__ == "__main__":
    main()
