"""Products of float32 on a matrix unit that multiplies numbers of eleven digits.

The unit ignores the last thirteen of the 24 binary digits of an operand. Each operand
is therefore used twice: as it is, which counts as its first digits *h*, and as the
*rest* r = x - h, which is computed on the way:

    Σ a * b  ≈  Σ rest(a) * h(b) + h(a) * rest(b) + h(a) * h(b)

What is missing is the product of both rests, 1e-7 of the whole on average. The unit
cuts its sums off where ordinary additions round, so that the products of each step are
summed apart (Ootomo and Yokota, "Recovering single precision accuracy from Tensor
Cores while surpassing the FP32 theoretical peak performance", 2022).

Infinities stay what they are: the rest of an infinite number is the number itself, and
that of any other has the sign of the number and is never zero beside it, so that no
infinity is multiplied by zero which ordinary arithmetic would not multiply by zero.
"""

from __future__ import annotations

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.graph.elementwise import Add, And, Bitcast, Eq, Mul, Sub, Where
from tetragrad.kernel.expression import Compute, Expression, literal
from tetragrad.tile.ir import Extent, Map, Tile, TileLoad
from tetragrad.tile.plans.scope import Builder, indices_of

#: The digits of a float32 that the unit does not ignore, as a mask; and half of the
#: last of them, which rounds a number that is cut off there.
FIRST_DIGITS = -1 << 13
HALF_DIGIT = 1 << 12
#: A part of a number that is too small to count beside it.
NOTHING = 2.0**-30
#: How many products there are for one of float32.
PRODUCTS = 3
#: A sum of fewer is more exact in ordinary arithmetic.
SHALLOWEST = 128


def rest_of(value: Expression) -> Expression:
    """What is left of a number without its first digits, so that a cut rounds it."""

    def compute(op: type, *inputs: Expression, dtype: DType = value.dtype) -> Compute:
        return Compute(op, dtype, inputs)

    bits = compute(Bitcast, value, dtype=dtypes.int32)
    mask = literal(FIRST_DIGITS, dtypes.int32)
    first = compute(Bitcast, compute(And, bits, mask, dtype=dtypes.int32))
    small = compute(Mul, value, literal(NOTHING, value.dtype))
    rest = compute(Add, small, compute(Sub, value, first))
    is_number = compute(Eq, rest, rest, dtype=dtypes.bool_)
    found = compute(Where, is_number, rest, value)
    half = literal(HALF_DIGIT, dtypes.int32)
    bits = compute(Bitcast, found, dtype=dtypes.int32)
    return compute(Bitcast, compute(Add, bits, half, dtype=dtypes.int32))


def fill_rest(builder: Builder, rest: Tile, operand: Tile) -> Map:
    """Compute the rest of an operand; both tiles lie alike, neighbours along 0."""
    depth, side = builder.axes(operand.shape)
    order: tuple[Extent, ...] = (side, depth)
    indices = indices_of((depth, side))
    return Map(order, rest, indices, rest_of(TileLoad(operand, indices)))
