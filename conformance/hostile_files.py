"""Damaged and hostile files: each is read or refused, and nothing of it ever runs.

``python -m conformance.hostile_files`` mutates valid files (safetensors, torch
checkpoints of both kinds, npz and npy, IDX, ONNX, pickles that would run code) 100,000
times and reads each. A mutation has failed if reading

- raises anything but an error of tetragrad's own,
- takes longer than ``SECONDS`` or more memory than ``MEMORY``, or ends the process,
- imports, compiles, executes or opens anything: an audit hook of Python's sees it.

Mutation number i of a seed is the same in every run. The counts are written to
``conformance/results/hostile_files.json``; the files that failed are kept beside it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.hostile_mutations import mutate
from conformance.hostile_seeds import Seed, all_seeds
from tetragrad.core.errors import TetragradError

RESULTS = Path(__file__).parent / "results"

MUTATIONS = 100_000
#: Reading one file of a few kilobytes may take this long.
SECONDS = 5.0
#: And this much memory more than the process has when it starts.
MEMORY = 1 << 30

#: What an audit hook calls the doing of anything that a file could ask for.
FORBIDDEN = (
    "compile", "exec", "import", "open", "os.", "subprocess.", "socket.", "ctypes.",
    "pickle.", "marshal.", "code.", "shutil.", "pty.", "urllib.", "webbrowser.",
)  # fmt: skip


class Hang(BaseException):
    """Reading took too long."""


@dataclass
class Guard:
    """Notes every forbidden event between ``watching()`` and its end."""

    events: list[str] = field(default_factory=list)
    active: bool = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and event.startswith(FORBIDDEN):
            self.events.append(f"{event} {arguments[:1]!r:.80}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.events.clear()
        self.active = True
        try:
            yield
        finally:
            self.active = False


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise ``Hang`` if what is inside takes longer."""

    def stop(number: int, frame: object) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


#: A hook cannot be taken away again, so there is one for the process.
_guard: Guard | None = None


def guard() -> Guard:
    """The process's guard, installed when it is first asked for."""
    global _guard
    if _guard is None:
        _guard = Guard()
        sys.addaudithook(_guard.hook)
    return _guard


def outcome(seed: Seed, contents: bytes) -> tuple[str, str]:
    """("read" | "refused" | "failed", what happened)."""
    watch = guard()
    try:
        with watch.watching(), within(SECONDS):
            seed.read(contents)
    except TetragradError as error:
        result = ("refused", type(error).__name__)
        if not str(error).strip():
            result = ("failed", "an error without a message")
    except Hang:
        result = ("failed", f"longer than {SECONDS} s")
    except BaseException as error:
        result = ("failed", f"{type(error).__name__}: {error}"[:200])
    else:
        result = ("read", "")
    if watch.events:
        return "failed", f"it did {watch.events[0]}"
    return result


def warm_up(seeds: list[Seed]) -> None:
    """Read every seed once, so that what is imported late is there."""
    for seed in seeds:
        try:
            seed.read(seed.contents)
        except TetragradError:
            continue


def mutation(seeds: list[Seed], number: int) -> tuple[Seed, bytes]:
    """The seed and the contents of mutation ``number``."""
    seed = seeds[number % len(seeds)]
    generator = random.Random(f"hostile {seed.name} {number}")
    return seed, mutate(seed.format, seed.contents, generator)


@dataclass
class Report:
    """The counts of a sweep."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, seed: Seed, number: int, result: tuple[str, str]) -> None:
        kind, what = result
        self.counts[f"{seed.format} {kind}"] += 1
        if kind == "refused":
            self.refusals[what] += 1
        if kind == "failed":
            self.failures.append({"mutation": number, "of": seed.name, "what": what})


def sweep(seeds: list[Seed], numbers: range, keep: Path | None = None) -> Report:
    """Read the mutations with these numbers; failures are kept in a folder."""
    report = Report()
    for number in numbers:
        seed, contents = mutation(seeds, number)
        started = time.perf_counter()
        result = outcome(seed, contents)
        report.slowest = max(report.slowest, time.perf_counter() - started)
        report.add(seed, number, result)
        if result[0] == "failed" and keep is not None:
            keep.mkdir(exist_ok=True)
            (keep / f"{number}.bin").write_bytes(contents)
    return report


def limit_memory() -> None:
    """Let no allocation go beyond what the process uses now, plus ``MEMORY``."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(arguments: list[str] | None = None) -> None:
    """Run the sweep that the command line asks for, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=MUTATIONS)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS / "hostile_files.json")
    options = parser.parse_args(arguments)
    seeds = all_seeds()
    warm_up(seeds)
    limit_memory()
    started = time.perf_counter()
    numbers = range(options.first, options.first + options.mutations)
    report = sweep(seeds, numbers, options.output.with_suffix(".failures"))
    contents = {
        "suite": "Hostile files",
        "mutations": options.mutations,
        "seeds": len(seeds),
        "counts": dict(sorted(report.counts.items())),
        "refusals": dict(report.refusals.most_common()),
        "slowest_seconds": round(report.slowest, 3),
        "failures": report.failures,
    }
    options.output.write_text(json.dumps(contents, indent=1) + "\n")
    took = time.perf_counter() - started
    print(f"{len(report.failures)} of {options.mutations:,} failed ({took:.0f} s)")


if __name__ == "__main__":
    main()
