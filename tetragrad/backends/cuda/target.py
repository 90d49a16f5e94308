"""What NVIDIA's GPUs can do, as data: code for them can be generated anywhere."""

from __future__ import annotations

from dataclasses import replace

from tetragrad.core.target import Target

#: Threads of a block that work on one vector, and the bytes that each one moves.
VECTOR_THREADS = 256
BYTES_PER_THREAD = 16

_COMMON = Target(
    backend="cuda",
    architecture="sm_80",
    units=108,
    vector_bytes=VECTOR_THREADS * BYTES_PER_THREAD,
    registers=32,
    shared_bytes=160 * 1024,
    cache_bytes=40 * 1024 * 1024,
    memory_bandwidth=1.5e12,
    arithmetic_rate=19.5e12,
    launch_seconds=3e-6,
    iteration_elements=1,
    pieces=1024,
    row_vectors=8,
    longest_vector_bytes=1024 * BYTES_PER_THREAD,
    line_bytes=4,
    joins_pieces=True,
    features=frozenset({"mma"}),
)

#: Ampere: cp.async and mma.sync.
SM_80 = _COMMON

#: Hopper with its own instructions: the bulk copy engine and wgmma.
SM_90A = replace(
    _COMMON,
    architecture="sm_90a",
    units=132,
    shared_bytes=227 * 1024,
    cache_bytes=50 * 1024 * 1024,
    memory_bandwidth=4.3e12,
    arithmetic_rate=60e12,
    neighbours=8,
    chunk_bytes=16,
    features=frozenset(
        {"mma", "wgmma", "bfloat16 pairs", "early launch", "float8 conversions"}
    ),
)

TARGETS = {"sm_80": SM_80, "sm_90a": SM_90A}

#: The newest PTX that each target's features need; older drivers read older text.
PTX_VERSIONS = {"sm_80": "7.0", "sm_90a": "8.0"}


def target_for(major: int, minor: int, units: int) -> Target | None:
    """The target for a GPU's compute capability; None before 8.0.

    Text for an older architecture runs on every newer one, but for what ends in
    ``a``, which runs on that one only.
    """
    if (major, minor) == (9, 0):
        return replace(SM_90A, units=units)
    return replace(SM_80, units=units) if major >= 8 else None
