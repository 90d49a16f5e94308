"""Arithmetic, comparisons and logic: operators, and their in-place forms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import DTypeError, TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.movement import Reshape
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.derived import derived_docstring
from tetragrad.tensor.formulas.arithmetic import (
    add_nodes,
    differ_nodes,
    floor_divide_nodes,
    fmod_nodes,
    ignoring_nan,
    minimum_nodes,
    multiply_nodes,
    not_above_nodes,
    subtract_nodes,
    truncated_divide_nodes,
    whole_step,
)
from tetragrad.tensor.movement import MovementMethods
from tetragrad.tensor.pairs import form_of, is_joined, split
from tetragrad.tensor.promotion import (
    Operand,
    Scalar,
    align,
    broadcast_nodes,
    combine,
    combine_parts,
    common_dtype,
    float_dtype,
    is_operand,
    to_node,
    to_operand,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

P = ParamSpec("P")
T = TypeVar("T", bound=TensorBase)


def in_place(
    method: Callable[Concatenate[T, P], TensorBase],
) -> Callable[Concatenate[T, P], Tensor]:
    """The form of a method that replaces the tensor's value by the result."""

    @functools.wraps(method)
    def changed(self: T, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        return cast("Tensor", self.write(method(self, *args, **kwargs)))

    changed.__name__ = f"{method.__name__}_"
    changed.__qualname__ = f"{method.__qualname__}_"
    summary = f"``{method.__name__}`` in place; returns self."
    changed.__doc__ = derived_docstring(summary, method, changed.__name__)
    return cast(Any, changed)


#: Ops of complex numbers that do the same to both parts, and so to pairs in a row.
_ALIKE_ON_PARTS = frozenset([add_nodes, subtract_nodes])


def binary(
    op: Callable[[Node, Node], Node], lhs: Any, rhs: Any, dtype: DType | None = None
) -> Tensor:
    """Apply an op after promotion (or conversion to ``dtype``) and broadcasting."""
    left, right = to_operand(lhs), to_operand(rhs)
    dtype = dtype or common_dtype(left, right)
    nodes = align(left, right, dtype=dtype)
    if dtype.is_complex:
        if op in _ALIKE_ON_PARTS and not any(map(is_joined, nodes)):
            return combine(op(*nodes), left, right, dtype=dtype)
        found = form_of(op)(*map(split, nodes))
        return combine_parts(found, left, right)
    return combine(op(*nodes), left, right)


def operator(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let Python try the other operand's method for values that are no numbers."""

    @functools.wraps(method)
    def checked(self: Any, other: Any) -> Any:
        return method(self, other) if is_operand(other) else NotImplemented

    return checked


class ArithmeticMethods(MovementMethods):
    """Methods that combine two tensors, or a tensor and a number."""

    __slots__ = ()

    # NumPy arrays on the left leave the operation to us.
    __array_priority__ = 1000
    __hash__ = object.__hash__

    # --- arithmetic -------------------------------------------------------------------

    def add(self, other: Operand, *, alpha: Scalar = 1) -> Tensor:
        """self + alpha * other.

        >>> Tensor([1.0, 2.0]).add(1.5)
        tensor([2.5000, 3.5000])
        """
        scaled = other if alpha == 1 else binary(multiply_nodes, other, alpha)
        return binary(add_nodes, self, scaled)

    def sub(self, other: Operand, *, alpha: Scalar = 1) -> Tensor:
        """self - alpha * other.

        >>> Tensor([3, 2]).sub(1)
        tensor([2, 1])
        """
        scaled = other if alpha == 1 else binary(multiply_nodes, other, alpha)
        return binary(subtract_nodes, self, scaled)

    def mul(self, other: Operand) -> Tensor:
        """self * other.

        >>> Tensor([1, 2]).mul(3)
        tensor([3, 6])
        """
        return binary(multiply_nodes, self, other)

    def div(self, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
        """self / other; ``rounding_mode`` may be 'trunc' or 'floor'.

        Without rounding, integers give float32.

        >>> Tensor([7.0, -7.0]).div(2)
        tensor([ 3.5000, -3.5000])
        >>> Tensor([7, -7]).div(2, rounding_mode='trunc')
        tensor([ 3, -3])
        """
        if rounding_mode is None:
            other = to_operand(other)
            return binary(ops.Div, self, other, float_dtype(self, other))
        modes = {"trunc": truncated_divide_nodes, "floor": floor_divide_nodes}
        if rounding_mode not in modes:
            raise TetragradError(
                f"there is no rounding_mode {rounding_mode!r}",
                hint="use None, 'trunc' or 'floor'",
            )
        return binary(whole_step(modes[rounding_mode]), self, other)

    def floor_divide(self, other: Operand) -> Tensor:
        """The floor of self / other; an integer divided by 0 gives 0.

        >>> Tensor([7, -7]).floor_divide(2)
        tensor([ 3, -4])
        """
        return binary(whole_step(floor_divide_nodes), self, other)

    def remainder(self, other: Operand) -> Tensor:
        """self - floor(self / other) * other; its sign is other's.

        >>> Tensor([7, -7]).remainder(4)
        tensor([3, 1])
        """
        return binary(ops.Mod, self, other)

    def fmod(self, other: Operand) -> Tensor:
        """The remainder of truncated division; its sign is self's.

        >>> Tensor([7, -7]).fmod(4)
        tensor([ 3, -3])
        """
        return binary(fmod_nodes, self, other)

    def neg(self) -> Tensor:
        """-self.

        >>> Tensor([1, -2]).neg()
        tensor([-1,  2])
        """
        if self.dtype.is_bool:
            raise DTypeError("negation of bools", hint="use ~ or logical_not()")
        return self.alike(ops.Neg(self.real_node))

    subtract = sub
    multiply = mul
    divide = div
    true_divide = div
    negative = neg

    def rsub(self, other: Operand, *, alpha: Scalar = 1) -> Tensor:
        """other - alpha * self.

        >>> Tensor([1, 2]).rsub(10)
        tensor([9, 8])
        """
        return binary(subtract_nodes, other, self if alpha == 1 else self.mul(alpha))

    # --- comparisons ------------------------------------------------------------------

    def eq(self, other: Operand) -> Tensor:
        """Where the elements are equal; NaN equals nothing.

        >>> Tensor([1, 2]).eq(2)
        tensor([False,  True])
        """
        return binary(ops.Eq, self, other)

    def ne(self, other: Operand) -> Tensor:
        """Where the elements differ.

        >>> Tensor([1, 2]).ne(Tensor([1, 3]))
        tensor([False,  True])
        """
        return binary(differ_nodes, self, other)

    def lt(self, other: Operand) -> Tensor:
        """Where self is less than other.

        >>> Tensor([1, 2]).lt(2)
        tensor([ True, False])
        """
        return binary(ops.Lt, self, other)

    def gt(self, other: Operand) -> Tensor:
        """Where self is greater than other.

        >>> Tensor([1, 2]).greater(1)
        tensor([False,  True])
        """
        return binary(lambda lhs, rhs: ops.Lt(rhs, lhs), self, other)

    def le(self, other: Operand) -> Tensor:
        """Where self is less than other or equal.

        >>> Tensor([1, 2]).le(1)
        tensor([ True, False])
        """
        return binary(not_above_nodes, self, other)

    def ge(self, other: Operand) -> Tensor:
        """Where self is greater than other or equal.

        >>> Tensor([1, 2]).ge(2)
        tensor([False,  True])
        """
        return binary(lambda lhs, rhs: not_above_nodes(rhs, lhs), self, other)

    not_equal = ne
    less = lt
    less_equal = le
    greater = gt
    greater_equal = ge

    # --- logic and bits ---------------------------------------------------------------

    def logical_not(self) -> Tensor:
        """Where the element is zero.

        >>> Tensor([False, True]).logical_not()
        tensor([ True, False])
        """
        return self.result(ops.Not(to_node(self, dtypes.bool_)))

    def logical_and(self, other: Operand) -> Tensor:
        """Where both elements are nonzero.

        >>> Tensor([True, False]).logical_and(Tensor([2, 2]))
        tensor([ True, False])
        """
        return binary(ops.And, *_truths(self, other))

    def logical_or(self, other: Operand) -> Tensor:
        """Where at least one element is nonzero.

        >>> Tensor([True, False]).logical_or(Tensor([0, 0]))
        tensor([ True, False])
        """
        return binary(ops.Or, *_truths(self, other))

    def logical_xor(self, other: Operand) -> Tensor:
        """Where exactly one element is nonzero.

        >>> Tensor([True, False]).logical_xor(Tensor([2, 2]))
        tensor([False,  True])
        """
        return binary(ops.Xor, *_truths(self, other))

    def bitwise_not(self) -> Tensor:
        """All bits inverted; of bools, the logical not.

        >>> Tensor([0, 5]).bitwise_not()
        tensor([-1, -6])
        """
        return self.result(ops.Not(self.node))

    def bitwise_and(self, other: Operand) -> Tensor:
        """The bits set in both.

        >>> Tensor([6, 5]).bitwise_and(3)
        tensor([2, 1])
        """
        return binary(ops.And, self, other)

    def bitwise_or(self, other: Operand) -> Tensor:
        """The bits set in at least one.

        >>> Tensor([6, 5]).bitwise_or(1)
        tensor([7, 5])
        """
        return binary(ops.Or, self, other)

    def bitwise_xor(self, other: Operand) -> Tensor:
        """The bits set in exactly one.

        >>> Tensor([6, 5]).bitwise_xor(3)
        tensor([5, 6])
        """
        return binary(ops.Xor, self, other)

    def bitwise_left_shift(self, other: Operand) -> Tensor:
        """Bits moved left; by the width or more gives 0.

        >>> Tensor([1, 3]) << 2
        tensor([ 4, 12])
        """
        return binary(ops.Shl, self, other)

    def bitwise_right_shift(self, other: Operand) -> Tensor:
        """Bits moved right, keeping the sign.

        >>> Tensor([8, -8]).bitwise_right_shift(2)
        tensor([ 2, -2])
        """
        return binary(ops.Shr, self, other)

    # --- choice -----------------------------------------------------------------------

    def maximum(self, other: Operand) -> Tensor:
        """The larger elements; NaN if either is NaN.

        >>> Tensor([1, 5]).maximum(Tensor([3, 2]))
        tensor([3, 5])
        """
        return binary(ops.Maximum, self, other)

    def minimum(self, other: Operand) -> Tensor:
        """The smaller elements; NaN if either is NaN.

        >>> Tensor([1, 5]).minimum(Tensor([3, 3]))
        tensor([1, 3])
        """
        return binary(minimum_nodes, self, other)

    def fmax(self, other: Operand) -> Tensor:
        """The larger elements, ignoring NaN where the other is a number.

        >>> Tensor([1.0, float("nan")]).fmax(Tensor([3.0, 3.0]))
        tensor([3., 3.])
        """
        return binary(ignoring_nan(ops.Maximum), self, other)

    def fmin(self, other: Operand) -> Tensor:
        """The smaller elements, ignoring NaN where the other is a number.

        >>> Tensor([1.0, float("nan")]).fmin(Tensor([3.0, 3.0]))
        tensor([1., 3.])
        """
        return binary(ignoring_nan(minimum_nodes), self, other)

    def where(self, condition: Tensor, other: Operand) -> Tensor:
        """self where the condition holds, else other.

        >>> Tensor([1, 2]).where(Tensor([True, False]), 0)
        tensor([1, 0])
        """
        return where(condition, self, other)

    def masked_fill(self, mask: Tensor, value: Operand) -> Tensor:
        """``value`` where the mask holds, else self.

        >>> Tensor([1, 2]).masked_fill(Tensor([True, False]), 0)
        tensor([0, 2])
        """
        value_node = to_node(to_operand(value), self.dtype)
        mask_only = _mask_for(self.dtype, to_node(mask, dtypes.bool_))
        nodes = broadcast_nodes(mask_only, value_node, self.real_node)
        return combine(ops.Where(*nodes), self, value, dtype=self.dtype)

    # --- in place ---------------------------------------------------------------------

    add_ = in_place(add)
    sub_ = in_place(sub)
    mul_ = in_place(mul)
    div_ = in_place(div)
    floor_divide_ = in_place(floor_divide)
    remainder_ = in_place(remainder)
    neg_ = in_place(neg)
    logical_not_ = in_place(logical_not)
    logical_and_ = in_place(logical_and)
    logical_or_ = in_place(logical_or)
    bitwise_and_ = in_place(bitwise_and)
    bitwise_or_ = in_place(bitwise_or)
    bitwise_xor_ = in_place(bitwise_xor)
    bitwise_left_shift_ = in_place(bitwise_left_shift)
    bitwise_right_shift_ = in_place(bitwise_right_shift)
    masked_fill_ = in_place(masked_fill)

    # --- operators --------------------------------------------------------------------

    __add__ = operator(add)
    __radd__ = operator(lambda self, other: binary(add_nodes, other, self))
    __iadd__ = operator(add_)
    __sub__ = operator(sub)
    __rsub__ = operator(rsub)
    __isub__ = operator(sub_)
    __mul__ = operator(mul)
    __rmul__ = operator(lambda self, other: binary(multiply_nodes, other, self))
    __imul__ = operator(mul_)
    __truediv__ = operator(div)
    __rtruediv__ = operator(lambda self, other: _divide(other, self))
    __itruediv__ = operator(div_)
    __floordiv__ = operator(floor_divide)
    __rfloordiv__ = operator(
        lambda self, other: binary(floor_divide_nodes, other, self)
    )
    __ifloordiv__ = operator(floor_divide_)
    __mod__ = operator(remainder)
    __rmod__ = operator(lambda self, other: binary(ops.Mod, other, self))
    __imod__ = operator(remainder_)
    __and__ = operator(bitwise_and)
    __rand__ = operator(bitwise_and)
    __iand__ = operator(bitwise_and_)
    __or__ = operator(bitwise_or)
    __ror__ = operator(bitwise_or)
    __ior__ = operator(bitwise_or_)
    __xor__ = operator(bitwise_xor)
    __rxor__ = operator(bitwise_xor)
    __ixor__ = operator(bitwise_xor_)
    __lshift__ = operator(bitwise_left_shift)
    __rlshift__ = operator(lambda self, other: binary(ops.Shl, other, self))
    __ilshift__ = operator(bitwise_left_shift_)
    __rshift__ = operator(bitwise_right_shift)
    __rrshift__ = operator(lambda self, other: binary(ops.Shr, other, self))
    __irshift__ = operator(bitwise_right_shift_)
    __eq__ = operator(eq)
    __ne__ = operator(ne)
    __lt__ = operator(lt)
    __le__ = operator(le)
    __gt__ = operator(gt)
    __ge__ = operator(ge)
    __neg__ = neg
    __invert__ = bitwise_not

    def __pos__(self) -> Tensor:
        return self  # type: ignore[return-value]


def _divide(lhs: Any, rhs: Any) -> Tensor:
    left, right = to_operand(lhs), to_operand(rhs)
    return binary(ops.Div, left, right, float_dtype(left, right))


def _truths(lhs: Any, rhs: Any) -> tuple[Tensor, Tensor]:
    """Whether the operands are nonzero."""
    left, right = to_operand(lhs), to_operand(rhs)
    return (
        combine(to_node(left, dtypes.bool_), left),
        combine(to_node(right, dtypes.bool_), right),
    )


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, else ``other``; all three broadcast.

    With a condition alone: the indices of what is not zero, for each dimension.

    >>> tetragrad.where(Tensor([True, False]), Tensor([1, 2]), 0.5)
    tensor([1.0000, 0.5000])
    >>> tetragrad.where(Tensor([True, False, True]))
    (tensor([0, 2]),)

    Raises:
        DTypeError: the condition is not a tensor of bools.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if not isinstance(condition, TensorBase) or not condition.dtype.is_bool:
        given = getattr(condition, "dtype", type(condition).__name__)
        raise DTypeError(
            f"where() needs a condition of bools, not {given}",
            hint="compare it with something, for example x != 0",
        )
    if_true, if_false = to_operand(input), to_operand(other)
    dtype = common_dtype(if_true, if_false)
    mask = _mask_for(dtype, condition.node)
    nodes = broadcast_nodes(mask, to_node(if_true, dtype), to_node(if_false, dtype))
    return combine(ops.Where(*nodes), condition, if_true, if_false, dtype=dtype)


def _mask_for(dtype: DType, condition: Node) -> Node:
    """A condition that chooses elements of a dtype: both parts of a complex one."""
    if not dtype.is_complex:
        return condition
    return Reshape(condition, (*condition.shape, 1))
