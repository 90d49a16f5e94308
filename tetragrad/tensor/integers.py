"""Divisors of integers, and the parts and neighbours of floating-point numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, float_info
from tetragrad.core.errors import DTypeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import Reshape, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.tensor.arithmetic import binary, in_place
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas.arithmetic import absolute_node
from tetragrad.tensor.gradient_rules import with_gradient, with_slope
from tetragrad.tensor.parts import PartMethods
from tetragrad.tensor.promotion import Operand, float_dtype, normal_dims
from tetragrad.tensor.reductions import Dims, drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

_SAME_SIZE = {16: dtypes.int16, 32: dtypes.int32, 64: dtypes.int64}
_UNSIGNED = {
    dtypes.int8: dtypes.uint8,
    dtypes.int16: dtypes.uint16,
    dtypes.int32: dtypes.uint32,
    dtypes.int64: dtypes.uint64,
}


class MantissaAndExponent(NamedTuple):
    """A number as mantissa * 2**exponent, with a mantissa between 0.5 and 1."""

    mantissa: Tensor
    exponent: Tensor


class IntegerMethods(PartMethods):
    """Methods about divisors and about the bits of numbers."""

    __slots__ = ()

    def gcd(self, other: Operand) -> Tensor:
        """The greatest common divisor of integers, never negative; of zeros, 0.

        >>> Tensor([12, -8]).gcd(Tensor([18, 12]))
        tensor([6, 4])
        """
        return binary(_greatest_divisor, self, other)

    def lcm(self, other: Operand) -> Tensor:
        """The least common multiple of integers, never negative; with a zero, 0.

        >>> Tensor([4, 0]).lcm(Tensor([6, 5]))
        tensor([12,  0])
        """
        return binary(_least_multiple, self, other)

    def nextafter(self, other: Operand) -> Tensor:
        """The next representable number on the way to another one.

        >>> Tensor([1.0]).nextafter(Tensor([2.0])) > 1
        tensor([True])
        """
        return binary(_next_after, self, other)

    def ldexp(self, other: Any) -> Tensor:
        """self * 2**other.

        >>> Tensor([1.5]).ldexp(Tensor([3]))
        tensor([12.])
        """
        two = self.tensor_class(2.0)
        if isinstance(other, int | float | complex) or not (
            other.dtype.is_integer or other.dtype.is_bool
        ):
            return self * two.pow(other)
        # A whole exponent leaves the dtype, even where the power is beyond its range.
        dtype = float_dtype(self)
        return (self * two.pow(other.to(dtypes.accumulation(dtype)))).to(dtype)

    def frexp(self) -> MantissaAndExponent:
        """A mantissa between 0.5 and 1 (with a sign), and the exponent as int32.

        >>> Tensor([6.0]).frexp().mantissa
        tensor([0.7500])
        """
        if not self.dtype.is_floating_point:
            raise DTypeError(f"frexp() of {self.dtype}", hint="write x.float()")
        exponent = _exponent(self.node)
        mantissa = _scaled_by_power(self.node, ops.Neg(exponent))

        def slope(node: Node) -> Node:
            return _scaled_by_power(full_like(node, 1.0), ops.Neg(_exponent(node)))

        return MantissaAndExponent(
            self.result(with_slope(mantissa, self.node, slope)),
            self.tensor_class.from_node(ops.Cast(exponent, dtypes.int32)),
        )

    def hash_tensor(
        self, dim: Dims = None, *, keepdim: bool = False, mode: int = 0
    ) -> Tensor:
        """All elements as 64 bits (float64, or a 64-bit integer), combined by xor.

        It does not depend on the order of the elements. ``mode`` 0 is the only one.

        >>> Tensor([1, 2, 4]).hash_tensor()
        tensor(7, dtype=tetragrad.uint64)
        """
        if mode != 0 or self.dtype.is_complex:
            raise DTypeError(
                f"hash_tensor(mode={mode}) of {self.dtype}: it combines real numbers "
                "by xor, which is mode 0",
                hint="hash x.real and x.imag",
            )
        node = self.node
        wide = dtypes.float64 if node.dtype.is_floating_point else dtypes.uint64
        node = ops.Bitcast(ops.Cast(node, wide), dtypes.uint64)
        dims = normal_dims(dim, self.ndim)
        found = _xor_of_all(node, dims)
        return self.tensor_class.from_node(found if keepdim else drop_dims(found, dims))

    gcd_ = in_place(gcd)
    lcm_ = in_place(lcm)
    nextafter_ = in_place(nextafter)
    ldexp_ = in_place(ldexp)


# --- divisors -------------------------------------------------------------------------


def _rounds(dtype: DType) -> int:
    """How many divisions Euclid's algorithm may take.

    G. Lamé (1844): the worst case are neighbouring Fibonacci numbers, which grow by
    the golden ratio.
    """
    golden = (1 + math.sqrt(5)) / 2
    return math.ceil(dtype.bits * math.log(2) / math.log(golden)) + 1


def _greatest_divisor(lhs: Node, rhs: Node) -> Node:
    """Euclid's algorithm, with as many rounds as the widest numbers need."""
    # The smallest number has no positive counterpart among the signed ones.
    dtype = _UNSIGNED.get(lhs.dtype, lhs.dtype)
    high: Node = ops.Cast(absolute_node(lhs), dtype)
    low: Node = ops.Cast(absolute_node(rhs), dtype)
    for _ in range(_rounds(dtype)):
        is_done = nodes.equals(low, 0)
        rest = ops.Mod(high, low)
        high, low = ops.Where(is_done, high, low), ops.Where(is_done, low, rest)
    return ops.Cast(high, lhs.dtype)


