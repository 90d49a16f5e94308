"""The host's memory, under the name by which the engine and tensors know it."""

from __future__ import annotations

from tetragrad.backends.host_memory import (
    ALIGNMENT,
    CHECKED_FROM,
    Memory,
    allocate,
    allocated_bytes,
    available_bytes,
    check_available,
    empty_cache,
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
