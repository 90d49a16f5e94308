"""Choose the instruction that multiplies the narrow operands of a contraction.

    Σ_k int32(a[m, k]) * int32(b[k, n])          a and b of 8 bits

is not computed with products of int32: the operands are packed as they are stored, in
groups along the depth that one instruction multiplies and sums. An instruction whose
first operand is unsigned takes a signed one too, moved up by 128:

    Σ_k a*b = Σ_k (a + 128)*b - Σ_k 128*b

where the last sum is the product with one more row, of 128. Sums of int32 wrap around,
so the result is exact even if what is subtracted is not.
"""

from __future__ import annotations

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.core.target import DotStep, Target
from tetragrad.graph.elementwise import Add, Cast
from tetragrad.kernel.expression import Compute, Expression, literal
from tetragrad.tile.plans.scope import cast

#: What a signed byte is moved up by to be an unsigned one.
SHIFT = 128


#: Totals of a micro-tile of whole tiles, on a side: two by two leave four registers of
#: eight for operands.
TILES_ON_A_SIDE = 2
#: Columns of such a tile.
TILE_COLUMNS = 16
#: Dot steps by vectors in the time of a tile, which does as much as 256 of those.
TILE_STEPS = 32


@frozen
class Dot:
    """The instruction that a contraction's operands are packed for.

    With ``is_shifted`` elements of the first operand are moved up by ``SHIFT``.
    """

    step: DotStep
    is_shifted: bool = False

    @property
    def is_by_tiles(self) -> bool:
        """Whether the instruction multiplies whole tiles of both operands."""
        return self.step.groups > 1

    @property
    def unit(self) -> int:
        """What the depth of a block is a multiple of."""
        return self.step.depth * self.step.groups

    @property
    def speed(self) -> float:
        """Products of a lane in the time of one multiplication by vectors."""
        tiles = self.step.rows * self.step.groups / TILE_STEPS
        return self.step.depth * max(1.0, tiles)

    def micro_tile(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of a micro-tile of whole tiles, one or two on each side."""
        height, width = self.step.rows, TILE_COLUMNS
        return (
            height if rows <= height else height * TILES_ON_A_SIDE,
            width if columns <= width else width * TILES_ON_A_SIDE,
        )


def choose_dot(
    lhs: Expression, rhs: Expression, total: DType, target: Target
) -> Dot | None:
    """The fastest instruction that multiplies two operands exactly."""
    first, second = stored(lhs).dtype, stored(rhs).dtype
    for step in target.dot_steps:
        if step.total is not total or not _holds(step.rhs, second):
            continue
        if _holds(step.lhs, first):
            return Dot(step)
        if (step.lhs, first) == (dtypes.uint8, dtypes.int8):
            return Dot(step, is_shifted=True)
    return None


def stored(operand: Expression) -> Expression:
    """The operand before it was widened."""
    if isinstance(operand, Compute) and operand.op is Cast:
        (narrow,) = operand.inputs
        if _holds(operand.dtype, narrow.dtype):
            return narrow
    return operand


def packed_lhs(operand: Expression, dot: Dot) -> Expression:
    """What is packed of the first operand."""
    value = stored(operand)
    if dot.is_shifted:
        # Adding -128 to a signed byte wraps around to the same bits.
        value = Compute(Add, value.dtype, (value, literal(-SHIFT, value.dtype)))
    return cast(value, dot.step.lhs)


def packed_rhs(operand: Expression, dot: Dot) -> Expression:
    """What is packed of the second operand."""
    return cast(stored(operand), dot.step.rhs)


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of one dtype is a value of another."""
    if narrow is wide:
        return True
    if narrow.is_floating_point:
        return wide.is_floating_point and wide.bits > narrow.bits
    if narrow.is_bool or not wide.is_integer:
        return wide.is_integer
    spare = wide.bits - narrow.bits
    if narrow.is_signed:
        return wide.is_signed and spare >= 0
    return spare > 0 or not wide.is_signed
