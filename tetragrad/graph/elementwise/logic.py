"""The ops on truth and bits: comparisons, the choice between two values, shifts."""

from __future__ import annotations

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph.elementwise.operation import (
    Binary,
    Elementwise,
    Unary,
    check_alike,
    full_like,
    is_constant,
)
from tetragrad.graph.movement import constant_of
from tetragrad.graph.node import Node, Shape


class Where(Elementwise):
    """if_true where the condition holds, else if_false: the one ternary op."""

    __slots__ = ()
    fields = ("condition", "if_true", "if_false")

    @classmethod
    def simplify(cls, condition: Node, if_true: Node, if_false: Node) -> Node | None:
        """where(c, x, x) -> x; a constant condition chooses."""
        if if_true is if_false:
            return if_true
        value = constant_of(condition)
        if value is not None:
            return if_true if value.value else if_false
        return None

    @classmethod
    def infer(
        cls, condition: Node, if_true: Node, if_false: Node
    ) -> tuple[Shape, DType]:
        if not condition.dtype.is_bool:
            raise DTypeError(
                f"where needs a bool condition, not {condition.dtype}",
                hint="compare it with something, for example x != 0",
            )
        check_alike(cls, if_true, if_false)
        if condition.shape != if_true.shape:
            raise ShapeError(f"where of shapes {condition.shape} and {if_true.shape}")
        return if_true.shape, if_true.dtype

    @staticmethod
    def evaluate(
        condition: np.ndarray, if_true: np.ndarray, if_false: np.ndarray
    ) -> np.ndarray:
        return np.where(condition, if_true, if_false)

    def gradient(self, upstream: Node) -> tuple[None, Node, Node]:
        zero = full_like(self, 0.0)
        true_gradient = Where(self.condition, upstream, zero)
        false_gradient = Where(self.condition, zero, upstream)
        return None, true_gradient, false_gradient


class Comparison(Binary):
    """A binary op whose result is a bool."""

    __slots__ = ()

    @classmethod
    def infer(cls, lhs: Node, rhs: Node) -> tuple[Shape, DType]:
        super().infer(lhs, rhs)
        return lhs.shape, dtypes.bool_


class Lt(Comparison):
    """lhs < rhs; false if either is NaN."""

    __slots__ = ()
    accepts = "ordered"
    evaluate = np.less


class Eq(Comparison):
    """lhs == rhs; NaN equals nothing."""

    __slots__ = ()
    accepts = "anything"
    evaluate = np.equal


class Not(Unary):
    """Logical not of a bool, bitwise not of an integer."""

    __slots__ = ()
    accepts = "bits"
    evaluate = np.invert

    @classmethod
    def simplify(cls, operand: Node) -> Node | None:
        """not not x -> x."""
        return operand.operand if isinstance(operand, Not) else cls.fold(operand)


class And(Binary):
    """Logical and of bools, bitwise and of integers."""

    __slots__ = ()
    accepts = "bits"
    evaluate = np.bitwise_and

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x & all ones -> x; x & x -> x."""
        ones = True if lhs.dtype.is_bool else -1
        if lhs is rhs or is_constant(rhs, ones):
            return lhs
        return rhs if is_constant(lhs, ones) else cls.fold(lhs, rhs)


class Or(Binary):
    """Logical or of bools, bitwise or of integers."""

    __slots__ = ()
    accepts = "bits"
    evaluate = np.bitwise_or

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x | 0 -> x; x | x -> x."""
        if lhs is rhs or is_constant(rhs, 0):
            return lhs
        return rhs if is_constant(lhs, 0) else cls.fold(lhs, rhs)


class Xor(Binary):
    """Exclusive or, logical or bitwise."""

    __slots__ = ()
    accepts = "bits"
    evaluate = np.bitwise_xor


class Shl(Binary):
    """lhs shifted left; a shift by the width or more gives 0."""

    __slots__ = ()
    accepts = "integers"

    @staticmethod
    def evaluate(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        count, outside = _shift_out(lhs, rhs, lhs.dtype.itemsize * 8)
        return np.where(outside, np.zeros_like(lhs), np.left_shift(lhs, count))


class Shr(Binary):
    """lhs shifted right, keeping its sign; the width or more gives 0 or -1."""

    __slots__ = ()
    accepts = "integers"

    @staticmethod
    def evaluate(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        count, outside = _shift_out(lhs, rhs, lhs.dtype.itemsize * 8)
        sign = np.where(lhs < 0, np.zeros_like(lhs) - 1, np.zeros_like(lhs))
        return np.where(outside, sign.astype(lhs.dtype), np.right_shift(lhs, count))


def _shift_out(
    lhs: np.ndarray, rhs: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """A shift count inside the width, and where the real one was outside it."""
    outside = (rhs < 0) | (rhs >= limit)
    return np.where(outside, np.zeros_like(rhs), rhs), outside