def _least_multiple(lhs: Node, rhs: Node) -> Node:
    divisor = _greatest_divisor(lhs, rhs)
    safe = ops.Where(nodes.equals(divisor, 0), full_like(divisor, 1), divisor)
    return absolute_node(ops.Mul(ops.IDiv(lhs, safe), rhs))


# --- combined bits --------------------------------------------------------------------


def _xor_of_all(node: Node, dims: tuple[int, ...]) -> Node:
    """The xor along dimensions, which keep the size 1: of each bit, whether it is odd.

    Bits are counted modulo 2**32, which does not change what is odd.
    """
    width = node.dtype.bits
    spread = (*node.shape, width)
    bits = positions(width, node.ndim, node.ndim + 1, node.dtype)
    column = broadcast_to(Reshape(node, (*node.shape, 1)), spread)
    shifted = ops.Shr(column, broadcast_to(bits, spread))
    ones = ops.Cast(ops.And(shifted, full_like(shifted, 1)), dtypes.int32)
    counts = Sum(ones, dims) if dims else ones
    is_odd = ops.Cast(ops.And(counts, full_like(counts, 1)), node.dtype)
    placed = ops.Shl(is_odd, broadcast_to(bits, is_odd.shape))
    return drop_dims(Sum(placed, (node.ndim,)), (node.ndim,))


# --- bits of floating-point numbers ---------------------------------------------------


def _next_after(start: Node, towards: Node) -> Node:
    """The bits of a float, read as an integer, count its magnitude."""
    whole = _SAME_SIZE[start.dtype.bits]
    bits = ops.Bitcast(start, whole)
    is_up = ops.Lt(start, towards)
    grows = ops.Eq(is_up, nodes.greater(start, 0))
    one = full_like(bits, 1)
    stepped = ops.Where(grows, ops.Add(bits, one), ops.Sub(bits, one))
    # From zero, the smallest number with the sign of the direction.
    smallest = ops.Bitcast(one, start.dtype)
    first = ops.Where(is_up, smallest, ops.Neg(smallest))
    moved = ops.Where(nodes.equals(start, 0), first, ops.Bitcast(stepped, start.dtype))
    same = ops.Eq(start, towards)
    either_nan = ops.Or(nodes.is_nan(start), nodes.is_nan(towards))
    value = ops.Where(same, towards, moved)
    value = ops.Where(either_nan, ops.Add(start, towards), value)

    def rule(upstream: Node) -> tuple[Node, Node]:
        # A step of one unit changes nothing: the result follows where it starts.
        zero = full_like(upstream, 0)
        return ops.Where(same, zero, upstream), ops.Where(same, upstream, zero)

    return with_gradient(value, (start, towards), rule)


def _exponent(node: Node) -> Node:
    """e with |x| = m * 2**e and 0.5 <= m < 1, as an integer; 0 for 0 and infinity."""
    facts = float_info(node.dtype)
    whole = _SAME_SIZE[node.dtype.bits]
    size = absolute_node(node)
    # Numbers below the normal ones get an exponent of their own by scaling.
    is_small = nodes.less(size, float(facts.smallest_normal))
    lifted = ops.Where(is_small, nodes.scale(size, 2.0 ** (facts.nmant + 1)), size)
    bits = ops.Bitcast(lifted, whole)
    biased = ops.Shr(bits, full_like(bits, facts.nmant))
    exponent: Node = ops.Add(biased, full_like(bits, facts.minexp))
    lowered = ops.Sub(exponent, full_like(bits, facts.nmant + 1))
    exponent = ops.Where(is_small, lowered, exponent)
    is_plain = ops.And(nodes.greater(size, 0), nodes.less(size, math.inf))
    return ops.Where(is_plain, exponent, full_like(exponent, 0))


def _scaled_by_power(node: Node, exponent: Node) -> Node:
    """x * 2**e in two steps, as the power itself may not be representable."""
    half = ops.Shr(exponent, full_like(exponent, 1))
    rest = ops.Sub(exponent, half)
    scaled = ops.Mul(node, ops.Exp2(ops.Cast(half, node.dtype)))
    return ops.Mul(scaled, ops.Exp2(ops.Cast(rest, node.dtype)))
