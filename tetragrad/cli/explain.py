"""``tetragrad explain script.py``: run a script, and show what each graph became."""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
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
    parser.add_argument(
        "--level",
        default="",
        choices=("all", *LEVELS),
        help="only this level, or all in full; without it, all in short",
    )
    parser.add_argument("script", help="a Python file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")


def explain_script(options: argparse.Namespace) -> int:
    """Run the script as ``python`` would; each new graph is explained as it runs.

    Returns the exit status: 1 if the script raised an error.
    """
    if not Path(options.script).is_file():
        raise DataError(f"there is no script {options.script!r}")
    count = 0

    def show(explanation: Explanation) -> None:
        nonlocal count
        count += 1
        print(f"=== schedule {count} ===\n{explanation}\n", flush=True)

    with watching(options.level, show), _as_main(options.script, options.arguments):
        if not _ran(options.script):
            return 1
    if not count:
        print("the script computed nothing")
    return 0


def _ran(script: str) -> bool:
    """Run the script; what it raises is printed from its own first line on."""
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next
        traceback.print_exception(error.with_traceback(trace))
        return False
    return True


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
