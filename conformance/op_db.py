"""PyTorch's operator samples, run through tetragrad and counted.

``python -m conformance.op_db`` takes the sample inputs (float32, int64, bool) of every
operator in PyTorch's own test list, calls tetragrad by PyTorch's spelling, compares
value, dtype, shape and gradient, and writes ``conformance/results/op_db.json``. A name
passes with at least 98 % of its samples; a sample that cannot run has failed.

    python -m conformance.op_db --only gather --only nn.functional.pad
    python -m conformance.op_db --device cpu --processes 2

A run that was interrupted goes on where it stopped, unless ``--restart`` is given.
Samples run in processes of their own, so that one that crashes or hangs fails alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import resource
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from conformance.op_db_exclusions import EXCLUSIONS

RESULTS = Path(__file__).parent / "results"

#: The share of its samples with which a name passes.
BAR = 0.98

#: A sample may take this long, and its process use this much memory.
SECONDS = 30.0
MEMORY = 8 << 30

#: How much longer a process that does not answer is waited for; samples are limited
#: by the time that they compute, so that other work on the machine fails none.
PATIENCE = 300.0


@dataclass
class NameResult:
    """The counts of one name, and how often each message was seen."""

    name: str
    passed: int = 0
    failed: int = 0
    messages: Counter[str] = field(default_factory=Counter)

    @property
    def passes(self) -> bool:
        """Whether enough samples passed."""
        total = self.passed + self.failed
        return total > 0 and self.passed >= BAR * total

    def add(self, message: str) -> None:
        """Count one sample."""
        if message:
            self.failed += 1
            self.messages[message] += 1
        else:
            self.passed += 1


# --- processes ------------------------------------------------------------------------


def _serve(pipe: Connection, device: str, seconds: float, most: int | None) -> None:
    """A process that runs operators' samples: one message for each sample."""
    os.environ["TETRAGRAD_DEVICE"] = device
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not device.startswith("cuda"):
        # A GPU's driver reserves more addresses than the machine has memory.
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from conformance.op_db_samples import outcomes

    while True:
        try:
            name, start = pipe.recv()
        except EOFError:
            return
        try:
            left = None if most is None else max(0, most - start)
            for outcome in islice(outcomes(name, start, seconds), left):
                pipe.send(outcome.message)
        except Exception as error:
            # PyTorch could not make the rest of the samples.
            pipe.send(f"no samples: {error}"[:200])
        pipe.send(None)


class Worker:
    """A process that is replaced when it crashes or does not answer."""

    def __init__(self, device: str, seconds: float, most: int | None) -> None:
        self._settings = (device, seconds, most)
        self._process: Any = None

    def run(self, name: str) -> NameResult:
        """All samples of one name."""
        result = NameResult(name)
        done = False
        while not done:
            self._ask(name, result.passed + result.failed)
            done = self._collect(result)
        return result

    def _ask(self, name: str, start: int) -> None:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(other, *self._settings), daemon=True
            )
            self._process.start()
            other.close()
        self._pipe.send((name, start))

    def _collect(self, result: NameResult) -> bool:
        """Count samples until the name is done; False if the process ended."""
        while True:
            try:
                if not self._pipe.poll(self._settings[1] + PATIENCE):
                    result.add("the process did not answer")
                    self.stop()
                    return False
                message = self._pipe.recv()
            except (EOFError, OSError):
                result.add("the process crashed")
                self.stop()
                return False
            if message is None:
                return True
            result.add(message)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


# --- the run --------------------------------------------------------------------------


def names_to_run(only: Iterable[str]) -> list[str]:
    """The names asked for, or all that are not excluded."""
    from conformance.op_db_samples import operators

    known = operators()
    unknown = [name for name in only if name not in known]
    if unknown:
        raise SystemExit(f"PyTorch has no samples of {', '.join(unknown)}")
    return list(only) or sorted(set(known) - set(EXCLUSIONS))


def read_progress(path: Path) -> dict[str, NameResult]:
    """The names that an interrupted run has finished."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["messages"] = Counter(row["messages"])
    return {row["name"]: NameResult(**row) for row in rows}


def run_all(names: list[str], progress: Path, options: Any) -> dict[str, NameResult]:
    """Run names in parallel, and keep each result as soon as it is there."""
    results = read_progress(progress)
    settings = (options.device, options.seconds, options.most)
    workers = [Worker(*settings) for _ in range(options.processes)]
    left = iter([name for name in names if name not in results])

    def serve(worker: Worker) -> None:
        for name in left:
            result = worker.run(name)
            results[name] = result
            with progress.open("a") as file:
                file.write(json.dumps(vars(result)) + "\n")
            print(_line(result), flush=True)
        worker.stop()

    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(serve, workers))
    return results


def _line(result: NameResult) -> str:
    total = result.passed + result.failed
    mark = "ok  " if result.passes else "FAIL"
    reason = "; ".join(message for message, _ in result.messages.most_common(2))
    return f"{mark} {result.name} {result.passed}/{total} {reason}".rstrip()


def print_messages(result: NameResult) -> None:
    """Everything that went wrong with one name."""
    print(_line(result), flush=True)
    for message, count in result.messages.most_common():
        print(f"     {count} x {message}")


def report(
    results: dict[str, NameResult], device: str, most: int | None
) -> dict[str, Any]:
    """The result file's contents; ``most`` is how many samples of a name were run."""
    import torch

    found = [results[name] for name in sorted(results) if name not in EXCLUSIONS]
    counted = [result for result in found if result.passed + result.failed]
    excluded = EXCLUSIONS | {
        result.name: "has no samples of float32, int64 or bool"
        for result in found
        if result not in counted
    }
    return {
        "suite": "PyTorch operator samples (op_db)",
        "version": torch.__version__.partition("+")[0],
        "date": datetime.date.today().isoformat(),
        "device": device,
        "samples_of_a_name": most,
        "passed": sum(result.passes for result in counted),
        "failed": sum(not result.passes for result in counted),
        "samples_passed": sum(result.passed for result in counted),
        "samples_failed": sum(result.failed for result in counted),
        "excluded": [
            {"name": name, "reason": reason}
            for name, reason in sorted(excluded.items())
        ],
        "failures": [
            {"name": result.name, "message": message, "samples": count}
            for result in counted
            for message, count in result.messages.most_common(5)
        ],
        "names": {
            result.name: [result.passed, result.passed + result.failed]
            for result in counted
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line asks for, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--device", default="reference")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--most", type=int, help="samples of a name, for a quick look")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    names = names_to_run(options.only)
    output = options.output or RESULTS / "op_db.json"
    progress = output.with_suffix(f".{options.device}.progress")
    if options.only:
        worker = Worker(options.device, options.seconds, options.most)
        for name in names:
            print_messages(worker.run(name))
        return
    if options.restart:
        progress.unlink(missing_ok=True)
    results = run_all(names, progress, options)
    contents = report(results, options.device, options.most)
    output.write_text(json.dumps(contents, indent=1) + "\n")
    print(f"{contents['passed']} of {len(names)} names pass")


if __name__ == "__main__":
    main()
