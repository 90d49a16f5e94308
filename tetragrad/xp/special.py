"""Where the standard asks for other values than PyTorch gives, and Tensor with it.

Source: the lists of special cases in "Element-wise functions" of the Python array API
standard 2025.12.
"""

from __future__ import annotations

from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where


def floor_divide(x1: Tensor, x2: Tensor) -> Tensor:
    """The floor of the quotient; with an infinity, the quotient itself.

    An infinity by a number is infinite, and a number by an infinity is a zero with
    the quotient's sign.
    """
    found = x1.floor_divide(x2)
    if not found.dtype.is_floating_point:
        return found
    return where(x1.isinf() | x2.isinf(), x1 / x2, found)


def remainder(x1: Tensor, x2: Tensor) -> Tensor:
    """What is left after whole times x2; a zero has the sign of x2 too."""
    found = x1.remainder(x2)
    if not found.dtype.is_floating_point:
        return found
    return where(found == 0, found.copysign(x2), found)


def sign(x: Tensor) -> Tensor:
    """1, 0 or -1; NaN of NaN."""
    found = x.sign()
    return where(x == x, found, x) if x.dtype.is_floating_point else found
