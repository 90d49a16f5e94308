"""What a device can do, as plain data: code for it can be generated anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """The facts that fusion, plans and the cost model use about a device.

    Rates are per second for the whole device, sizes in bytes. A backend fills
    this in; nothing above ``backends`` asks which device it is.
    """

    backend: str
    architecture: str
    units: int = 1
    vector_bytes: int = 16
    registers: int = 16
    shared_bytes: int = 32 * 1024
    cache_bytes: int = 1024 * 1024
    memory_bandwidth: float = 10e9
    arithmetic_rate: float = 50e9
    launch_seconds: float = 1e-6
    features: frozenset[str] = field(default_factory=frozenset)

    def vector_lanes(self, itemsize: int) -> int:
        """Elements of this size that one vector register holds."""
        return max(1, self.vector_bytes // itemsize)
