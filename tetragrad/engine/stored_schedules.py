"""Schedules on disk: what one process has compiled no other one compiles again.

Kept are where the arguments of every launch lie and the keys of its machine code, which
is in a cache of its own. So a training step begins without fusing, lowering or planning
anything, even where every kernel of it is known. The kernels are kept too, for those
who ask what a launch does; mostly nobody does, and they are not read.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings, cache_folder
from tetragrad.engine.assembly import code_key_of, kept_programs
from tetragrad.engine.disk_cache import DiskCache, source_digest, target_facts
from tetragrad.engine.schedule import (
    Argument,
    KeptKernel,
    Launch,
    Result,
    Schedule,
    watchers,
)
from tetragrad.engine.structure import Structure
from tetragrad.engine.tuning_database import FOLDER as TUNING_FOLDER

if TYPE_CHECKING:
    from tetragrad.engine.joining import Joined
    from tetragrad.kernel.ir import Kernel
    from tetragrad.kernel.lowering import Lowered

#: Schedules of fewer launches are made as fast as they are read.
WORTH_KEEPING = 8
KIND = "schedules"


@frozen
class Program:
    """The key of a launch's machine code; or those of two, for whole pieces of several
    buffers and for the rest, with how the device takes them together."""

    codes: tuple[str, ...]
    pieces: tuple[tuple[int, ...], tuple[int, ...], int] | None = None


@frozen
class Entry:
    """What is kept of a schedule. Kernels and programs are numbers in their lists."""

    kernels: tuple[bytes, ...]
    programs: tuple[Program, ...]
    launches: tuple[StoredLaunch, ...]
    results: tuple[Result, ...]
    kept: tuple[int, ...]
    arena_bytes: int


@frozen
class StoredLaunch:
    """A launch without what only one process has."""

    name: str
    kernel: int
    program: int
    arguments: tuple[Argument, ...]
    scalars: tuple[int, ...]
    reasons: tuple[str, ...]
    repeats: float


# --- reading -------------------------------------------------------------------------


def stored_schedule(
    structure: Structure, device: Device, settings: Settings
) -> Schedule | None:
    """The schedule of a graph that was compiled before, if all of it is still there."""
    key = _key(structure, device, settings)
    content = None if key is None else DiskCache(settings, KIND).read(key)
    if content is None:
        return None
    entry: Entry = pickle.loads(content)
    programs = _loaded(entry.programs, device, settings)
    if programs is None:
        return None
    kernels = [KeptKernel(kernel) for kernel in entry.kernels]
    launches = tuple(
        Launch(
            launch.name,
            kernels[launch.kernel],
            programs[launch.program],
            launch.arguments,
            launch.scalars,
            launch.reasons,
            launch.repeats,
        )
        for launch in entry.launches
    )
    return Schedule(launches, entry.results, entry.kept, entry.arena_bytes)


def _loaded(
    programs: Sequence[Program], device: Device, settings: Settings
) -> list[Executable] | None:
    """The programs as this process can launch them; None if some code is gone."""
    codes = [code for program in programs for code in program.codes]
    found = kept_programs(codes, device, settings)
    if found is None:
        return None
    executables = []
    for program in programs:
        first, *others = (found[code] for code in program.codes)
        if program.pieces is not None:
            (rest,) = others
            first = device.over_pieces(first, rest, *program.pieces)
        executables.append(first)
    return executables


# --- writing -------------------------------------------------------------------------


def store_schedule(
    schedule: Schedule,
    launches: Sequence[Lowered | Joined],
    structure: Structure,
    device: Device,
    settings: Settings,
) -> None:
    """Keep a schedule that was made of these kernels; a failure is not an error."""
    if len(launches) < WORTH_KEEPING:
        return
    key = _key(structure, device, settings)
    if key is None:
        return
    programs: dict[Program, int] = {}
    kernels: dict[Kernel, int] = {}
    stored = []
    for launch, made in zip(schedule.launches, launches, strict=True):
        program = _program_of(made, device, settings)
        if program is None:
            return
        stored.append(
            StoredLaunch(
                launch.name,
                kernels.setdefault(launch.kernel, len(kernels)),
                programs.setdefault(program, len(programs)),
                launch.arguments,
                launch.scalars,
                launch.reasons,
                launch.repeats,
            )
        )
    try:
        entry = Entry(
            tuple(map(pickle.dumps, kernels)),
            tuple(programs),
            tuple(stored),
            schedule.results,
            schedule.kept,
            schedule.arena_bytes,
        )
        content = pickle.dumps(entry)
    except RecursionError:
        # A kernel's values may be nested more deeply than pickles can be.
        return
    DiskCache(settings, KIND).write(key, content)


def _program_of(
    launch: Lowered | Joined, device: Device, settings: Settings
) -> Program | None:
    """The machine code of a launch; None for what has none on disk."""
    # The compiler has been imported by those who have compiled something.
    from tetragrad.engine.joining import Joined
    from tetragrad.tile.plans.pieces import PIECE

    pieces = None
    kernels = [launch.kernel]
    if isinstance(launch, Joined):
        kernels = [launch.piece.whole, launch.piece.rest]
        pieces = (launch.piece.steps, launch.counts, PIECE)
    codes = [code_key_of(kernel, device, settings) for kernel in kernels]
    known = tuple(code for code in codes if code is not None)
    return Program(known, pieces) if len(known) == len(codes) else None


# --- keys ----------------------------------------------------------------------------


def _key(structure: Structure, device: Device, settings: Settings) -> str | None:
    """What a schedule depends on, or None where it must be made anew.

    Plans that were measured may differ from one run to the next; a graph at the
    maximum of symbolic sizes, and what is to be verified or shown, are compiled.
    """
    is_shown = watchers or settings.verify or settings.graph or settings.debug >= 4
    if not settings.disk_cache or is_shown or structure.extents:
        return None
    if settings.tune or (cache_folder() / TUNING_FOLDER).is_dir():
        return None
    digest = hashlib.sha256(source_digest())
    try:
        digest.update(_spelled((structure.key, structure.values)).encode())
    except _NotSpelledError:
        return None
    facts = (device.name, target_facts(device.target), settings.code_key())
    digest.update(repr(facts).encode())
    return digest.hexdigest()


class _NotSpelledError(Exception):
    """A graph has an argument that only this process knows."""


def _spelled(part: Any) -> str:
    """A part of a structure's key as text that is the same in every process."""
    kind = type(part)
    if kind in _PLAIN or isinstance(part, str):
        return repr(part)
    if kind is tuple or kind is list:
        return f"({','.join(map(_spelled, part))})"
    if kind is DType:
        return str(part.name)
    if isinstance(part, type):
        return f"{part.__module__}.{part.__qualname__}"
    if isinstance(part, Enum):
        return f"{kind.__qualname__}.{part.name}"
    raise _NotSpelledError


_PLAIN = frozenset((int, bool, bytes, float, type(None)))
