"""From kernels to executables: equal kernels once, and machine code kept on disk.

Planning and emitting are Python, assembling is native and leaves the interpreter's
lock alone, so a kernel is assembled while the next one is being emitted.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.settings import Settings
from tetragrad.engine.disk_cache import DiskCache
from tetragrad.engine.profile import show_code
from tetragrad.engine.progress import track
from tetragrad.kernel.ir import Kernel

#: Executables in use, by kernel, device and settings.
_loaded: WeakValueDictionary[tuple[Any, ...], Executable] = WeakValueDictionary()
_lock = threading.RLock()


def executables(
    kernels: Sequence[Kernel], device: Device, settings: Settings
) -> list[Executable]:
    """An executable for each kernel: from memory, from disk, or compiled now."""
    found: dict[Kernel, Executable] = {}
    with _lock, _collector_paused(), ThreadPoolExecutor(1) as assembler:
        pending: dict[Kernel, Future[bytes]] = {}
        for kernel in track(dict.fromkeys(kernels), "planning kernels"):
            known = _loaded.get(_key(kernel, device, settings))
            known = known or device.interpret(kernel)
            if known is None:
                pending[kernel] = _start(kernel, device, settings, assembler)
            else:
                found[kernel] = known
        for kernel, code in track(pending.items(), "assembling kernels"):
            found[kernel] = device.load(code.result())
        for kernel, executable in found.items():
            _loaded[_key(kernel, device, settings)] = executable
    return [found[kernel] for kernel in kernels]


def _key(kernel: Kernel, device: Device, settings: Settings) -> tuple[Any, ...]:
    return (kernel, device.name, settings.code_key())


def _start(
    kernel: Kernel, device: Device, settings: Settings, assembler: ThreadPoolExecutor
) -> Future[bytes]:
    """Begin to make the code of one kernel; the future gives it."""
    if settings.debug >= 4:
        show_code(kernel, device, settings)
    cache = DiskCache(settings)
    key = cache.key(kernel, device.target, settings)
    code = cache.read(key)
    if code is not None:
        kept: Future[bytes] = Future()
        kept.set_result(code)
        return kept
    program, text = compile_kernel(kernel, device, settings)

    def assemble() -> bytes:
        made = device.assemble(text, program)
        cache.write(key, made)
        return made

    return assembler.submit(assemble)


def compile_kernel(
    kernel: Kernel, device: Device, settings: Settings
) -> tuple[Any, str]:
    """Turn one kernel into a tile program and target text."""
    # Imported at the first compile, so that importing the package stays light.
    from tetragrad.tile.plans import build, choose_plan
    from tetragrad.tile.verify import verify_program

    plan = choose_plan(kernel, device.target, settings)
    program = build(kernel, plan, device.target)
    if settings.verify:
        verify_program(program)
    return program, device.emit(program, settings)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Compiling makes many small objects; collecting them all the while is slow."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
