"""Memory under the name by which the engine and tensors know it: the host's, mostly."""

from __future__ import annotations

from tetragrad.backends import holdings, host_memory
from tetragrad.backends.host_memory import (
    ALIGNMENT,
    CHECKED_FROM,
    Memory,
    allocate,
    available_bytes,
    check_available,
)

__all__ = [
    "ALIGNMENT",
    "CHECKED_FROM",
    "Memory",
    "allocate",
    "allocated_bytes",
    "available_bytes",
    "check_available",
    "empty_cache",
]


def allocated_bytes() -> int:
    """Bytes in use by live tensors and temporaries, on all devices."""
    found = host_memory.allocated_bytes()
    # Every operation asks, and mostly there are none.
    for pool in holdings.pools:
        found += pool.used_bytes
    return found


def empty_cache() -> None:
    """Give memory that is kept for reuse back to the system, and to other devices."""
    host_memory.empty_cache()
    for pool in holdings.pools:
        pool.clear()
