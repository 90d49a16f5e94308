"""Measured plans: which candidate is fastest on this machine, remembered.

With ``TETRAGRAD_TUNE=1`` a kernel that is compiled for the first time is measured: the
plans that differ (eight at most), each compiled and run a few times on made-up data.
Without it nothing is measured, but what was measured before is used.

The budget is kept by looking at the clock before anything is begun, and by beginning
only what should take less than what is left. A plan for a CPU is a nest of counted
loops that waits for nothing, so every launch ends. Plans for GPUs, whose roles wait for
one another, are measured by another process, which can be ended
(``watched_tuning.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.core.settings import Settings
from tetragrad.engine.tuning_database import Entry, TuningDatabase
from tetragrad.engine.watched_tuning import watched
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.build import Plan, build
from tetragrad.tile.plans.candidates import MODEL, candidates

#: The best of this many runs counts.
RUNS = 5
#: A launch this short is not worth a choice, nor could it be measured.
SHORTEST_SECONDS = 30e-6
#: A candidate may turn out this many times slower than the slowest so far.
MARGIN = 4.0

Clock = Callable[[], float]


def tuned_plan(kernel: Kernel, device: Device, settings: Settings) -> str:
    """The name of the plan to take: measured now, or remembered, or the model's."""
    database = TuningDatabase(device.target, settings)
    if not settings.tune:
        return database.plan_of(kernel)
    entry = database.read(kernel)
    if entry is None:
        if device.target.has_free_iterations:
            entry = watched(kernel, device, settings)
        else:
            entry = measure(kernel, device, settings)
        if entry is None:
            return MODEL
        database.write(kernel, entry)
    return entry.plan


def measure(
    kernel: Kernel,
    device: Device,
    settings: Settings,
    clock: Clock = time.perf_counter,
) -> Entry | None:
    """The fastest of the kernel's plans, as far as the budget goes.

    None if nothing was measured: the kernel's buffers do not fit into memory.
    """
    deadline = clock() + settings.tune_milliseconds / 1e3
    try:
        arguments = Arguments(kernel, device)
    except OutOfMemoryError:
        return None
    seconds: dict[str, float] = {}
    longest = 0.0
    for name, plan in candidates(kernel, device.target, settings).items():
        started = clock()
        if seconds and started + MARGIN * longest > deadline:
            break
        executable = compiled(kernel, plan, device, settings)
        run = partial(device.timed, executable, arguments.addresses, clock)
        seconds[name] = _best_of_runs(run, deadline, clock)
        longest = max(longest, clock() - started)
        if seconds[MODEL] < SHORTEST_SECONDS:
            break
    return Entry.of(seconds)


def compiled(
    kernel: Kernel, plan: Plan, device: Device, settings: Settings
) -> Executable:
    """The kernel as a plan computes it, ready to be launched."""
    program = build(kernel, plan, device.target)
    text = device.emit(program, settings)
    return device.load(device.assemble(text, program))


def _best_of_runs(run: Callable[[], float], deadline: float, clock: Clock) -> float:
    """Seconds of the fastest run; there is one even if time is up."""
    best = float("inf")
    for _ in range(RUNS):
        if best < float("inf") and clock() + best > deadline:
            break
        best = min(best, run())
    return best


class Arguments:
    """Buffers of random numbers for a kernel's slots, and numbers for its scalars.

    Integers are zeros and ones: an index from data is then in range, mostly.
    """

    def __init__(self, kernel: Kernel, device: Device) -> None:
        needed = sum(slot.numel * slot.dtype.itemsize for slot in kernel.slots)
        device.check_fits(needed, "the buffers of a kernel that is measured")
        random = np.random.default_rng(0)
        self._kept: list[Any] = []
        self.addresses: list[int] = []
        for slot in kernel.slots:
            self._add(device, _numbers(slot.dtype, slot.numel, random))
        for dtype in kernel.scalars:
            self._add(device, np.ones(1, dtype.numpy))

    def _add(self, device: Device, array: np.ndarray) -> None:
        memory = device.allocate(max(array.nbytes, 1))
        device.copy_in(memory, array)
        self._kept.append(memory)
        self.addresses.append(memory.address)


def _numbers(dtype: DType, count: int, random: np.random.Generator) -> np.ndarray:
    """A few thousand numbers, over and over: drawing them all would take longer."""
    some = min(count, 4096)
    if dtype.is_floating_point:
        return np.resize(random.standard_normal(some).astype(dtype.numpy), count)
    return np.resize(random.integers(0, 2, some).astype(dtype.numpy), count)
