"""What ran and how fast: the line a kernel that ``DEBUG=2`` prints."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from tetragrad.engine.schedule import Launch
from tetragrad.kernel.cost import Work, work_of


@dataclass(frozen=True)
class Sample:
    """One timed launch."""

    name: str
    seconds: float
    work: Work


_samples: list[Sample] = []


def timed_launch(launch: Launch, addresses: list[int]) -> None:
    """Run one kernel, and say what it did in what time."""
    start = time.perf_counter()
    launch.executable.launch(addresses)
    seconds = time.perf_counter() - start
    print(line(Sample(launch.name, seconds, work_of(launch.kernel))), file=sys.stderr)


def line(sample: Sample) -> str:
    """``  1.234 ms  300.1 GFLOP/s   12.3 GB/s  contract_512x512x512``."""
    seconds = max(sample.seconds, 1e-9)
    return (
        f"{seconds * 1e3:9.3f} ms "
        f"{sample.work.operations / seconds / 1e9:9.1f} GFLOP/s "
        f"{sample.work.nbytes / seconds / 1e9:8.2f} GB/s  {sample.name}"
    )
