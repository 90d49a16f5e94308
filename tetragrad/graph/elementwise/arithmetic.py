"""The ops on numbers that are exact or rounded once: sums, products, roots."""

from __future__ import annotations

import numpy as np

from tetragrad.core import dtypes
from tetragrad.graph.elementwise.logic import Eq, Lt, Where
from tetragrad.graph.elementwise.operation import (
    Binary,
    Unary,
    full_like,
    is_constant,
)
from tetragrad.graph.node import Node


class Add(Binary):
    """lhs + rhs; integers wrap."""

    __slots__ = ()
    evaluate = np.add

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x + zero -> x, where zero is -0.0 for floats: (-0.0) + 0.0 is 0.0."""
        zero = -0.0 if lhs.dtype.is_floating_point else 0
        if is_constant(rhs, zero):
            return lhs
        if is_constant(lhs, zero):
            return rhs
        return cls.fold(lhs, rhs)

    def gradient(self, upstream: Node) -> tuple[Node, Node]:
        return upstream, upstream


class Sub(Binary):
    """lhs - rhs; integers wrap."""

    __slots__ = ()
    evaluate = np.subtract

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x - 0 -> x."""
        return lhs if is_constant(rhs, 0) else cls.fold(lhs, rhs)

    def gradient(self, upstream: Node) -> tuple[Node, Node]:
        return upstream, Neg(upstream)


class Mul(Binary):
    """lhs * rhs; integers wrap."""

    __slots__ = ()
    evaluate = np.multiply

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x * 1 -> x. (x * 0 stays: NaN and -0 depend on x.)"""
        if is_constant(rhs, 1):
            return lhs
        if is_constant(lhs, 1):
            return rhs
        return cls.fold(lhs, rhs)

    def gradient(self, upstream: Node) -> tuple[Node, Node]:
        return Mul(upstream, self.rhs), Mul(upstream, self.lhs)


class Div(Binary):
    """lhs / rhs of floats, rounded once."""

    __slots__ = ()
    accepts = "floats"
    evaluate = np.divide

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x / 1 -> x."""
        return lhs if is_constant(rhs, 1) else cls.fold(lhs, rhs)

    def gradient(self, upstream: Node) -> tuple[Node, Node]:
        lhs_gradient = Div(upstream, self.rhs)
        return lhs_gradient, Neg(Mul(lhs_gradient, self))


class IDiv(Binary):
    """The floor of lhs / rhs of integers; x // 0 = 0 and MIN // -1 = MIN."""

    __slots__ = ()
    accepts = "integers"

    @staticmethod
    def evaluate(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        # NumPy's own definition for both special cases, without its warnings.
        quotient = np.floor_divide(lhs, np.where(rhs == 0, 1, rhs).astype(rhs.dtype))
        return np.where(rhs == 0, np.zeros_like(quotient), quotient)


class Mod(Binary):
    """lhs - floor(lhs / rhs) * rhs, exactly; the sign is rhs's.

    An integer modulo 0 is the integer itself; a float modulo 0 is NaN.
    """

    __slots__ = ()
    accepts = "ordered"

    @staticmethod
    def evaluate(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        if dtypes.from_numpy(lhs.dtype).is_integer:
            remainder = np.remainder(lhs, np.where(rhs == 0, 1, rhs).astype(rhs.dtype))
            return np.where(rhs == 0, lhs, remainder)
        wide = np.fmod(lhs.astype(np.float64), rhs.astype(np.float64))
        differs = (wide != 0) & ((wide < 0) != (rhs < 0))
        # The remainder is exact; the sum with rhs rounds once, in the dtype.
        remainder = wide.astype(lhs.dtype)
        return np.where(differs, remainder + rhs, remainder)

    def gradient(self, upstream: Node) -> tuple[Node, Node | None]:
        quotient = Floor(Div(self.lhs, self.rhs))
        return upstream, Neg(Mul(upstream, quotient))


class Maximum(Binary):
    """The larger of two values; NaN if either is NaN."""

    __slots__ = ()
    accepts = "ordered"
    evaluate = np.maximum

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """max(x, x) -> x."""
        return lhs if lhs is rhs else cls.fold(lhs, rhs)

    def gradient(self, upstream: Node) -> tuple[Node, Node]:
        # At a tie each side gets half, so that max(x, x) has gradient 1.
        half, zero, one = (full_like(self, value) for value in (0.5, 0.0, 1.0))
        tie_share = Where(Eq(self.lhs, self.rhs), half, zero)
        lhs_share = Where(Lt(self.rhs, self.lhs), one, tie_share)
        return Mul(upstream, lhs_share), Mul(upstream, Sub(one, lhs_share))


class Neg(Unary):
    """-x; integers wrap."""

    __slots__ = ()
    evaluate = np.negative

    @classmethod
    def simplify(cls, operand: Node) -> Node | None:
        """-(-x) -> x."""
        return operand.operand if isinstance(operand, Neg) else cls.fold(operand)

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Neg(upstream),)


class Reciprocal(Unary):
    """1 / x."""

    __slots__ = ()
    accepts = "floats"

    @staticmethod
    def evaluate(operand: np.ndarray) -> np.ndarray:
        return np.ones_like(operand) / operand

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Neg(Mul(upstream, Mul(self, self))),)


class Sqrt(Unary):
    """The square root; NaN below zero, sqrt(-0) = -0."""

    __slots__ = ()
    accepts = "floats"
    evaluate = np.sqrt

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Div(Mul(upstream, full_like(self, 0.5)), self),)


class Floor(Unary):
    """The largest whole number that is not above x."""

    __slots__ = ()
    accepts = "floats"
    evaluate = np.floor


class Trunc(Unary):
    """x without its fraction."""

    __slots__ = ()
    accepts = "floats"
    evaluate = np.trunc
