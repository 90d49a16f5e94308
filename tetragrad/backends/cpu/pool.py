"""One persistent pool of native threads that runs the parts of a kernel.

``run(f, arguments, parts)`` calls ``void f(ptr arguments, i64 part, i64 parts)`` for
every part, on the workers and the calling thread, and returns when all are done.
Generated code forks and joins in the same way without Python, by calling
``parallel_address()`` as ``void (ptr pool, ptr f, ptr arguments, i64 parts)`` with
``state_address()`` as the pool.

Any thread may call it at any time, a part included: whoever finds the pool busy runs
its parts alone. Nothing spins while idle. A child process after ``fork`` starts
workers of its own at its next use. Workers take no signals, so Ctrl-C reaches Python,
which sees it when the running kernel is done. Without POSIX threads (on Windows) the
caller runs every part.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

from tetragrad.backends.cpu import pool_text
from tetragrad.backends.cpu.compiler import LoadedModule, assemble, load
from tetragrad.backends.cpu.host import available_cores, host
from tetragrad.core.errors import SettingError
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import settings

#: The native function that forks and joins, by the name that generated code calls.
PARALLEL = "tetragrad_parallel"

_LIFE_CYCLE = [f"tetragrad_pool_{what}" for what in ("prepare", "start", "stop")]

_HAS_THREADS = sys.platform != "win32"

_Parallel = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
)
_RunAll = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
_Prepare = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Start = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)


def run(function_address: int, argument_pointer: int, parts: int) -> None:
    """Call the function for each part in ``range(parts)``; return when all are done."""
    _pool.started().parallel(_pool.address, function_address, argument_pointer, parts)


def state_address() -> int:
    """The pool's memory, for generated code. It stays the same for the process."""
    _pool.started()
    return _pool.address


def parallel_address() -> int:
    """The native function that forks and joins, for generated code to call."""
    return _pool.native().module.address(PARALLEL)


def num_threads() -> int:
    """Threads that share the parts of a job, the calling one included."""
    return _pool.num_threads()


def set_num_threads(count: int) -> None:
    """Use ``count`` threads from now on; 1 means that the caller works alone."""
    limit = pool_text.MAX_WORKERS + 1
    if not 1 <= count <= limit:
        raise SettingError(
            f"cannot use {count} threads",
            hint=f"pass a number from 1 to {limit}; this machine has "
            f"{available_cores()} cores to offer",
        )
    _pool.resize(count)


def run_all() -> Callable[[int | None, int, int], None]:
    """The native function that calls the entries of a table in turn."""
    return _pool.native().run_all


def make_by(source: Callable[[], bytes]) -> None:
    """Get the pool's object code from elsewhere, if none is loaded yet."""
    _pool.source = source


def pool_object_code() -> bytes:
    """Assemble the pool for this machine."""
    if not _HAS_THREADS:
        return assemble(pool_text.serial_text())
    architecture = host().triple.split("-", 1)[0]
    names = {"arm64": "aarch64", "amd64": "x86_64"}
    return assemble(pool_text.threaded_text(names.get(architecture, architecture)))


@frozen
class _Native:
    """The pool's compiled functions."""

    module: LoadedModule
    parallel: Callable[[int, int, int, int], None]
    run_all: Callable[[int | None, int, int], None]
    prepare: Callable[[int], None]
    start: Callable[[int, int], int]
    stop: Callable[[int], None]


class _Pool:
    """The state of the one pool: its memory, its code, and whether workers run."""

    def __init__(self) -> None:
        size = pool_text.STATE_BYTES + pool_text.STATE_ALIGNMENT
        self._memory = ctypes.create_string_buffer(size)
        start = ctypes.addressof(self._memory)
        self.address = start + -start % pool_text.STATE_ALIGNMENT
        #: Where its object code comes from.
        self.source: Callable[[], bytes] = pool_object_code
        self._lock = threading.RLock()
        self._native: _Native | None = None
        self._running: _Native | None = None
        self._num_threads = 0
        #: What the settings said when the workers were started.
        self._setting = 0

    def started(self) -> _Native:
        """The native functions, after making sure that as many run as should."""
        if self._setting != settings().threads:
            self.stop()
        return self._running or self._start()

    def native(self) -> _Native:
        with self._lock:
            if self._native is None:
                self._native = self._load()
            return self._native

    def num_threads(self) -> int:
        return self._num_threads or settings().threads or available_cores()

    def resize(self, count: int) -> None:
        with self._lock:
            self.stop()
            self._num_threads = count

    def stop(self) -> None:
        """End the workers after the job they are on; the next use starts new ones."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.stop(self.address)

    def forget_workers(self) -> None:
        """After fork: the memory is as the parent had it, the threads are gone."""
        self._lock = threading.RLock()
        self._running = None
        ctypes.memset(self.address, 0, pool_text.STATE_BYTES)

    def _start(self) -> _Native:
        native = self.native()
        with self._lock:
            if self._running is None:
                self._setting = settings().threads
                native.prepare(self.address)
                _without_signals(native.start, self.address, self.num_threads() - 1)
                self._running = native
        return native

    def _load(self) -> _Native:
        names = [PARALLEL, pool_text.RUN_ALL, *(_LIFE_CYCLE if _HAS_THREADS else ())]
        module = load(self.source(), wanted=names)
        parallel, run_all, *others = map(module.address, names)
        calls = _Parallel(parallel), _RunAll(run_all)
        if not _HAS_THREADS:
            return _Native(module, *calls, _no_work, _no_workers, _no_work)
        prepare, start, stop = others
        return _Native(module, *calls, _Prepare(prepare), _Start(start), _Prepare(stop))


def _no_work(address: int) -> None:
    """Without threads there is nothing to prepare or to stop."""


def _no_workers(address: int, wanted: int) -> int:
    return 0


def _without_signals(
    start: Callable[[int, int], int], address: int, count: int
) -> None:
    """Start workers that inherit a mask blocking every signal."""
    if not _HAS_THREADS:
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        start(address, count)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


_pool = _Pool()

# Workers must not outlive the code they run, which goes with the interpreter.
atexit.register(_pool.stop)
if _HAS_THREADS:
    os.register_at_fork(after_in_child=_pool.forget_workers)
