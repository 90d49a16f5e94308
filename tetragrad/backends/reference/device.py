"""The reference device: kernels are interpreted, nothing is compiled."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from tetragrad.backends.backend import Device, Executable
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.settings import Settings
from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Program


class InterpretedKernel(Executable):
    """A kernel as NumPy runs it, on buffers given by address."""

    __slots__ = ("kernel",)

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def launch(self, addresses: Sequence[int]) -> None:
        slots = self.kernel.slots
        buffers = [
            _array_at(address, slot.dtype, slot.numel)
            for address, slot in zip(addresses, slots, strict=False)
        ]
        scalars = [
            _array_at(address, dtype, 1)[0]
            for address, dtype in zip(
                addresses[len(slots) :], self.kernel.scalars, strict=True
            )
        ]
        run_kernel(self.kernel, buffers, scalars)


def _array_at(address: int, dtype: DType, count: int) -> np.ndarray:
    block = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(memoryview(block), dtype.numpy)


class ReferenceDevice(Device):
    """Host memory and an interpreter."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.target = Target("reference", "numpy")

    def interpret(self, kernel: Kernel) -> Executable:
        return InterpretedKernel(kernel)

    def emit(self, program: Program, settings: Settings) -> str:
        raise UnsupportedError("the reference backend interprets; it emits nothing")

    def assemble(self, text: str, program: Program) -> bytes:
        raise UnsupportedError("the reference backend interprets; it has no assembler")

    def load(self, code: bytes) -> Executable:
        raise UnsupportedError("the reference backend interprets; it loads no code")


def open_device(name: str) -> ReferenceDevice:
    """The one reference device."""
    return ReferenceDevice(name)
