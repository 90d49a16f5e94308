"""The process that measures plans for ``watched_tuning.py``, one kernel after another.

It is begun with the number of a pipe. It is told a kernel, a device and the settings,
and answers a name and seconds for each plan as soon as it knows them, and None at last.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.errors import CompileError, OutOfMemoryError
from tetragrad.core.settings import Settings
from tetragrad.engine.realize import device
from tetragrad.engine.tuning import Arguments
from tetragrad.engine.watched_tuning import connection_of
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Program
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.candidates import candidates

#: How often each plan is measured, if there is time: twice, and then again and again
#: for a while, since what takes microseconds is a tenth longer at times.
ROUNDS, MOST_ROUNDS = 2, 8
SECONDS_AGAIN = 0.05


def main() -> None:
    """Answer until nobody asks any more."""
    connection = connection_of(int(sys.argv[1]))
    while True:
        try:
            kernel, name, settings = connection.recv()
        except EOFError:
            return
        for answer in measured(kernel, device(name), settings):
            connection.send(answer)
        connection.send(None)


def measured(
    kernel: Kernel, on: Device, settings: Settings
) -> Iterator[tuple[str, float]]:
    """Seconds of each of a kernel's plans, as far as the time goes.

    Assembling takes longest, so all plans are assembled side by side. What is measured
    first comes to an idle GPU, so all are measured again: the shortest time counts.
    """
    deadline = time.perf_counter() + settings.tune_milliseconds / 1e3
    try:
        arguments = Arguments(kernel, on)
    except OutOfMemoryError:
        return
    with ThreadPoolExecutor(on.assemblers) as executor:
        pending = {}
        for name, plan in candidates(kernel, on.target, settings).items():
            program = build(kernel, plan, on.target)
            text = on.emit(program, settings)
            pending[name] = executor.submit(_loaded, on, text, program)
        enough = deadline
        for turn in range(MOST_ROUNDS):
            if turn == 1:
                enough = time.perf_counter() + SECONDS_AGAIN
            if turn >= ROUNDS and time.perf_counter() > enough:
                return
            for number, (name, finished) in enumerate(pending.items()):
                if turn + number and time.perf_counter() > deadline:
                    return
                try:
                    executable: Executable = finished.result()
                    took = on.timed(executable, arguments.addresses, time.perf_counter)
                except (CompileError, OutOfMemoryError):
                    # Another plan may do with less.
                    continue
                yield name, took


def _loaded(on: Device, text: str, program: Program) -> Executable:
    return on.load(on.assemble(text, program))
