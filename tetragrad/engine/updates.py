"""Launches that change a part of a buffer where it lies.

``cache[position] = row`` gives the cache its next value, which is a whole cache. In a
replay that writes it where the old one lies, it is enough to go over the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.backends.backend import Device
from tetragrad.core.settings import settings
from tetragrad.engine.in_place import Replacement
from tetragrad.engine.schedule import Launch


def narrowed_launches(
    launches: Sequence[Launch], replacements: Sequence[Replacement], device: Device
) -> list[Launch]:
    """The launches as they may be while all of these outputs are written in place."""
    pairs: dict[int, dict[int, int]] = {}
    for entry in replacements:
        how = entry.overwriting
        pairs.setdefault(how.launch, {})[how.written] = how.read
    return [
        _narrowed(launch, pairs[number], device) if number in pairs else launch
        for number, launch in enumerate(launches)
    ]


def _narrowed(launch: Launch, old_slots: dict[int, int], device: Device) -> Launch:
    """The launch of a kernel that goes over what changes, or the launch as it is."""
    # The compiler is imported when it is needed: importing stays light.
    from tetragrad.engine.assembly import executables
    from tetragrad.kernel.updates import narrowed

    # One launch over pieces of many buffers has more arguments than its kernel.
    is_joined = len(launch.arguments) > len(launch.kernel.slots)
    kernel = None if is_joined else narrowed(launch.kernel, old_slots)
    if kernel is None:
        return launch
    (executable,) = executables([kernel], device, settings())
    # Both run on the same arguments.
    if executable.scratch_sizes != launch.executable.scratch_sizes:
        return launch
    return replace(launch, work=kernel, executable=executable)
