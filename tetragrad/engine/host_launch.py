"""Host functions as launches, so that a replay can call them between its kernels.

``linalg.solve`` in a captured function runs NumPy on whatever the kernels before it
have left in memory, and leaves its result for those after it. Where a device has memory
of its own, both are copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.backends.backend import Device, Executable
from tetragrad.engine.capture import Run
from tetragrad.engine.schedule import Argument, Launch, Result, Schedule, Source
from tetragrad.graph.host_call import Call
from tetragrad.graph.leaves import Buffer
from tetragrad.kernel.ir import Kernel, Slot


class HostExecutable(Executable):
    """A host function, called with addresses of a device's memory.

    Args:
        call: whose inputs say no more than shapes and dtypes.
        on: where inputs and results lie.
    """

    __slots__ = ("_call", "_device", "_inputs")

    def __init__(self, call: Call, on: Device) -> None:
        self._call, self._device = call, on
        self._inputs = [(node.shape, node.dtype) for node in call.inputs]

    def launch(self, addresses: Sequence[int]) -> None:
        """Read the inputs, call the function, write its results."""
        count = len(self._inputs)
        elements = [
            self._device.read_at(address, shape, dtype)
            for address, (shape, dtype) in zip(addresses, self._inputs, strict=False)
        ]
        results = self._call.compute(elements)
        for address, array in zip(addresses[count:], results, strict=True):
            self._device.write_at(address, array)


def host_run(
    call: Call, inputs: Sequence[Buffer], results: Sequence[Buffer], on: Device
) -> Run:
    """The record of a call: one launch that a replay repeats on other buffers."""
    # The nodes themselves would keep the memory of the day.
    shapes = [Buffer(object(), e.shape, e.dtype, call.home) for e in inputs]
    executable = HostExecutable(replace(call, inputs=tuple(shapes)), on)
    slots = tuple(Slot(entry.dtype, entry.numel) for entry in (*inputs, *results))
    arguments = [Argument(Source.LEAF, place) for place in range(len(inputs))]
    arguments += [Argument(Source.OUTPUT, place) for place in range(len(results))]
    launch = Launch(
        call.function,
        Kernel((), slots, (), ()),
        executable,
        tuple(arguments),
        (),
        ("computed on the host",),
    )
    descriptions = tuple(Result(entry.shape, entry.dtype) for entry in results)
    schedule = Schedule((launch,), descriptions, (), 0)
    return Run(schedule, tuple(inputs), (), tuple(results), call.home)


def is_host_launch(launch: Launch) -> bool:
    """Whether a launch is a call of the host's."""
    return isinstance(launch.executable, HostExecutable)
