"""What the benchmarks on a GPU share: one memory for both libraries, timed in turns.

A computation of ours is recorded once and captured as a CUDA graph of a few
repetitions, PyTorch's as another; both are replayed in turns, and medians count.
:class:`Assembler` stands in for the GPU where there is none: everything is planned,
assembled by ``ptxas`` and kept on disk, so that the GPU's time is for measuring.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tetragrad
from tetragrad import Tensor
from tetragrad.backends.backend import Device, Executable
from tetragrad.backends.cuda.calls import Graph
from tetragrad.backends.cuda.driver import Event
from tetragrad.backends.cuda.launches import LaunchSequence
from tetragrad.backends.cuda.memory import MemoryAlias
from tetragrad.backends.cuda.programs import facts_text, target_text
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.settings import Settings
from tetragrad.engine import capture, realize
from tetragrad.engine.profile import loops_text
from tetragrad.engine.replay import Program
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Shape, size_of
from tetragrad.kernel.cost import work_of
from tetragrad.tile.ir import Program as TileProgram

#: Turns of each library, and how long one should take.
TURNS = 7
SECONDS_A_TURN = 0.02
#: Repetitions in one graph, at most: so many that gaps between graphs do not count.
MOST_REPEATED = 16
SECONDS_REPEATED = 3e-4
PATIENCE_SECONDS = 60
#: What no kernel of a network does more of in a second, and repetitions of one.
OPERATIONS, NBYTES = 2 * 400e12, 4.2e12
REPEATED = 4


class Watchdog:
    """Ends the process when nothing has happened for a while."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def progress(self) -> None:
        """Something has happened."""
        self.last = time.monotonic()

    def _watch(self) -> None:
        while time.monotonic() - self.last < PATIENCE_SECONDS:
            time.sleep(1)
        print("nothing has happened for a minute", flush=True)
        os._exit(3)


# --- the same memory in both libraries -----------------------------------------------


def tensor_at(address: int, shape: Shape, dtype: str, owner: object) -> Tensor:
    """A tensor of ours in memory that somebody else owns."""
    ours = getattr(tetragrad, dtype)
    memory = MemoryAlias(size_of(shape) * ours.itemsize, address, owner)
    return Tensor.from_node(Buffer(memory, shape, ours, "cuda"))


def shared(theirs: Any) -> Tensor:
    """A tensor of ours in the memory of one of PyTorch's."""
    dtype = str(theirs.dtype).removeprefix("torch.")
    return tensor_at(theirs.data_ptr(), tuple(theirs.shape), dtype, theirs)


class _Interface:
    """Bytes of GPU memory as PyTorch wants them described."""

    def __init__(self, buffer: Buffer) -> None:
        nbytes = buffer.numel * buffer.dtype.itemsize
        self.buffer = buffer
        self.__cuda_array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (buffer.arguments[0].address, False),
            "version": 3,
        }


def seen_by_torch(buffer: Buffer) -> Any:
    """One of our buffers as a tensor of PyTorch's."""
    import torch

    raw = torch.as_tensor(_Interface(buffer), device="cuda")
    return raw.view(getattr(torch, str(buffer.dtype))).view(buffer.shape)


# --- ours ----------------------------------------------------------------------------


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Several results, or the only one."""
    return value if isinstance(value, tuple) else (value,)


class Recorded:
    """A computation recorded once; its launches can be repeated."""

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        leaves = [entry.node for entry in inputs]
        recorder = capture.Recorder()
        with capture.recording(recorder):
            for leaf in leaves:
                recorder.realized[leaf] = leaf
            outputs = as_tuple(function(*inputs))
            results = realize.realize([entry.node for entry in outputs])
        self.device = realize.device("cuda")
        host_data = list(recorder.host_data)
        distinct = list(dict.fromkeys(results))
        self.program = Program(recorder.runs, leaves, [], host_data, distinct)
        _, self.outputs = self.program.replay(leaves, [])
        self._leaves = leaves

    @property
    def names(self) -> list[str]:
        """The kernels that are launched."""
        return [launch.name for launch in self.program.launches]

    def launch(self) -> None:
        """Launch every kernel once, from Python."""
        for _, run in self.program.frames[0].parts:
            run._launch()


def graph_timer(record: Callable[[], None], device: Any) -> Callable[[], float]:
    """Launches of ours as one graph; a call gives the seconds of a replay."""
    graph = Graph(device.context, record)
    start, stop = Event(device.context), Event(device.context)

    def measure() -> float:
        start.record()
        graph.launch()
        stop.record()
        return stop.seconds_since(start)

    return measure


def torch_timer(record: Callable[[], None]) -> Callable[[], float]:
    """The same for PyTorch."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        record()
        record()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        record()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def measure() -> float:
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3

    return measure


def repeated(action: Callable[[], Any], times: int) -> Callable[[], None]:
    """The action several times."""

    def run() -> None:
        for _ in range(times):
            action()

    return run


def repetitions(seconds: float) -> int:
    """How often something so long is done in one graph."""
    return max(1, min(MOST_REPEATED, int(SECONDS_REPEATED / max(seconds, 1e-7))))


