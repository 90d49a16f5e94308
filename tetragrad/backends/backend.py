"""What the engine needs from a backend, and the list of backends.

A backend is one folder and one line in ``BACKENDS``; others can be added from
outside through the package entry point ``tetragrad.backends``. The module is
imported when its device is first used.
"""

from __future__ import annotations

import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tetragrad.backends import host_memory
from tetragrad.core import dtypes
from tetragrad.core import settings as core_settings
from tetragrad.core.errors import DeviceError
from tetragrad.core.settings import Settings

if TYPE_CHECKING:
    from tetragrad.core.dtypes import DType
    from tetragrad.core.target import Target
    from tetragrad.graph.node import Shape
    from tetragrad.kernel.ir import Kernel
    from tetragrad.tile.ir import Program

BACKENDS: Final = {
    "cpu": "tetragrad.backends.cpu",
    "cuda": "tetragrad.backends.cuda",
    "reference": "tetragrad.backends.reference",
}


class Executable(ABC):
    """Code for one kernel, loaded on a device."""

    __slots__ = ("__weakref__",)

    @property
    def scratch_sizes(self) -> tuple[int, ...]:
        """Bytes of each block of temporary memory that one launch needs."""
        return ()

    @property
    def in_place(self) -> tuple[tuple[int, int], ...]:
        """Slots that are written, each with one that is read and may lie there too."""
        return ()

    @abstractmethod
    def launch(self, addresses: Sequence[int]) -> None:
        """Run with the addresses of the slots, then of the launch scalars."""


