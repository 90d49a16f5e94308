"""Plans for a GPU, measured by a process that is ended when it does not answer.

The roles of a product wait for one another, so a plan could wait for ever, and what
waits on a GPU cannot be interrupted from the process that launched it. One process
measures kernel after kernel (``tuning_worker.py``); what it has answered when it stops
answering counts, and the next kernel gets another process.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, Pipe

from tetragrad.backends.backend import Device
from tetragrad.core.settings import Settings
from tetragrad.engine.tuning_database import UNKNOWN, Entry
from tetragrad.kernel.ir import Kernel

#: How long the process may need to begin, which opens the GPU and imports the
#: compiler, and for the plans of one kernel that it makes before the first is measured.
PATIENCE_TO_BEGIN_SECONDS = 20.0
#: How long one plan may take, whose launches take milliseconds.
PATIENCE_SECONDS = 2.0


class Worker:
    """A process that measures."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        number = theirs.fileno()
        # It finds this package and whatever else this process does.
        begin = f"import sys; sys.path[:] = {sys.path!r}; "
        begin += "from tetragrad.engine.tuning_worker import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", begin, str(number)],
            pass_fds=(number,),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def measure(
        self, kernel: Kernel, device: str, settings: Settings
    ) -> tuple[dict[str, float], bool]:
        """Seconds of each plan, and whether the process can be asked again."""
        seconds: dict[str, float] = {}
        patience = PATIENCE_TO_BEGIN_SECONDS
        try:
            self._connection.send((kernel, device, settings))
            while self._connection.poll(patience):
                answer = self._connection.recv()
                if answer is None:
                    return seconds, True
                name, took = answer
                seconds[name] = min(took, seconds.get(name, took))
                patience = PATIENCE_SECONDS
        except (EOFError, OSError):
            # It ended: a fault on its GPU is none on ours.
            pass
        return seconds, False

    def end(self) -> None:
        """End the process, whatever it is waiting for."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


_lock = threading.Lock()
_worker: Worker | None = None


def watched(kernel: Kernel, device: Device, settings: Settings) -> Entry | None:
    """The fastest plan; None if not even the model's could be measured."""
    global _worker
    if os.name == "nt":
        # Its pipes cannot be waited for like this.
        return None
    with _lock:
        if _worker is None:
            _worker = Worker()
            atexit.register(end)
        seconds, is_well = _worker.measure(kernel, device.name, settings)
    if not is_well:
        end()
    return Entry.of(seconds) if UNKNOWN in seconds else None


def end() -> None:
    """End the process that measures, if there is one."""
    global _worker
    with _lock:
        if _worker is not None:
            _worker.end()
            _worker = None
            atexit.unregister(end)


def connection_of(number: int) -> Connection:
    """The worker's end of the pipe."""
    return Connection(number)
