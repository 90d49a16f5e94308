"""Exponentials, logarithms, roots and angles of elements.

Source: "Element-wise functions" of the Python array API standard 2025.12. Arrays of
two arguments broadcast and are converted to their common dtype; either may be a Python
number. Other dtypes than those named raise DTypeError, shapes that do not broadcast
ShapeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.tensor import Tensor
from tetragrad.xp import kinds
from tetragrad.xp.operations import binary, unary

if TYPE_CHECKING:
    from tetragrad.xp.array import Array


def exp(x: Array, /) -> Array:
    """e to the power x. Floating-point dtypes.

    >>> xp.exp(xp.asarray([0.0, 1.0]))
    Array([1.0000, 2.7183])
    """
    return unary("exp", x, Tensor.exp, kinds.FLOATING)


def expm1(x: Array, /) -> Array:
    """exp(x) - 1, accurate near 0. Floating-point dtypes.

    >>> xp.expm1(xp.asarray([0.0]))
    Array([0.])
    """
    return unary("expm1", x, Tensor.expm1, kinds.FLOATING)


def log(x: Array, /) -> Array:
    """The natural logarithm. Floating-point dtypes.

    >>> xp.log(xp.asarray([1.0]))
    Array([0.])
    """
    return unary("log", x, Tensor.log, kinds.FLOATING)


def log1p(x: Array, /) -> Array:
    """log(1 + x), accurate near 0. Floating-point dtypes.

    >>> xp.log1p(xp.asarray([0.0]))
    Array([0.])
    """
    return unary("log1p", x, Tensor.log1p, kinds.FLOATING)


def log2(x: Array, /) -> Array:
    """The logarithm to base 2. Floating-point dtypes.

    >>> xp.log2(xp.asarray([8.0]))
    Array([3.])
    """
    return unary("log2", x, Tensor.log2, kinds.FLOATING)


def log10(x: Array, /) -> Array:
    """The logarithm to base 10. Floating-point dtypes.

    >>> xp.log10(xp.asarray([1.0]))
    Array([0.])
    """
    return unary("log10", x, Tensor.log10, kinds.FLOATING)


def logaddexp(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """log(exp(x1) + exp(x2)), without overflow. Real floating-point dtypes.

    >>> xp.logaddexp(xp.asarray([0.0]), 0.0)
    Array([0.6931])
    """
    return binary("logaddexp", x1, x2, Tensor.logaddexp, kinds.REAL_FLOATING)


def sqrt(x: Array, /) -> Array:
    """The square root; NaN of real numbers below 0. Floating-point dtypes.

    >>> xp.sqrt(xp.asarray([4.0, 9.0]))
    Array([2., 3.])
    """
    return unary("sqrt", x, Tensor.sqrt, kinds.FLOATING)


def sin(x: Array, /) -> Array:
    """The sine of an angle in radians. Floating-point dtypes.

    >>> xp.sin(xp.asarray([0.0]))
    Array([0.])
    """
    return unary("sin", x, Tensor.sin, kinds.FLOATING)


def cos(x: Array, /) -> Array:
    """The cosine of an angle in radians. Floating-point dtypes.

    >>> xp.cos(xp.asarray([0.0]))
    Array([1.])
    """
    return unary("cos", x, Tensor.cos, kinds.FLOATING)


def tan(x: Array, /) -> Array:
    """The tangent of an angle in radians. Floating-point dtypes.

    >>> xp.tan(xp.asarray([0.0]))
    Array([0.])
    """
    return unary("tan", x, Tensor.tan, kinds.FLOATING)


def asin(x: Array, /) -> Array:
    """The angle whose sine is x; NaN of real numbers outside of [-1, 1].

    Floating-point dtypes.

    >>> xp.asin(xp.asarray([1.0]))
    Array([1.5708])
    """
    return unary("asin", x, Tensor.asin, kinds.FLOATING)


def acos(x: Array, /) -> Array:
    """The angle whose cosine is x; NaN of real numbers outside of [-1, 1].

    Floating-point dtypes.

    >>> xp.acos(xp.asarray([0.0]))
    Array([1.5708])
    """
    return unary("acos", x, Tensor.acos, kinds.FLOATING)


def atan(x: Array, /) -> Array:
    """The angle whose tangent is x. Floating-point dtypes.

    >>> xp.atan(xp.asarray([1.0]))
    Array([0.7854])
    """
    return unary("atan", x, Tensor.atan, kinds.FLOATING)


def atan2(x1: Array | int | float, x2: Array | int | float, /) -> Array:
    """The angle of the point (x2, x1), between -π and π. Real floating-point dtypes.

    >>> xp.atan2(xp.asarray([1.0]), -1.0)
    Array([2.3562])
    """
    return binary("atan2", x1, x2, Tensor.atan2, kinds.REAL_FLOATING)


def sinh(x: Array, /) -> Array:
    """The hyperbolic sine. Floating-point dtypes.

    >>> xp.sinh(xp.asarray([1.0]))
    Array([1.1752])
    """
    return unary("sinh", x, Tensor.sinh, kinds.FLOATING)


def cosh(x: Array, /) -> Array:
    """The hyperbolic cosine. Floating-point dtypes.

    >>> xp.cosh(xp.asarray([1.0]))
    Array([1.5431])
    """
    return unary("cosh", x, Tensor.cosh, kinds.FLOATING)


def tanh(x: Array, /) -> Array:
    """The hyperbolic tangent. Floating-point dtypes.

    >>> xp.tanh(xp.asarray([1.0]))
    Array([0.7616])
    """
    return unary("tanh", x, Tensor.tanh, kinds.FLOATING)


def asinh(x: Array, /) -> Array:
    """The inverse of the hyperbolic sine. Floating-point dtypes.

    >>> xp.asinh(xp.asarray([1.0]))
    Array([0.8814])
    """
    return unary("asinh", x, Tensor.asinh, kinds.FLOATING)


def acosh(x: Array, /) -> Array:
    """The inverse of the hyperbolic cosine; NaN of real numbers below 1.

    Floating-point dtypes.

    >>> xp.acosh(xp.asarray([2.0]))
    Array([1.3170])
    """
    return unary("acosh", x, Tensor.acosh, kinds.FLOATING)


def atanh(x: Array, /) -> Array:
    """The inverse of the hyperbolic tangent; NaN outside of [-1, 1].

    Floating-point dtypes.

    >>> xp.atanh(xp.asarray([0.5]))
    Array([0.5493])
    """
    return unary("atanh", x, Tensor.atanh, kinds.FLOATING)
