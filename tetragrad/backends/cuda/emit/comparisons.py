"""``a <= b``, which the graph writes as ``a < b or a == b``, in one instruction."""

from __future__ import annotations

from tetragrad.graph.elementwise import Eq, Lt, Or
from tetragrad.kernel.expression import Compute, Expression


def at_most_of(expression: Expression) -> tuple[Expression, Expression] | None:
    """The two sides, if an expression says that the first is at most the second.

    As with both parts, it never holds where one side is not a number.
    """
    if expression.op is not Or or not expression.dtype.is_bool:
        return None
    less, equal = expression.inputs
    if _op_of(less) is Eq:
        less, equal = equal, less
    if _op_of(less) is not Lt or _op_of(equal) is not Eq:
        return None
    sides = less.inputs
    if sides[0].dtype.is_bool or set(sides) != set(equal.inputs):
        return None
    return sides[0], sides[1]


def _op_of(expression: Expression) -> type | None:
    return expression.op if isinstance(expression, Compute) else None
