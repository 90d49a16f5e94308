"""The ops between dtypes: of values, and of bits."""

from __future__ import annotations

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError
from tetragrad.graph.elementwise.operation import Elementwise
from tetragrad.graph.leaves import Constant, constant
from tetragrad.graph.movement import broadcast_to, constant_of
from tetragrad.graph.node import Node, Shape


class Cast(Elementwise):
    """The same value in another dtype.

    Floats round to nearest even. Float to integer truncates and saturates, and NaN
    becomes 0. Integers wrap. Anything but zero is true.
    """

    __slots__ = ()
    fields = ("operand", "target_dtype")

    @classmethod
    def simplify(cls, operand: Node, target_dtype: DType) -> Node | None:
        """Cast to its own dtype -> x; cast(cast(x)) -> cast(x) if nothing is lost."""
        dtypes.check_real(target_dtype)
        if operand.dtype is target_dtype:
            return operand
        if isinstance(operand, Cast) and holds(operand.dtype, operand.operand.dtype):
            return Cast(operand.operand, target_dtype)
        value = constant_of(operand)
        if value is None:
            return None
        with np.errstate(all="ignore"):
            result = cast_array(value.array, target_dtype)
        return broadcast_to(constant(result, target_dtype), operand.shape)

    @classmethod
    def infer(cls, operand: Node, target_dtype: DType) -> tuple[Shape, DType]:
        return operand.shape, target_dtype

    @classmethod
    def apply(cls, dtype: DType, *operands: np.ndarray) -> np.ndarray:
        return cast_array(operands[0], dtype)

    def gradient(self, upstream: Node) -> tuple[Node | None]:
        source = self.operand.dtype
        return (Cast(upstream, source) if source.is_floating_point else None,)


class Bitcast(Elementwise):
    """The same bits read as another dtype of the same width."""

    __slots__ = ()
    fields = ("operand", "target_dtype")

    @classmethod
    def simplify(cls, operand: Node, target_dtype: DType) -> Node | None:
        """Bitcast to its own dtype -> x; bitcast(bitcast(x)) -> bitcast(x)."""
        if operand.dtype is target_dtype:
            return operand
        if isinstance(operand, Bitcast):
            return Bitcast(operand.operand, target_dtype)
        value = constant_of(operand)
        if value is None or target_dtype.bits != operand.dtype.bits:
            return None
        return broadcast_to(Constant(value.bits, target_dtype), operand.shape)

    @classmethod
    def infer(cls, operand: Node, target_dtype: DType) -> tuple[Shape, DType]:
        if operand.dtype.bits != target_dtype.bits:
            raise DTypeError(
                f"bitcast of {operand.dtype} ({operand.dtype.bits} bits) to "
                f"{target_dtype} ({target_dtype.bits} bits)",
                hint="the widths must agree",
            )
        return operand.shape, target_dtype

    @classmethod
    def apply(cls, dtype: DType, *operands: np.ndarray) -> np.ndarray:
        # Unlike ``ascontiguousarray``, this keeps an array without dimensions.
        return np.asarray(operands[0], order="C").view(dtype.numpy)


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` exists in ``wide``."""
    if narrow.is_bool:
        return wide.is_integer or wide in dtypes.ARITHMETIC
    if wide.is_floating_point and narrow.is_floating_point:
        return dtypes.promote(wide, narrow) is wide
    if wide.is_integer and narrow.is_integer:
        return dtypes.promote(wide, narrow) is wide and not wide.is_bool
    return False


def cast_array(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The definition of Cast."""
    source = dtypes.from_numpy(array.dtype)
    if not (source.is_floating_point and dtype.is_integer):
        return array.astype(dtype.numpy)
    wide = np.trunc(np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=np.inf))
    limits = np.iinfo(dtype.numpy)
    inside = (wide > float(limits.min)) & (wide < float(limits.max))
    exact = np.where(inside, wide, 0.0).astype(dtype.numpy)
    outside = np.where(wide > 0, limits.max, limits.min).astype(dtype.numpy)
    return np.where(inside, exact, outside)
