"""The elementwise ops: one class each, with its meaning, dtype rule and gradient.

``evaluate`` is the definition. It works on NumPy arrays of one dtype and serves
constant folding, the reference backend and every test. All operands of a node have
the same shape; broadcasting is movement and happens before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph.leaves import Constant, constant, number
from tetragrad.graph.movement import broadcast_to, constant_of
from tetragrad.graph.node import Node, Shape


class Elementwise(Node):
    """An op that treats every element alike."""

    __slots__ = ()
    accepts: ClassVar[str] = "numbers"

    #: The definition, on one array for each operand.
    evaluate: ClassVar[Callable[..., np.ndarray]]

    @classmethod
    def apply(cls, dtype: DType, *operands: np.ndarray) -> np.ndarray:
        """Evaluate with the result's dtype given; only casts need it."""
        return cls.evaluate(*operands)

    @classmethod
    def fold(cls, *operands: Node) -> Node | None:
        """All operands constant: compute now."""
        values = []
        for operand in operands:
            value = constant_of(operand) if operand.device is None else None
            if value is None:
                return None
            values.append(value)
        with np.errstate(all="ignore"):
            result = cls.evaluate(*(value.array for value in values))
        dtype = dtypes.from_numpy(result.dtype)
        return broadcast_to(constant(result, dtype), operands[0].shape)


class Unary(Elementwise):
    """An op with one operand."""

    __slots__ = ()
    fields = ("operand",)

    @classmethod
    def sources_of(cls, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
        return arguments

    @classmethod
    def place(cls, operand: Node) -> str | None:
        return operand.device

    @classmethod
    def simplify(cls, operand: Node) -> Node | None:
        return cls.fold(operand) if operand.device is None else None

    @classmethod
    def infer(cls, operand: Node) -> tuple[Shape, DType]:
        check_accepts(cls, operand.dtype)
        return operand.shape, operand.dtype


class Binary(Elementwise):
    """An op with two operands of one shape and dtype."""

    __slots__ = ()
    fields = ("lhs", "rhs")

    @classmethod
    def sources_of(cls, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
        return arguments

    @classmethod
    def simplify(cls, lhs: Node, rhs: Node) -> Node | None:
        """Values that a device holds are no constants; most operands are of those."""
        if lhs.device is not None and rhs.device is not None and lhs is not rhs:
            return None
        return cls.simplify_known(lhs, rhs)

    @classmethod
    def simplify_known(cls, lhs: Node, rhs: Node) -> Node | None:
        """The same where an operand may be constant, or both are one."""
        return cls.fold(lhs, rhs)

    @classmethod
    def infer(cls, lhs: Node, rhs: Node) -> tuple[Shape, DType]:
        dtype = lhs.dtype
        check_accepts(cls, dtype)
        if lhs.shape != rhs.shape or dtype is not rhs.dtype:
            check_alike(cls, lhs, rhs)
        return lhs.shape, dtype


_FLOATS = frozenset(dtype for dtype in dtypes.ARITHMETIC if dtype.is_floating_point)
_INTEGERS = frozenset(dtype for dtype in dtypes.ALL if dtype.is_integer)
_ACCEPTED = {
    "anything": frozenset(dtypes.ARITHMETIC),
    "numbers": _FLOATS | _INTEGERS,
    "floats": _FLOATS,
    "integers": _INTEGERS,
    "bits": _INTEGERS | {dtypes.bool_},
    "ordered": _FLOATS | _INTEGERS | {dtypes.bool_},
}


def check_accepts(op: type[Elementwise], dtype: DType) -> None:
    """Raise DTypeError unless the op is defined on values of ``dtype``."""
    if dtype not in _ACCEPTED[op.accepts]:
        raise DTypeError(
            f"{op.__name__.lower()} works on {op.accepts}, not on {dtype}",
            hint="convert the operand first, for example x.float()",
        )


def check_alike(op: type[Node], lhs: Node, rhs: Node) -> None:
    """Raise unless both operands have one shape and one dtype."""
    name = op.__name__.lower()
    if lhs.shape != rhs.shape:
        raise ShapeError(f"{name} of shapes {lhs.shape} and {rhs.shape}")
    if lhs.dtype is not rhs.dtype:
        raise DTypeError(f"{name} of {lhs.dtype} and {rhs.dtype}")


def is_constant(node: Node, value: float) -> bool:
    """Whether the node is this value everywhere, bit for bit."""
    if node.device is not None:
        return False
    found = constant_of(node)
    return found is not None and found.bits == constant(value, node.dtype).bits


def full_like(node: Node, value: float) -> Node:
    """A constant with the shape and dtype of ``node``."""
    return broadcast_to(number(value, node.dtype), node.shape)


# --- unary ---------------------------------------------------------------------


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


class Not(Unary):
    """Logical not of a bool, bitwise not of an integer."""

    __slots__ = ()
    accepts = "bits"
    evaluate = np.invert

    @classmethod
    def simplify(cls, operand: Node) -> Node | None:
        """not not x -> x."""
        return operand.operand if isinstance(operand, Not) else cls.fold(operand)


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


# --- binary --------------------------------------------------------------------


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


def _shift_out(
    lhs: np.ndarray, rhs: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """A shift count inside the width, and where the real one was outside it."""
    outside = (rhs < 0) | (rhs >= limit)
    return np.where(outside, np.zeros_like(rhs), rhs), outside


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


# --- where ---------------------------------------------------------------------


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