class Device(ABC):
    """One opened device: what it can do, and how a tile program gets onto it."""

    name: str
    target: Target

    #: Device type and number by which DLPack knows where the memory is.
    dlpack_device: tuple[int, int] = (1, 0)

    #: Programs that may be assembled at the same time.
    assemblers: int = 1
    #: Whether those who assemble may load, too; else the caller's thread does.
    loads_in_threads: bool = False

    @property
    def dlpack_stream(self) -> int | None:
        """The stream that other libraries should order their work on, if any."""
        return None

    @property
    def has_host_memory(self) -> bool:
        """Whether NumPy can read a block of memory where it lies."""
        return self.dlpack_device[0] == 1

    def interpret(self, kernel: Kernel) -> Executable | None:
        """An executable without any code; only the reference backend has one."""
        return None

    @abstractmethod
    def emit(self, program: Program, settings: Settings) -> str:
        """Target text for a tile program."""

    @abstractmethod
    def assemble(self, text: str, program: Program) -> bytes:
        """Machine code for a program's target text, with all that loading needs.

        It can be kept on disk, and may run in another thread or process.
        """

    @abstractmethod
    def load(self, code: bytes) -> Executable:
        """Make what ``assemble`` gave callable."""

    def keep_own_code(self, kept: Callable[[Callable[[], bytes]], bytes]) -> None:
        """Get what all programs share from ``kept``, which makes it or has it.

        A device whose programs share nothing needs nothing.
        """
        return None

    # --- memory: the host's, unless a backend has its own ----------------------------

    def allocate(self, nbytes: int) -> Any:
        """Uninitialised memory: an object with ``address`` and ``nbytes``.

        Its ``alias(owner)`` gives the same memory another handle.
        """
        return host_memory.allocate(nbytes)

    def check_fits(self, nbytes: int, purpose: str) -> None:
        """Raise OutOfMemoryError, before anything is allocated, if it cannot fit."""
        if nbytes > host_memory.CHECKED_FROM:
            host_memory.check_available(nbytes, purpose)

    def copy_in(self, memory: Any, array: np.ndarray) -> None:
        """Copy an array's elements to the start of a block of memory."""
        dtype = dtypes.from_numpy(array.dtype)
        memory.view(array.shape, dtype)[...] = array

    def copy_out(self, memory: Any, shape: Shape, dtype: DType) -> np.ndarray:
        """The elements of a block of memory, shared where it is the host's."""
        array: np.ndarray = memory.view(shape, dtype)
        return array

    def read_at(self, address: int, shape: Shape, dtype: DType) -> np.ndarray:
        """A copy of the elements at an address, after all that was launched before."""
        return host_memory.array_at(address, shape, dtype).copy()

    def write_at(self, address: int, array: np.ndarray) -> None:
        """Copy an array's elements to an address, before all that is launched later."""
        dtype = dtypes.from_numpy(array.dtype)
        host_memory.array_at(address, array.shape, dtype)[...] = array

    def part(self, memory: Any, start: int, nbytes: int) -> Any:
        """Some bytes of a block as a block of its own, which shares them if it can."""
        return memory.part(start, nbytes)

    def copied_part(self, memory: Any, start: int, nbytes: int, room: int = 0) -> Any:
        """A new block with some bytes of another, as they are in the order of work.

        It is ``room`` bytes long at least; what stands in the others is not known.
        """
        copy = self.allocate(max(nbytes, room))
        copy.data[:nbytes] = memory.data[start : start + nbytes]
        return copy

    def timed(
        self,
        executable: Executable,
        addresses: Sequence[int],
        clock: Callable[[], float],
    ) -> float:
        """Launch, and give the seconds that it took."""
        started = clock()
        executable.launch(addresses)
        return clock() - started

    def launch_timed(self, executable: Executable, addresses: Sequence[int]) -> float:
        """Launch once, and give the seconds until it has run."""
        started = time.perf_counter()
        executable.launch(addresses)
        return time.perf_counter() - started

    def synchronize(self) -> None:
        """Wait until everything that was launched has finished."""
        # On the host, a launch returns when it has.
        return None

    # --- launches --------------------------------------------------------------------

    def over_pieces(
        self,
        whole: Executable,
        rest: Executable,
        steps: Sequence[int],
        counts: Sequence[int],
        piece: int,
    ) -> Executable:
        """One launch over all pieces of several members' buffers.

        Its arguments are the slots of each member, then the scalars of each. ``whole``
        computes a piece of ``piece`` elements, and ``rest`` a shorter one; its last
        scalar says how long. ``steps`` are the bytes by which an element moves each
        slot, ``counts`` the members' elements. Only asked of a device whose target
        ``joins_pieces``.
        """
        raise NotImplementedError

    def prepare(
        self,
        executables: Sequence[Executable],
        starts: Sequence[int],
        cells: np.ndarray,
    ) -> Callable[[], None]:
        """A function that launches everything in order, to be called many times.

        ``cells`` holds the addresses of all arguments: those of a launch begin at
        its start, and its scratch blocks follow. They may change between calls.
        """
        stops = [*starts[1:], len(cells)]

        def launch_all() -> None:
            for executable, start, stop in zip(executables, starts, stops, strict=True):
                last = stop - len(executable.scratch_sizes)
                executable.launch(cells[start:last].tolist())

        return launch_all


def open_device(name: str) -> Device:
    """The device called ``name``, as ``backend`` or ``backend:number``."""
    backend = name.partition(":")[0]
    module = BACKENDS.get(backend) or _from_entry_points(backend)
    if module is None:
        known = ", ".join(sorted(BACKENDS))
        raise DeviceError(f"there is no device {name!r}", hint=f"use one of {known}")
    device = importlib.import_module(module).open_device(name)
    assert isinstance(device, Device)
    return device


def usual_device() -> str:
    """Where tensors live when nobody says: on the first GPU, if it can be used."""
    from tetragrad.backends import cuda

    return "cuda" if cuda.is_usable() else "cpu"


core_settings.find_device = usual_device


def _from_entry_points(backend: str) -> str | None:
    # Reading what is installed is slow, and most programs never ask.
    from importlib import metadata

    for entry in metadata.entry_points(group="tetragrad.backends"):
        if entry.name == backend:
            return entry.value
    return None
