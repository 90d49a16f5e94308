"""From kernels to executables: equal kernels once, and machine code kept on disk."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.settings import Settings
from tetragrad.engine.disk_cache import DiskCache
from tetragrad.kernel.ir import Kernel

_loaded: dict[tuple[Any, ...], Executable] = {}
_lock = threading.RLock()


def executables(
    kernels: Sequence[Kernel], device: Device, settings: Settings
) -> list[Executable]:
    """An executable for each kernel, compiling only what is new."""
    return [executable(kernel, device, settings) for kernel in kernels]


def executable(kernel: Kernel, device: Device, settings: Settings) -> Executable:
    """The executable of one kernel, from memory, from disk, or compiled now."""
    key = (kernel, device.name, settings.code_key())
    found = _loaded.get(key)
    if found is None:
        with _lock, _collector_paused():
            found = _loaded.get(key)
            if found is None:
                found = _loaded[key] = compile_kernel(kernel, device, settings)
    return found


def compile_kernel(kernel: Kernel, device: Device, settings: Settings) -> Executable:
    """Turn one kernel into loaded code."""
    interpreted = device.interpret(kernel)
    if interpreted is not None:
        return interpreted
    from tetragrad.tile.plans import build, choose_plan

    plan = choose_plan(kernel, device.target, settings)
    program = build(kernel, plan, device.target)
    cache = DiskCache(settings)
    key = cache.key(kernel, device.target, settings)
    code = cache.read(key)
    if code is None:
        code = device.assemble(device.emit(program, settings))
        cache.write(key, code)
    return device.load(code, program)


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