def in_turns(
    timers: Sequence[Callable[[], float]],
    turns: int = TURNS,
    seconds: float = SECONDS_A_TURN,
) -> list[list[float]]:
    """The seconds of each timer in every turn."""
    for timer in timers:
        timer()
    slowest = max(timer() for timer in timers)
    count = max(1, min(20, int(seconds / max(slowest, 1e-7))))
    found: list[list[float]] = [[] for _ in timers]
    for _ in range(turns):
        for place, timer in enumerate(timers):
            # The first replay of a turn finds the caches as the other left them.
            timer()
            found[place].append(statistics.median(timer() for _ in range(count)))
    return found


# --- where a captured step's time goes ------------------------------------------------


def print_kernel_times(function: Any, file: Any = None) -> None:
    """The kernels of the last capture timed one by one, the largest losses first.

    Each is repeated with its arguments of now, so what it reads may be in the cache.
    What is lost is the time beyond what its bytes and operations must take.
    """
    found: dict[Any, list[float]] = {}
    launches = {}
    for launch, calls in _last_launches(function):
        key = (launch.name, loops_text(launch.kernel))
        launches[key] = launch
        found.setdefault(key, []).append(_seconds_of(calls))
    lines = []
    for (name, loops), seconds in found.items():
        launch = launches[name, loops]
        work = work_of(launch.kernel).times(launch.repeats)
        least = max(work.operations / OPERATIONS, work.nbytes / NBYTES)
        lines.append((sum(seconds) - least * len(seconds), seconds, work, name, loops))
    total = sum(sum(entry) for entry in found.values())
    count = sum(map(len, found.values()))
    print(f"{count} launches take {total * 1e3:.3f} ms one by one", file=file)
    for lost, seconds, work, name, loops in sorted(lines, reverse=True):
        once = statistics.median(seconds)
        print(
            f"lost {lost * 1e3:7.3f} of {sum(seconds) * 1e3:7.3f} ms {len(seconds):4}x "
            f"{once * 1e6:8.1f} us {work.operations / once / 1e12:6.1f} TFLOP/s "
            f"{work.nbytes / once / 1e9:6.0f} GB/s {name} {loops}",
            file=file,
        )


def _last_launches(function: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The launches of the frame that was replayed last, and their kernels."""
    program = function.captures[0].program
    frame, narrow = program._last, program._in_place.is_everywhere
    launches = program.narrow_launches if narrow else program.launches
    for part, run in frame.narrow_parts if narrow else frame.parts:
        if isinstance(run, LaunchSequence):
            yield from zip((launches[n] for n in part), run._kept, strict=True)


def _seconds_of(calls: Sequence[Any]) -> float:
    """How long a few kernels take, when they are repeated."""
    device = realize.device("cuda")

    def record() -> None:
        for _ in range(REPEATED):
            for call in calls:
                device.start(call)

    timer = graph_timer(record, device)
    timer()
    return statistics.median(timer() for _ in range(3)) / REPEATED


def relative_error(found: Any, exact: Any) -> float:
    """The distance from what is exact, as a part of its length."""
    exact = exact.double()
    difference = (found.double() - exact).norm() / exact.norm().clamp_min(1e-30)
    return float(difference)


def driver_version() -> str:
    """The version of the GPU's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.split("\n")[0]


def write_rows(output: str, rows: Sequence[Any], **facts: Any) -> None:
    """Keep rows with what they were measured on; nowhere, if ``output`` is empty."""
    if not output:
        return
    import torch

    record = {
        "date": time.strftime("%Y-%m-%d"),
        "gpu": torch.cuda.get_device_name(),
        "driver": driver_version(),
        "torch": torch.__version__,
        **facts,
        "rows": list(rows),
    }
    Path(output).write_text(json.dumps(record, indent=1) + "\n", "utf-8")


# --- without a GPU -------------------------------------------------------------------


class _Nothing(Executable):
    """A program that cannot run here."""

    def __init__(self, code: bytes) -> None:
        self.code = code

    def launch(self, addresses: Sequence[int]) -> None:
        """There is nothing to run it on."""


class Assembler(Device):
    """An H200 that only assembles: the results of everything are missing."""

    target = SM_90A
    name = "cuda"
    dlpack_device = (2, 0)

    def __init__(self, ptxas: str) -> None:
        self._ptxas = ptxas

    @classmethod
    def install(cls, ptxas: str) -> None:
        """Use it wherever the device ``cuda`` is asked for."""
        realize._devices["cuda"] = cls(ptxas)

    def emit(self, program: TileProgram, settings: Settings) -> str:
        return target_text(program, self.target, settings)

    def assemble(self, text: str, program: TileProgram) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "source.ptx"), Path(folder, "cubin")
            source.write_text(text)
            architecture = f"-arch={self.target.architecture}"
            command = [self._ptxas, architecture, "-o", str(target), str(source)]
            subprocess.run(command, check=True, capture_output=True)
            return facts_text(text, program).encode() + b"\n" + target.read_bytes()

    def load(self, code: bytes) -> Executable:
        return _Nothing(code)

    def over_pieces(self, *parts: Any) -> Executable:
        return _Nothing(b"")

    def allocate(self, nbytes: int) -> Any:
        return MemoryAlias(nbytes, 4096, self)

    def check_fits(self, nbytes: int, purpose: str) -> None:
        """Nothing is allocated."""

    def copy_in(self, memory: Any, array: np.ndarray) -> None:
        """Nothing is copied."""

    def copy_out(self, memory: Any, shape: Shape, dtype: Any) -> np.ndarray:
        return np.zeros(shape, dtype.numpy)
