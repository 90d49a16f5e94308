"""Rounding, kinds of numbers, and parts of complex numbers.

Source: "Element-wise functions" of the Python array API standard 2025.12. Arrays of
two arguments broadcast and are converted to their common dtype; either may be a Python
number. Other dtypes than those named raise DTypeError, shapes that do not broadcast
ShapeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.tensor import Tensor
from tetragrad.xp import kinds
from tetragrad.xp.operations import unary

if TYPE_CHECKING:
    from tetragrad.xp.array import Array


def floor(x: Array, /) -> Array:
    """The largest whole number that is not above. Real-valued dtypes.

    >>> xp.floor(xp.asarray([-1.5, 1.5]))
    Array([-2.,  1.])
    """
    return unary("floor", x, Tensor.floor, kinds.REAL)


def ceil(x: Array, /) -> Array:
    """The smallest whole number that is not below. Real-valued dtypes.

    >>> xp.ceil(xp.asarray([-1.5, 1.5]))
    Array([-1.,  2.])
    """
    return unary("ceil", x, Tensor.ceil, kinds.REAL)


def trunc(x: Array, /) -> Array:
    """The number without its fraction. Real-valued dtypes.

    >>> xp.trunc(xp.asarray([-1.5, 1.5]))
    Array([-1.,  1.])
    """
    return unary("trunc", x, Tensor.trunc, kinds.REAL)


def round(x: Array, /) -> Array:
    """The nearest whole number, of two the even one; of both parts. Numeric dtypes.

    >>> xp.round(xp.asarray([0.5, 1.5]))
    Array([0., 2.])
    """
    return unary("round", x, Tensor.round, kinds.NUMERIC)


def isnan(x: Array, /) -> Array:
    """Where the number, or a part of it, is NaN. Numeric dtypes.

    >>> xp.isnan(xp.asarray([1.0, float('nan')]))
    Array([False,  True])
    """
    return unary("isnan", x, Tensor.isnan, kinds.NUMERIC)


def isinf(x: Array, /) -> Array:
    """Where the number, or a part of it, is infinite. Numeric dtypes.

    >>> xp.isinf(xp.asarray([1.0, float('inf')]))
    Array([False,  True])
    """
    return unary("isinf", x, Tensor.isinf, kinds.NUMERIC)


def isfinite(x: Array, /) -> Array:
    """Where the number is neither NaN nor infinite. Numeric dtypes.

    >>> xp.isfinite(xp.asarray([1.0, float('inf')]))
    Array([ True, False])
    """
    return unary("isfinite", x, Tensor.isfinite, kinds.NUMERIC)


def signbit(x: Array, /) -> Array:
    """Where the sign is negative, also that of -0. Real floating-point dtypes.

    >>> xp.signbit(xp.asarray([-0.0, 1.0]))
    Array([ True, False])
    """
    return unary("signbit", x, Tensor.signbit, kinds.REAL_FLOATING)


def conj(x: Array, /) -> Array:
    """The imaginary part negated; real numbers stay. Numeric dtypes.

    >>> xp.conj(xp.asarray([1.0 + 2.0j]))
    Array([1.-2.j])
    """
    return unary("conj", x, Tensor.conj, kinds.NUMERIC)


def real(x: Array, /) -> Array:
    """The real part, of the dtype of the parts. Numeric dtypes.

    >>> xp.real(xp.asarray([1.0 + 2.0j]))
    Array([1.])
    """
    return unary("real", x, _real, kinds.NUMERIC)


def imag(x: Array, /) -> Array:
    """The imaginary part, of the dtype of the parts. Complex floating-point dtypes.

    >>> xp.imag(xp.asarray([1.0 + 2.0j]))
    Array([2.])
    """
    return unary("imag", x, _imag, kinds.COMPLEX)


def _real(tensor: Tensor) -> Tensor:
    return tensor.real.clone()


def _imag(tensor: Tensor) -> Tensor:
    return tensor.imag.clone()
