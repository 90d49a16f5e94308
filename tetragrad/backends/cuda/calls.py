"""Kernels for the driver to launch, one by one or recorded as a graph."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from typing import TYPE_CHECKING

from tetragrad.backends.cuda.driver import Context, call, opened_library
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.program import GridLaunch

# Numbers from cuda.h; the second is the launch attribute "programmatic stream
# serialization".
_CAPTURE_RELAXED = 2
_EARLY_LAUNCH = 6


class KernelCall:
    """A kernel with the places of its arguments, and what keeps those places."""

    def __init__(
        self, function: c_void_p, grid: GridLaunch, places: list[int], kept: object
    ) -> None:
        self.function = function
        self.grid = grid
        self.parameters = (c_void_p * max(1, len(places)))(*places)
        self._kept = kept

    def launch(self, stream: c_void_p) -> None:
        """Run behind what the stream has; the driver copies the arguments first."""
        grid, doing = self.grid, f"launching {self.grid.name}"
        blocks, threads = (grid.blocks, 1, 1), (grid.threads, 1, 1)
        parameters = self.parameters
        if not grid.early:
            sizes = (*blocks, *threads, grid.shared_bytes)
            name = "cuLaunchKernel"
            call(name, self.function, *sizes, stream, parameters, None, doing=doing)
            return
        early = _Attribute(_EARLY_LAUNCH, b"", 1)
        configuration = _Configuration(
            blocks, threads, grid.shared_bytes, stream, ctypes.pointer(early), 1
        )
        call(
            "cuLaunchKernelEx",
            byref(configuration),
            self.function,
            parameters,
            None,
            doing=doing,
        )


class _Attribute(ctypes.Structure):
    """One wish about a launch: ``CUlaunchAttribute`` in cuda.h."""

    _fields_ = (
        ("number", c_int),
        ("padding", ctypes.c_char * 4),
        ("value", c_int),
        ("rest", ctypes.c_char * 60),
    )


class _Configuration(ctypes.Structure):
    """How a kernel is launched: ``CUlaunchConfig`` in cuda.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("attribute_count", ctypes.c_uint),
    )


class _NodeParameters(ctypes.Structure):
    """A kernel in a graph: ``CUDA_KERNEL_NODE_PARAMS_v1`` in cuda.h."""

    _fields_ = (
        ("function", c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("parameters", c_void_p),
        ("extra", c_void_p),
    )


@frozen
class Node:
    """A kernel in a recorded graph."""

    handle: c_void_p


def last_recorded(stream: c_void_p) -> Node:
    """The node of what a stream that is being recorded was given last."""
    status, count = c_int(), c_size_t()
    number, graph, before = c_uint64(), c_void_p(), ctypes.POINTER(c_void_p)()
    call(
        "cuStreamGetCaptureInfo_v2",
        stream,
        byref(status),
        byref(number),
        byref(graph),
        byref(before),
        byref(count),
        doing="recording launches",
    )
    assert count.value == 1, "one kernel behind the other"
    return Node(c_void_p(before[0]))


class Graph:
    """Launches that were recorded once, and are repeated by a single call."""

    def __init__(self, context: Context, record: Callable[[], None]) -> None:
        self._context = context
        context.use()
        # Its nodes stand for those of what is launched.
        self._recorded, self.handle = c_void_p(), c_void_p()
        doing = "recording launches"
        with context.lock:
            stream = context.stream
            call("cuStreamBeginCapture_v2", stream, _CAPTURE_RELAXED, doing=doing)
            context.is_recording = True
            try:
                record()
            finally:
                context.is_recording = False
                recorded = byref(self._recorded)
                call("cuStreamEndCapture", stream, recorded, doing=doing)
        call(
            "cuGraphInstantiateWithFlags",
            byref(self.handle),
            self._recorded,
            c_uint64(0),
            doing=doing,
        )

    def launch(self) -> None:
        """Run everything again, with the arguments it was recorded with."""
        self._context.use()
        call(
            "cuGraphLaunch",
            self.handle,
            self._context.stream,
            doing="repeating recorded launches",
        )

    def update(self, node: Node, kernel: KernelCall) -> None:
        """Give a kernel other arguments from the next launch on."""
        grid = kernel.grid
        parameters = _NodeParameters(
            kernel.function,
            (grid.blocks, 1, 1),
            (grid.threads, 1, 1),
            grid.shared_bytes,
            ctypes.addressof(kernel.parameters),
            None,
        )
        call(
            "cuGraphExecKernelNodeSetParams",
            self.handle,
            node.handle,
            byref(parameters),
            doing=f"giving {grid.name} other arguments",
        )

    def __del__(self) -> None:
        library = opened_library()
        if library is None:
            return
        if self.handle:
            library.cuGraphExecDestroy(self.handle)
        if self._recorded:
            library.cuGraphDestroy(self._recorded)
