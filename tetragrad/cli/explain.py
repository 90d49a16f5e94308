"""``tetragrad explain script.py``: run a script, and show what each graph became."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tetragrad.backends.backend import Device
from tetragrad.core.errors import DataError
from tetragrad.core.settings import Settings
from tetragrad.engine.explain import LEVELS, Explanation, explain_on
from tetragrad.engine.schedule import watchers
from tetragrad.graph.node import Node


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--level", default="", choices=("", "all", *LEVELS))
    parser.add_argument("script", help="a Python file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")


def explain_script(options: argparse.Namespace) -> None:
    """Run the script as ``python`` would; each new graph is explained as it runs."""
    if not Path(options.script).exists():
        raise DataError(f"there is no script {options.script!r}")
    count = 0

    def show(explanation: Explanation) -> None:
        nonlocal count
        count += 1
        print(f"=== schedule {count} ===\n{explanation}\n", flush=True)

    with watching(options.level, show), _as_main(options.script, options.arguments):
        runpy.run_path(options.script, run_name="__main__")
    if not count:
        print("the script computed nothing")


@contextmanager
def watching(level: str, show: Callable[[Explanation], None]) -> Iterator[None]:
    """Explain every graph that is compiled inside the ``with`` block."""

    def watch(outputs: Sequence[Node], device: Device, active: Settings) -> None:
        show(explain_on(outputs, device, active, level))

    watchers.append(watch)
    try:
        yield
    finally:
        watchers.remove(watch)


@contextmanager
def _as_main(script: str, arguments: Sequence[str]) -> Iterator[None]:
    """What ``sys.argv`` is while the script runs."""
    before = sys.argv
    sys.argv = [script, *arguments]
    try:
        yield
    finally:
        sys.argv = before
