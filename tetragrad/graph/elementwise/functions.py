"""The elementary functions: exponentials, logarithms, powers, angles."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tetragrad.graph.elementwise.arithmetic import Div, Mul, Neg, Sub
from tetragrad.graph.elementwise.logic import And, Eq, Lt, Not, Where
from tetragrad.graph.elementwise.operation import (
    Binary,
    Unary,
    full_like,
    is_constant,
)
from tetragrad.graph.node import Node


class Transcendental(Unary):
    """A function that a target may have natively, and is expanded elsewhere.

    ``tile/functions.py`` writes each with basic arithmetic. The definition rounds
    once, from float64.
    """

    __slots__ = ()
    accepts = "floats"
    #: The function, on an array of float64.
    in_float64: ClassVar[np.ufunc | np.vectorize]

    @classmethod
    def evaluate(cls, operand: np.ndarray) -> np.ndarray:
        wide = np.asarray(operand, np.float64)
        return np.asarray(cls.in_float64(wide)).astype(operand.dtype)


class Exp(Transcendental):
    """e to the power x."""

    __slots__ = ()
    in_float64 = np.exp

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Mul(upstream, self),)


class Exp2(Transcendental):
    """2 to the power x."""

    __slots__ = ()
    in_float64 = np.exp2

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Mul(Mul(upstream, self), full_like(self, math.log(2))),)


class Log(Transcendental):
    """The natural logarithm; -inf at zero, NaN below."""

    __slots__ = ()
    in_float64 = np.log

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Div(upstream, self.operand),)


class Log2(Transcendental):
    """The logarithm to base 2; -inf at zero, NaN below."""

    __slots__ = ()
    in_float64 = np.log2

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Div(Mul(upstream, full_like(self, 1 / math.log(2))), self.operand),)


class Sin(Transcendental):
    """The sine of an angle in radians; NaN at infinity."""

    __slots__ = ()
    in_float64 = np.sin

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Mul(upstream, Cos(self.operand)),)


class Cos(Transcendental):
    """The cosine of an angle in radians; NaN at infinity."""

    __slots__ = ()
    in_float64 = np.cos

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Neg(Mul(upstream, Sin(self.operand))),)


class Tanh(Transcendental):
    """The hyperbolic tangent."""

    __slots__ = ()
    in_float64 = np.tanh

    def gradient(self, upstream: Node) -> tuple[Node]:
        return (Mul(upstream, Sub(full_like(self, 1.0), Mul(self, self))),)


class Erf(Transcendental):
    """The error function, 2/sqrt(pi) times the integral of exp(-t²) from 0 to x."""

    __slots__ = ()
    in_float64 = np.vectorize(math.erf, otypes=[np.float64])

    def gradient(self, upstream: Node) -> tuple[Node]:
        gaussian = Exp(Neg(Mul(self.operand, self.operand)))
        scale = full_like(self, 2 / math.sqrt(math.pi))
        return (Mul(upstream, Mul(scale, gaussian)),)


class Pow(Binary):
    """lhs to the power rhs, with the special cases of C99 Annex F."""

    __slots__ = ()
    accepts = "floats"

    @staticmethod
    def evaluate(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        wide = np.power(lhs.astype(np.float64), rhs.astype(np.float64))
        return np.asarray(wide).astype(lhs.dtype)

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """x ** 1 -> x; x ** 2 -> x * x, which is the square rounded once."""
        if is_constant(rhs, 1):
            return lhs
        return Mul(lhs, lhs) if is_constant(rhs, 2) else cls.fold(lhs, rhs)

    def gradient(self, upstream: Node) -> tuple[Node, Node]:
        zero, one = full_like(self, 0.0), full_like(self, 1.0)
        inner = Mul(self.rhs, Pow(self.lhs, Sub(self.rhs, one)))
        # x**0 is 1 for every x, so its slope is 0 even where x**-1 is not finite.
        slope = Where(Eq(self.rhs, zero), zero, inner)
        # 0**y is flat in y for y >= 0, where log(0) * 0 would be NaN.
        flat = And(Eq(self.lhs, zero), Not(Lt(self.rhs, zero)))
        growth = Where(flat, zero, Mul(self, Log(self.lhs)))
        return Mul(upstream, slope), Mul(upstream, growth)
