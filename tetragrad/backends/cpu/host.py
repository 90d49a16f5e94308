"""What this machine is: its processor, its caches and the cores we may use.

Everything but the processor's name and features is found without LLVM, so that
asking for the number of cores costs nothing at import.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

from tetragrad.core.frozen import frozen

_CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
_CGROUP_FOLDER = Path("/sys/fs/cgroup")

# What a modest desktop core has; used where the system does not say.
_DEFAULT_CACHE_BYTES = {"l1": 32 * 1024, "l2": 512 * 1024, "l3": 8 * 1024 * 1024}
_DARWIN_CACHE_NAMES = {
    "l1": "hw.l1dcachesize",
    "l2": "hw.l2cachesize",
    "l3": "hw.l3cachesize",
}
_SIZE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}

# Of Linux on x86-64: the system call, and what it is asked for.
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18


@frozen
class Host:
    """The processor that this process runs on.

    ``name``, ``features`` and ``triple`` are in LLVM's spelling and go straight
    to the assembler. Cache sizes are in bytes; ``l1_bytes`` and ``l2_bytes`` are
    one core's, ``l3_bytes`` is shared by all.
    """

    triple: str
    name: str
    features: tuple[str, ...]
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int

    @property
    def vector_bytes(self) -> int:
        """Bytes of the widest vector register."""
        return vector_bytes_of(self.features)


@functools.cache
def host() -> Host:
    """Describe this machine; loads LLVM, the first time only."""
    from llvmlite import binding

    found = dict(binding.get_host_cpu_features())
    if found.get("amx-tile") and not may_use_tiles():
        found |= {name: False for name in found if name.startswith("amx-")}
    return Host(
        triple=binding.get_process_triple(),
        name=binding.get_host_cpu_name(),
        features=tuple(
            sorted(("+" if on else "-") + name for name, on in found.items())
        ),
        cores=available_cores(),
        l1_bytes=cache_bytes("l1"),
        l2_bytes=cache_bytes("l2"),
        l3_bytes=cache_bytes("l3"),
    )


def may_use_tiles() -> bool:
    """Ask the system to keep this process's tile registers from thread to thread.

    Linux saves eight kilobytes more for each thread that uses them, and wants to be
    asked first (Documentation/arch/x86/xstate.rst); no other system is known to.
    """
    if sys.platform != "linux":
        return False
    status = ctypes.CDLL(None).syscall(
        _ARCH_PRCTL, _REQUEST_PERMISSION, ctypes.c_ulong(_TILE_DATA)
    )
    return bool(status == 0)


def vector_bytes_of(features: tuple[str, ...]) -> int:
    """The widest vector register that a set of LLVM features provides.

    The default of 16 is SSE2's and NEON's.
    """
    if "+avx512f" in features:
        return 64
    if "+avx2" in features:
        return 32
    return 16


def available_cores() -> int:
    """Cores this process may use: its affinity, capped by a container's quota."""
    return max(1, min(_affinity_cores(), _quota_cores()))


def _affinity_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota_cores() -> int:
    """Whole cores that the Linux control group grants; effectively endless if none."""
    endless = sys.maxsize
    if sys.platform != "linux":
        return endless
    for folder in _control_group_folders():
        quota = read_quota(folder)
        if quota is not None:
            return quota
    return endless


def _control_group_folders() -> list[Path]:
    """Where the limits of this process may stand, the closest first."""
    folders = []
    for line in _read_text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders.append(_CGROUP_FOLDER / path.lstrip("/"))
        elif "cpu" in controllers.split(","):
            folders.append(_CGROUP_FOLDER / "cpu" / path.lstrip("/"))
    return [*folders, _CGROUP_FOLDER, _CGROUP_FOLDER / "cpu"]


def read_quota(folder: Path) -> int | None:
    """Whole cores granted by one control group; None if it sets no limit.

    Version 2 writes ``cpu.max`` ("200000 100000": quota and period), version 1
    two files with the same two numbers. A part of a core counts as a whole one.
    """
    fields = _read_text(folder / "cpu.max").split()
    if not fields:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        fields = [_read_text(folder / name).strip() for name in names]
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    quota, period = (int(field) for field in fields)
    return max(1, -(-quota // period))


def cache_bytes(level: str) -> int:
    """The size of the ``"l1"`` (data), ``"l2"`` or ``"l3"`` cache."""
    if sys.platform == "linux":
        found = _linux_cache_bytes(level)
    elif sys.platform == "darwin":
        found = _darwin_number(_DARWIN_CACHE_NAMES[level])
    else:
        found = 0
    return found or _DEFAULT_CACHE_BYTES[level]


def _linux_cache_bytes(level: str) -> int:
    for folder in sorted(_CACHE_FOLDER.glob("index*")):
        is_level = _read_text(folder / "level").strip() == level[1:]
        is_data = _read_text(folder / "type").strip() != "Instruction"
        if is_level and is_data:
            return parse_size(_read_text(folder / "size").strip())
    return 0


def parse_size(text: str) -> int:
    """Read a size as the kernel writes it, ``"32K"`` or ``"1M"``; 0 if unreadable."""
    unit = _SIZE_UNITS.get(text[-1:], 1)
    digits = text.rstrip("KMG")
    return int(digits) * unit if digits.isdigit() else 0


def _darwin_number(name: str) -> int:
    """Ask macOS for one number by name; 0 if it has none."""
    library = ctypes.CDLL(None)
    value = ctypes.c_int64(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    status = library.sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0
    )
    return value.value if status == 0 else 0


def _read_text(path: Path) -> str:
    """The text of a file, empty if it is absent or closed to us."""
    try:
        return path.read_text()
    except OSError:
        return ""
