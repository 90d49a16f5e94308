"""Quotients of which only sixteen bits are kept: they need not be exact."""

from __future__ import annotations

from tetragrad.backends.cuda.emit import formats
from tetragrad.core import dtypes
from tetragrad.graph.elementwise import Add, Cast, Div, Reciprocal
from tetragrad.kernel.expression import Compute, Expression, Literal, walk
from tetragrad.tile.ir import QuickPower


def quotients_only_rounded(*roots: Expression) -> frozenset[Expression]:
    """Quotients in float32 that conversions to 16 bits read, and nothing else."""
    entries = walk(*roots)
    if not any(map(_is_quotient, entries)):
        return frozenset()
    rounded: set[Expression] = set()
    read = set(roots)
    for entry in entries:
        is_rounding = (
            isinstance(entry, Compute)
            and entry.op is Cast
            and entry.dtype in formats.HALVES
        )
        (rounded if is_rounding else read).update(entry.children)
    return frozenset(filter(_is_quotient, rounded - read))


def _is_quotient(entry: Expression) -> bool:
    return (
        isinstance(entry, Compute)
        and entry.op in (Div, Reciprocal)
        and entry.dtype is dtypes.float32
    )


def is_at_least_one(value: Expression) -> bool:
    """Whether a value is 1, or more, plus a power."""
    if not isinstance(value, Compute) or value.op is not Add:
        return False
    return any(
        isinstance(one, Literal) and one.value >= 1 and isinstance(power, QuickPower)
        for one, power in (value.inputs, value.inputs[::-1])
    )
