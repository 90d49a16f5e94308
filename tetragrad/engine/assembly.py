"""From kernels to executables: equal kernels once, and machine code kept on disk.

Planning and emitting are Python, assembling is native and leaves the interpreter's
lock alone, so a kernel is assembled, and loaded where a device allows that, while the
next one is being emitted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.settings import Settings
from tetragrad.engine.disk_cache import DiskCache
from tetragrad.engine.progress import track
from tetragrad.engine.tuning_database import TuningDatabase
from tetragrad.kernel.ir import Kernel

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

R = TypeVar("R")

#: Gives a kernel's executable, when it is done.
Pending = Callable[[], Executable]

#: Executables in use, by kernel, device and settings.
_loaded: WeakValueDictionary[tuple[Any, ...], Executable] = WeakValueDictionary()
#: The same by device and by the key of their machine code; and those keys of a kernel.
_loaded_code: WeakValueDictionary[tuple[str, str], Executable] = WeakValueDictionary()
_code_keys: WeakKeyDictionary[Kernel, dict[tuple[Any, ...], str]] = WeakKeyDictionary()
_lock = threading.RLock()


def executables(
    kernels: Sequence[Kernel], device: Device, settings: Settings
) -> list[Executable]:
    """An executable for each kernel: from memory, from disk, or compiled now."""
    found: dict[Kernel, Executable] = {}
    with _lock, _Assembler(device.assemblers) as assembler:
        pending: dict[Kernel, tuple[str, Pending]] = {}
        for kernel in track(dict.fromkeys(kernels), "planning kernels"):
            known = _loaded.get(_key(kernel, device, settings))
            known = known or device.interpret(kernel)
            if known is None:
                pending[kernel] = _start(kernel, device, settings, assembler)
            else:
                found[kernel] = known
        for kernel, (code_key, finish) in track(pending.items(), "assembling kernels"):
            found[kernel] = _loaded_code[device.name, code_key] = finish()
        for kernel, executable in found.items():
            _loaded[_key(kernel, device, settings)] = executable
    return [found[kernel] for kernel in kernels]


def kept_programs(
    code_keys: Sequence[str], device: Device, settings: Settings
) -> dict[str, Executable] | None:
    """Executables by the keys of their machine code; None if some is not kept."""
    cache = DiskCache(settings)
    found: dict[str, Executable] = {}
    with _lock, _Assembler(device.assemblers) as assembler:
        pending: dict[str, Pending] = {}
        for key in dict.fromkeys(code_keys):
            known = _loaded_code.get((device.name, key))
            if known is not None:
                found[key] = known
                continue
            code = cache.read(key)
            if code is None:
                return None
            pending[key] = _load(code, device, assembler)
        for key, finish in pending.items():
            found[key] = _loaded_code[device.name, key] = finish()
    return found


def code_key_of(kernel: Kernel, device: Device, settings: Settings) -> str | None:
    """The key of the machine code that a kernel's executable was made of, if known."""
    return _code_keys.get(kernel, {}).get(_key(kernel, device, settings)[1:])


def _load(code: bytes, device: Device, assembler: _Assembler) -> Pending:
    """Begin to load machine code."""
    if device.loads_in_threads:
        return assembler.submit(lambda: device.load(code))
    return lambda: device.load(code)


def _key(kernel: Kernel, device: Device, settings: Settings) -> tuple[Any, ...]:
    return (kernel, device.name, settings.code_key(), settings.tune)


def _start(
    kernel: Kernel, device: Device, settings: Settings, assembler: _Assembler
) -> tuple[str, Pending]:
    """Begin to make one kernel's executable: its code's key, and what waits for it."""
    if settings.debug >= 4:
        from tetragrad.engine.profile import show_code

        show_code(kernel, device, settings)
    cache = DiskCache(settings)
    plan = plan_name(kernel, device, settings)
    key = cache.key(kernel, device.target, settings, plan)
    _code_keys.setdefault(kernel, {})[_key(kernel, device, settings)[1:]] = key
    known = _loaded_code.get((device.name, key))
    if known is not None:
        return key, lambda: known
    code = cache.read(key)
    if code is not None:
        return key, _load(code, device, assembler)
    program, text = compile_kernel(kernel, device, settings, plan)

    def assemble() -> bytes:
        made = device.assemble(text, program)
        cache.write(key, made)
        return made

    if device.loads_in_threads:
        return key, assembler.submit(lambda: device.load(assemble()))
    finished = assembler.submit(assemble)
    return key, lambda: device.load(finished())


class _Assembler:
    """Threads that assemble programs as they come; the first one starts them.

    Leaving early, as after Ctrl-C, drops what has not begun.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, job: Callable[[], R]) -> Callable[[], R]:
        """Do the job when a thread is free; what is returned waits for it."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(self._threads)
        return self._executor.submit(job).result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


def plan_name(kernel: Kernel, device: Device, settings: Settings) -> str:
    """Which of the kernel's plans to take: one that was measured, or the model's."""
    if settings.tune:
        # Imported where plans are measured, as most programs measure none.
        from tetragrad.engine.tuning import tuned_plan

        return tuned_plan(kernel, device, settings)
    return TuningDatabase(device.target, settings).plan_of(kernel)


def compile_kernel(
    kernel: Kernel, device: Device, settings: Settings, plan: str | None = None
) -> tuple[Any, str]:
    """Turn one kernel into a tile program and target text."""
    # Imported at the first compile, so that importing the package stays light.
    from tetragrad.tile.plans.build import build
    from tetragrad.tile.plans.candidates import plan_named
    from tetragrad.tile.verify import verify_program

    plan = plan or plan_name(kernel, device, settings)
    chosen = plan_named(plan, kernel, device.target, settings)
    program = build(kernel, chosen, device.target)
    if settings.verify:
        verify_program(program)
    return program, device.emit(program, settings)
