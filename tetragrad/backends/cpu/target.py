"""What this processor, or any other, can do: the ``Target`` of the CPU backend."""

from __future__ import annotations

from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.emit.dot_steps import dot_steps
from tetragrad.backends.cpu.host import Host, host, vector_bytes_of
from tetragrad.core.target import Target

# A modest core: benchmarks measure the real ceilings.
_BANDWIDTH_PER_CORE = 8e9
_CLOCK = 2.5e9
_FMA_UNITS = 2


def host_target() -> Target:
    """The processor this process runs on."""
    return target_of(host())


def target_of(machine: Host) -> Target:
    """The target that a described machine is."""
    return make_target(
        Processor(machine.triple, machine.name, machine.features),
        units=machine.cores,
        l1_bytes=machine.l1_bytes,
        l2_bytes=machine.l2_bytes,
    )


def make_target(
    processor: Processor,
    *,
    units: int = 1,
    l1_bytes: int = 32 * 1024,
    l2_bytes: int = 512 * 1024,
) -> Target:
    """The target for a processor in LLVM's words, which need not be this one."""
    vector_bytes = vector_bytes_of(processor.features)
    enabled = (name for name in processor.features if name.startswith("+"))
    is_arm = processor.triple.startswith(("aarch64", "arm64"))
    features = {name.removeprefix("+") for name in enabled}
    if is_arm:
        features.add("neon")
    float32_lanes = vector_bytes // 4
    architecture = processor.triple.split("-", 1)[0]
    family = {"arm64": "aarch64", "amd64": "x86_64"}.get(architecture, architecture)
    return Target(
        backend="cpu",
        architecture=architecture,
        units=units,
        vector_bytes=vector_bytes,
        registers=32 if is_arm or vector_bytes == 64 else 16,
        shared_bytes=l1_bytes,
        cache_bytes=l2_bytes,
        memory_bandwidth=_BANDWIDTH_PER_CORE * units,
        arithmetic_rate=2.0 * _FMA_UNITS * float32_lanes * _CLOCK * units,
        launch_seconds=1e-6,
        joins_pieces=True,
        dot_steps=dot_steps(family, frozenset(features), vector_bytes),
        features=frozenset(features),
    )
