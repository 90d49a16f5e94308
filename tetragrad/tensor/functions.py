"""Mathematical functions of each element: exponentials, angles, rounding, limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.arithmetic import (
    ArithmeticMethods,
    binary,
    in_place,
)
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.formulas import angles as angle_nodes
from tetragrad.tensor.formulas import errors as error_nodes
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas import pairwise
from tetragrad.tensor.formulas.arithmetic import multiply_nodes, power_nodes
from tetragrad.tensor.gradient_rules import with_zero_gradient
from tetragrad.tensor.pairs import form_of, split
from tetragrad.tensor.promotion import (
    Operand,
    broadcast_nodes,
    combine,
    combine_parts,
    common_dtype,
    default_float,
    float_dtype,
    to_node,
    to_operand,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class FunctionMethods(ArithmeticMethods):
    """Methods that apply a function to every element.

    Functions of real numbers turn integers and bools into float32 first.
    """

    __slots__ = ()

    def apply_float(self, function: Callable[[Node], Node]) -> Tensor:
        """Apply a function of floating-point nodes, or its form for complex ones.

        >>> from tetragrad.graph.elementwise import Exp
        >>> Tensor([0]).apply_float(Exp)
        tensor([1.])
        """
        if self.dtype.is_complex:
            found = form_of(function)(split(self.real_node))
            return combine_parts(found, self)
        node = self.node
        if not node.dtype.is_floating_point:
            node = ops.Cast(node, default_float())
        return self.result(nodes.rounded_once(function, node))

    # --- size and sign ----------------------------------------------------------------

    def abs(self) -> Tensor:
        """The value without its sign.

        >>> Tensor([-1, 2]).abs()
        tensor([1, 2])
        """
        if self.dtype.is_bool:
            return self.result(self.node)
        if self.dtype.is_complex:
            return self.apply_float(nodes.absolute)
        return self.result(nodes.absolute(self.node))

    absolute = abs
    __abs__ = abs

    def sign(self) -> Tensor:
        """1, 0 or -1; of a complex number, the one of size 1 with its angle.

        >>> Tensor([-2.0, 0.0, 3.0]).sign()
        tensor([-1.,  0.,  1.])
        """
        if self.dtype.is_bool:
            return self.result(self.node)
        if self.dtype.is_complex:
            return self.apply_float(nodes.sign)
        source = self.node
        return self.result(with_zero_gradient(nodes.sign(source), source))

    sgn = sign

    def signbit(self) -> Tensor:
        """Whether the sign is negative, also that of -0.

        >>> Tensor([-0.0, 1.0]).signbit()
        tensor([ True, False])
        """
        if self.dtype.is_bool:
            return self.result(full_like(self.node, False))
        return self.result(nodes.sign_bit(self.node))

    def copysign(self, other: Operand) -> Tensor:
        """The magnitude of self with the sign of other.

        >>> Tensor([1.0, -2.0]).copysign(-1)
        tensor([-1., -2.])
        """
        dtype = float_dtype(self, to_operand(other))
        return binary(pairwise.copy_sign, self, other, dtype)

    def square(self) -> Tensor:
        """self * self.

        >>> Tensor([3, -2]).square()
        tensor([9, 4])
        """
        dtype = dtypes.int64 if self.dtype.is_bool else None
        return binary(multiply_nodes, self, self, dtype)

    # --- powers and roots -------------------------------------------------------------

    def pow(self, exponent: Operand) -> Tensor:
        """self to the power of ``exponent``; integers stay integers and wrap.

        >>> Tensor([2, 3]).pow(2)
        tensor([4, 9])

        Raises:
            DTypeError: an integer to a negative power.
        """
        return power(self, exponent)

    def float_power(self, exponent: Operand) -> Tensor:
        """The power in float64, or in complex128.

        >>> Tensor([2, 3]).double().float_power(2)
        tensor([4., 9.], dtype=tetragrad.float64)
        """
        is_complex = common_dtype(self, to_operand(exponent)).is_complex
        dtype = dtypes.complex128 if is_complex else dtypes.float64
        return binary(ops.Pow, self, exponent, dtype)

    def sqrt(self) -> Tensor:
        """The square root; NaN below zero.

        >>> Tensor([4.0, 9.0]).sqrt()
        tensor([2., 3.])
        """
        return self.apply_float(ops.Sqrt)

    def rsqrt(self) -> Tensor:
        """1 / sqrt(self).

        >>> Tensor([4.0]).rsqrt()
        tensor([0.5000])
        """
        return self.apply_float(nodes.rsqrt)

    def reciprocal(self) -> Tensor:
        """1 / self.

        >>> Tensor([4.0]).reciprocal()
        tensor([0.2500])
        """
        return self.apply_float(ops.Reciprocal)

    def hypot(self, other: Operand) -> Tensor:
        """sqrt(self² + other²) without overflow.

        >>> Tensor([3.0]).hypot(4)
        tensor([5.])
        """
        return binary(partial(nodes.rounded_once, nodes.hypot), self, other)

    # --- exponentials and logarithms --------------------------------------------------

    def exp(self) -> Tensor:
        """e to the power of each element.

        >>> Tensor([0.0, 1.0]).exp()
        tensor([1.0000, 2.7183])
        """
        return self.apply_float(ops.Exp)

    def exp2(self) -> Tensor:
        """2 to the power of each element.

        >>> Tensor([3.0]).exp2()
        tensor([8.])
        """
        return self.apply_float(ops.Exp2)

    def expm1(self) -> Tensor:
        """exp(self) - 1, accurate near 0.

        >>> Tensor([1e-10]).expm1()
        tensor([1.0000e-10])
        """
        return self.apply_float(nodes.expm1)

    def log(self) -> Tensor:
        """The natural logarithm.

        >>> Tensor([1.0]).log()
        tensor([0.])
        """
        return self.apply_float(ops.Log)

    def log2(self) -> Tensor:
        """The logarithm to base 2.

        >>> Tensor([8.0]).log2()
        tensor([3.])
        """
        return self.apply_float(ops.Log2)

    def log10(self) -> Tensor:
        """The logarithm to base 10.

        >>> Tensor([1.0, 1000.0]).log10()
        tensor([0., 3.])
        """
        return self.apply_float(nodes.log10)

    def log1p(self) -> Tensor:
        """log(1 + self), accurate near 0.

        >>> Tensor([1e-10]).log1p()
        tensor([1.0000e-10])
        """
        return self.apply_float(nodes.log1p)

    def logaddexp(self, other: Operand) -> Tensor:
        """log(exp(self) + exp(other)) without overflow.

        >>> Tensor([0.0]).logaddexp(Tensor([0.0]))
        tensor([0.6931])
        """
        return binary(partial(nodes.rounded_once, pairwise.log_add_exp), self, other)

    def logaddexp2(self, other: Operand) -> Tensor:
        """log2(2**self + 2**other) without overflow.

        >>> Tensor([1.0]).logaddexp2(Tensor([1.0]))
        tensor([2.])
        """
        log2 = math.log(2)
        other = to_operand(other)
        return (self * log2).logaddexp(_times(other, log2)) / log2

    def xlogy(self, other: Operand) -> Tensor:
        """self * log(other), and 0 where self is 0.

        >>> Tensor([0.0]).xlogy(Tensor([0.0]))
        tensor([0.])
        """
        dtype = float_dtype(self, to_operand(other))
        return binary(pairwise.x_log_y, self, other, dtype)

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-x)).

        >>> Tensor([0.0]).sigmoid()
        tensor([0.5000])
        """
        return self.apply_float(nodes.sigmoid)

    # --- angles -----------------------------------------------------------------------

    def sin(self) -> Tensor:
        """The sine of an angle in radians.

        >>> Tensor([0.0]).sin()
        tensor([0.])
        """
        return self.apply_float(ops.Sin)

    def cos(self) -> Tensor:
        """The cosine of an angle in radians.

        >>> Tensor([0.0, 1.0]).cos()
        tensor([1.0000, 0.5403])
        """
        return self.apply_float(ops.Cos)

    def tan(self) -> Tensor:
        """The tangent of an angle in radians.

        >>> Tensor([0.0, 1.0]).tan()
        tensor([0.0000, 1.5574])
        """
        return self.apply_float(angle_nodes.tan)

    def asin(self) -> Tensor:
        """The angle whose sine is x; NaN outside of [-1, 1].

        >>> Tensor([0.0, 1.0]).arcsin()
        tensor([0.0000, 1.5708])
        """
        return self.apply_float(angle_nodes.asin)

    def acos(self) -> Tensor:
        """The angle whose cosine is x; NaN outside of [-1, 1].

        >>> Tensor([0.0, 1.0]).acos()
        tensor([1.5708, 0.0000])
        """
        return self.apply_float(angle_nodes.acos)

    def atan(self) -> Tensor:
        """The angle whose tangent is x.

        >>> Tensor([1.0]).atan()
        tensor([0.7854])
        """
        return self.apply_float(angle_nodes.atan)

    def atan2(self, other: Operand) -> Tensor:
        """The angle of the point (other, self), between -π and π.

        >>> Tensor([1.0]).atan2(Tensor([-1.0]))
        tensor([2.3562])
        """
        dtype = float_dtype(self, to_operand(other))
        return binary(partial(nodes.rounded_once, pairwise.atan2), self, other, dtype)

    def sinh(self) -> Tensor:
        """The hyperbolic sine.

        >>> Tensor([0.0, 1.0]).sinh()
        tensor([0.0000, 1.1752])
        """
        return self.apply_float(nodes.sinh)

    def cosh(self) -> Tensor:
        """The hyperbolic cosine.

        >>> Tensor([0.0, 1.0]).cosh()
        tensor([1.0000, 1.5431])
        """
        return self.apply_float(nodes.cosh)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent.

        >>> Tensor([0.0, 1.0]).tanh()
        tensor([0.0000, 0.7616])
        """
        return self.apply_float(ops.Tanh)

    def asinh(self) -> Tensor:
        """The inverse of the hyperbolic sine.

        >>> Tensor([0.0, 1.0]).arcsinh()
        tensor([0.0000, 0.8814])
        """
        return self.apply_float(nodes.asinh)

    def acosh(self) -> Tensor:
        """The inverse of the hyperbolic cosine; NaN below 1.

        >>> Tensor([1.0, 2.0]).acosh()
        tensor([0.0000, 1.3170])
        """
        return self.apply_float(nodes.acosh)

    def atanh(self) -> Tensor:
        """The inverse of the hyperbolic tangent; NaN outside of [-1, 1].

        >>> Tensor([0.0, 0.5]).arctanh()
        tensor([0.0000, 0.5493])
        """
        return self.apply_float(nodes.atanh)

    arcsin = asin
    arccos = acos
    arctan = atan
    arctan2 = atan2
    arcsinh = asinh
    arccosh = acosh
    arctanh = atanh

    def sinc(self) -> Tensor:
        """sin(πx) / (πx), and 1 at 0.

        >>> Tensor([0.0, 0.5]).sinc()
        tensor([1.0000, 0.6366])
        """
        angle = self * math.pi
        is_zero = angle == 0
        quotient = angle.sin() / angle.masked_fill(is_zero, 1)
        return quotient.masked_fill(is_zero, 1)

    def deg2rad(self) -> Tensor:
        """Degrees as radians.

        >>> Tensor([0.0, 180.0]).deg2rad()
        tensor([0.0000, 3.1416])
        """
        return self * (math.pi / 180)

    def rad2deg(self) -> Tensor:
        """Radians as degrees.

        >>> Tensor([0.0, 1.0]).rad2deg()
        tensor([ 0.0000, 57.2958])
        """
        return self * (180 / math.pi)

    def erf(self) -> Tensor:
        """The error function.

        >>> Tensor([1.0]).erf()
        tensor([0.8427])
        """
        return self.apply_float(ops.Erf)

    def erfc(self) -> Tensor:
        """1 - erf(x), accurate where it is small.

        >>> Tensor([0.0, 1.0]).erfc()
        tensor([1.0000, 0.1573])
        """
        return self.apply_float(error_nodes.erfc)

    def erfinv(self) -> Tensor:
        """The inverse of the error function on [-1, 1].

        >>> Tensor([0.0, 0.5]).erfinv()
        tensor([0.0000, 0.4769])
        """
        return self.apply_float(error_nodes.erfinv)

    # --- operators --------------------------------------------------------------------

    pow_ = in_place(pow)

    def __pow__(self, exponent: Any) -> Tensor:
        return power(self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return power(base, self)

    def __ipow__(self, exponent: Any) -> Tensor:
        return self.pow_(exponent)


def power(base: Any, exponent: Any) -> Tensor:
    """``base`` to the power of ``exponent``; either may be a number.

    >>> tetragrad.pow(2, Tensor([3, 4]))
    tensor([ 8, 16])
    """
    lhs, rhs = to_operand(base), to_operand(exponent)
    dtype = common_dtype(lhs, rhs)
    if dtype.is_complex:
        return _complex_power(lhs, rhs, dtype)
    number = None if not isinstance(rhs, bool | int | float) else rhs
    left, right = broadcast_nodes(to_node(lhs, dtype), to_node(rhs, dtype))
    return combine(power_nodes(left, right, number), lhs, rhs)


def _complex_power(base: Any, exponent: Any, dtype: DType) -> Tensor:
    """A product or a root, where that is more accurate than exp(w log z)."""
    if isinstance(exponent, TensorBase):
        return binary(ops.Pow, base, exponent, dtype)
    if exponent == 0.5:
        return base.to(dtype).sqrt()
    if exponent == -1:
        return base.to(dtype).reciprocal()
    if exponent == 2:
        return binary(multiply_nodes, base, base, dtype)
    return binary(ops.Pow, base, exponent, dtype)


def _times(operand: Any, factor: float) -> Any:
    return operand * factor
