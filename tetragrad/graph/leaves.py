"""Nodes without sources: buffers, constants and iota."""

from __future__ import annotations

import functools
import math
from typing import Any, TypeGuard

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError
from tetragrad.graph.node import Node, Shape
from tetragrad.graph.sizes import Size


class Buffer(Node):
    """Elements in a device's memory, in row-major order.

    ``memory`` is the engine's handle, compared by identity; nothing at this level
    looks inside it.
    """

    __slots__ = ()
    fields = ("memory", "buffer_shape", "buffer_dtype", "buffer_device")

    @classmethod
    def infer(
        cls, memory: Any, shape: Shape, dtype: DType, device: str
    ) -> tuple[Shape, DType]:
        return shape, dtype

    @classmethod
    def place(cls, memory: Any, shape: Shape, dtype: DType, device: str) -> str:
        return device


class Constant(Node):
    """One value, of shape (). Kept as bytes, so that -0.0 is not 0.0."""

    __slots__ = ()
    fields = ("bits", "constant_dtype")

    @classmethod
    def infer(cls, bits: bytes, dtype: DType) -> tuple[Shape, DType]:
        return (), dtype

    @property
    def value(self) -> Any:
        """The value as a Python bool, int, float or complex."""
        return self.array.item()

    @property
    def array(self) -> np.ndarray:
        """The value as a NumPy array of shape ()."""
        return np.frombuffer(self.bits, self.dtype.numpy).reshape(())


class SizeValue(Node):
    """The value that a symbolic size has in this run, of shape () and dtype int64.

    Like a constant that is given at launch: of its value kernels know the limits only.
    ``form`` says what the size is made of, so that different sizes stay apart.
    """

    __slots__ = ()
    fields = ("size", "minimum", "maximum", "form")

    @classmethod
    def infer(
        cls, size: int, minimum: int, maximum: int, form: Any
    ) -> tuple[Shape, DType]:
        return (), dtypes.int64

    @property
    def bits(self) -> bytes:
        """The value as a launch passes it."""
        return np.int64(self.size).tobytes()


#: What can be a value that kernels receive at launch.
LaunchValue = Constant | SizeValue


class Iota(Node):
    """0, 1, 2, … size-1 as a vector; the only source of positions."""

    __slots__ = ()
    fields = ("size", "iota_dtype")

    @classmethod
    def infer(cls, size: int, dtype: DType) -> tuple[Shape, DType]:
        if not dtype.is_integer:
            raise DTypeError(f"iota counts in integers, not in {dtype}")
        return (size,), dtype


def is_given_at_launch(node: Node) -> TypeGuard[LaunchValue]:
    """Whether the node is a value that kernels receive, so that it shapes no code."""
    if isinstance(node, Constant):
        return not is_structural(node.value, node.dtype)
    return isinstance(node, SizeValue)


def launch_signature(node: LaunchValue) -> tuple[Any, ...]:
    """What kernels know of a value that they receive at launch."""
    if isinstance(node, SizeValue):
        return node.dtype, node.minimum, node.maximum
    return (node.dtype,)


def value_of_size(size: Size) -> SizeValue:
    """The leaf that stands for a symbolic size's value."""
    return SizeValue(int(size), size.minimum, size.maximum, size.form)


def number(value: Any, dtype: DType) -> Node:
    """The node of a number that may be a symbolic size."""
    if isinstance(value, Size):
        # The class of casts is defined in terms of leaves, so it is imported late.
        from tetragrad.graph.elementwise import Cast

        return Cast(value_of_size(value), dtype)
    return constant(value, dtype)


def is_structural(value: Any, dtype: DType) -> bool:
    """0, ±1, ±inf, NaN and all integers: values that change what a kernel is."""
    if not dtype.is_floating_point:
        return True
    return value in (0.0, 1.0, -1.0) or not math.isfinite(value)


def constant(value: Any, dtype: DType) -> Constant:
    """The constant node for a Python or NumPy number, converted to ``dtype``."""
    if type(value) in _CACHED_TYPES:
        if value != 0:
            return _constant_of_number(value, dtype)
        # Equal keys must mean equal bits, but 0.0 == -0.0.
        return _constant_zero(str(value) == "-0.0", dtype)
    return _new_constant(value, dtype)


_CACHED_TYPES = frozenset((bool, int, float))


def _new_constant(value: Any, dtype: DType) -> Constant:
    with np.errstate(all="ignore"):
        array = _to_scalar_array(value, dtype)
    return Constant(array.tobytes(), dtype)


_constant_of_number = functools.lru_cache(maxsize=4096, typed=True)(_new_constant)


@functools.lru_cache(maxsize=256)
def _constant_zero(is_negative: bool, dtype: DType) -> Constant:
    return _new_constant(-0.0 if is_negative else 0, dtype)


def _to_scalar_array(value: Any, dtype: DType) -> np.ndarray:
    if isinstance(value, int) and dtype.is_integer:
        # Integers wrap, whatever their size.
        mask = (1 << dtype.bits) - 1
        unsigned = np.dtype(f"uint{dtype.bits}")
        return np.array(value & mask, unsigned).view(dtype.numpy)
    return np.asarray(value).astype(dtype.numpy)
