"""Operations on elements: a function of tensors, and the dtypes it is defined on.

Those that Python has an operator for are listed here, as both the function and the
operator are made of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tetragrad.core.frozen import frozen
from tetragrad.tensor import Tensor
from tetragrad.xp import kinds, special
from tetragrad.xp.base import tensor_of, wrap
from tetragrad.xp.kinds import Kinds

if TYPE_CHECKING:
    from tetragrad.xp.array import Array


def unary(name: str, x: Any, function: Callable[[Tensor], Tensor], on: Kinds) -> Array:
    """Apply a function to the elements of one array."""
    tensor = tensor_of(x, name)
    on.check(tensor.dtype, name)
    return wrap(function(tensor))


def binary(
    name: str,
    x1: Any,
    x2: Any,
    function: Callable[[Tensor, Tensor], Tensor],
    on: Kinds,
) -> Array:
    """Apply a function to pairs of elements, in their common dtype."""
    lhs, rhs = kinds.operands(x1, x2)
    on.check(lhs.dtype, name)
    return wrap(function(lhs, rhs))


@frozen(slots=True)
class Binary:
    """An operation on two arrays, or on an array and a number."""

    name: str
    function: Callable[[Tensor, Tensor], Tensor]
    on: Kinds

    def __call__(self, x1: Any, x2: Any) -> Array:
        return binary(self.name, x1, x2, self.function, self.on)


@frozen(slots=True)
class Unary:
    """An operation on one array."""

    name: str
    function: Callable[[Tensor], Tensor]
    on: Kinds

    def __call__(self, x: Any) -> Array:
        return unary(self.name, x, self.function, self.on)


ADD = Binary("add", Tensor.add, kinds.NUMERIC)
SUBTRACT = Binary("subtract", Tensor.sub, kinds.NUMERIC)
MULTIPLY = Binary("multiply", Tensor.mul, kinds.NUMERIC)
DIVIDE = Binary("divide", Tensor.div, kinds.FLOATING)
FLOOR_DIVIDE = Binary("floor_divide", special.floor_divide, kinds.REAL)
REMAINDER = Binary("remainder", special.remainder, kinds.REAL)
POWER = Binary("pow", Tensor.pow, kinds.NUMERIC)
AND = Binary("bitwise_and", Tensor.bitwise_and, kinds.INTEGER_OR_BOOLEAN)
OR = Binary("bitwise_or", Tensor.bitwise_or, kinds.INTEGER_OR_BOOLEAN)
XOR = Binary("bitwise_xor", Tensor.bitwise_xor, kinds.INTEGER_OR_BOOLEAN)
LEFT = Binary("bitwise_left_shift", Tensor.bitwise_left_shift, kinds.INTEGER)
RIGHT = Binary("bitwise_right_shift", Tensor.bitwise_right_shift, kinds.INTEGER)
EQUAL = Binary("equal", Tensor.eq, kinds.ANY)
NOT_EQUAL = Binary("not_equal", Tensor.ne, kinds.ANY)
LESS = Binary("less", Tensor.lt, kinds.REAL)
LESS_EQUAL = Binary("less_equal", Tensor.le, kinds.REAL)
GREATER = Binary("greater", Tensor.gt, kinds.REAL)
GREATER_EQUAL = Binary("greater_equal", Tensor.ge, kinds.REAL)

ABSOLUTE = Unary("abs", Tensor.abs, kinds.NUMERIC)
NEGATE = Unary("negative", Tensor.neg, kinds.NUMERIC)
POSITIVE = Unary("positive", Tensor.clone, kinds.NUMERIC)
INVERT = Unary("bitwise_invert", Tensor.bitwise_not, kinds.INTEGER_OR_BOOLEAN)
