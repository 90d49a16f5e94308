"""What ran and how fast: the line a kernel that ``DEBUG=2`` prints.

     0.412 ms   652.1 GFLOP/s   10.2 GB/s   81 %  512x512 over 512     contract_…
     0.433 ms   620.9 GFLOP/s    9.7 GB/s   77 %  total of 3 kernels

The percentage is the share of the measured ceiling (see ``ceilings.py``): how long
the kernel's operations or bytes must take at least, over how long it took. Above
100 % the data was in the cache. ``DEBUG=4`` prints each tile program and ``DEBUG=5``
the target text, when a kernel is compiled or read from the disk cache.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from tetragrad.backends.backend import Device
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import Settings
from tetragrad.engine.schedule import Launch
from tetragrad.kernel.cost import Work, work_of
from tetragrad.kernel.ir import Kernel

#: From these shares of the ceiling on, a line is green or yellow; below, red.
GOOD, FAIR = 0.6, 0.3
_GREEN, _YELLOW, _RED, _BOLD, _RESET = (
    f"\033[{code}m" for code in ("32", "33", "31", "1", "0")
)


@frozen
class Sample:
    """One timed launch; ``share`` of the ceiling is None where there is no ceiling."""

    name: str
    loops: str
    seconds: float
    work: Work
    share: float | None


def run_timed(device: Device, calls: Iterable[tuple[Launch, Sequence[int]]]) -> None:
    """Launch each kernel with its addresses, and say what it did in what time."""
    samples = []
    for launch, addresses in calls:
        seconds = device.launch_timed(launch.executable, addresses)
        sample = _sample(device, launch, seconds)
        samples.append(sample)
        print(line(sample, colour=_is_terminal()), file=sys.stderr)
    if len(samples) > 1:
        print(line(total(samples), colour=_is_terminal()), file=sys.stderr)


def _sample(device: Device, launch: Launch, seconds: float) -> Sample:
    # Measuring ceilings compiles kernels, so it is not even imported before.
    from tetragrad.engine.ceilings import ceilings

    kernel, work = launch.kernel, work_of(launch.kernel).times(launch.repeats)
    limits = ceilings(device)
    share = None if limits is None else limits.share(work, seconds, _itemsize(kernel))
    return Sample(launch.name, loops_text(kernel), seconds, work, share)


def total(samples: Sequence[Sample]) -> Sample:
    """All samples as one; its share is that of the time at the ceiling."""
    seconds = sum(sample.seconds for sample in samples)
    operations = sum(sample.work.operations for sample in samples)
    nbytes = sum(sample.work.nbytes for sample in samples)
    shortest = [
        sample.share * sample.seconds for sample in samples if sample.share is not None
    ]
    share = sum(shortest) / max(seconds, 1e-9) if shortest else None
    name = f"total of {len(samples)} kernels"
    return Sample("", name, seconds, Work(operations, nbytes), share)


def line(sample: Sample, *, colour: bool) -> str:
    """One sample in aligned columns."""
    seconds = max(sample.seconds, 1e-9)
    share = "    -" if sample.share is None else f"{sample.share:5.0%}"
    if colour:
        share = f"{_colour_of(sample.share)}{share}{_RESET}"
    text = (
        f"{seconds * 1e3:9.3f} ms "
        f"{sample.work.operations / seconds / 1e9:8.1f} GFLOP/s "
        f"{sample.work.nbytes / seconds / 1e9:7.1f} GB/s {share}  "
        f"{sample.loops:<28} {sample.name}"
    ).rstrip()
    return f"{_BOLD}{text}{_RESET}" if colour and not sample.name else text


def loops_text(kernel: Kernel) -> str:
    """``float32 512x64 over 64``: what is stored, and what reductions run over."""
    stored = "x".join(str(kernel.axes[axis]) for axis in kernel.parallel_axes)
    if not kernel.outputs:
        return "on the host"
    dtype = kernel.slots[kernel.outputs[0].slot].dtype
    text = f"{dtype} {stored or '1'}"
    reduced = "x".join(str(kernel.axes[axis]) for axis in kernel.reduce_axes)
    return f"{text} over {reduced}" if reduced else text


def _itemsize(kernel: Kernel) -> int:
    """Of the widest floating-point slot: what its arithmetic is about."""
    sizes = [
        slot.dtype.itemsize for slot in kernel.slots if slot.dtype.is_floating_point
    ]
    return max(sizes, default=4)


def _colour_of(share: float | None) -> str:
    if share is None:
        return ""
    if share >= GOOD:
        return _GREEN
    return _YELLOW if share >= FAIR else _RED


def _is_terminal() -> bool:
    return sys.stderr.isatty()


# --- code ----------------------------------------------------------------------------


def show_code(kernel: Kernel, device: Device, settings: Settings) -> None:
    """Print the tile program of a kernel, and its target text from ``DEBUG=5`` on."""
    from tetragrad.engine.assembly import compile_kernel
    from tetragrad.tile.text import program_text

    program, text = compile_kernel(kernel, device, settings)
    print(program_text(program), file=sys.stderr)
    if settings.debug >= 5:
        print(text, file=sys.stderr)
