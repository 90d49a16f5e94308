"""Building expressions with local algebra, once the sizes of the axes are known.

Comparisons of positions become guards (affine conditions), which the levels below
can prove, hoist or split loops by; arithmetic on positions stays a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Literal,
    Position,
    Select,
    literal,
)
from tetragrad.kernel.substitution import simplify_guard


def select(
    guard: Guard, inside: Expression, outside: Expression, sizes: Sequence[int]
) -> Expression:
    """``inside`` where the guard holds, simplified."""
    if inside is outside:
        return inside
    simpler = simplify_guard(guard, sizes)
    if simpler is None:
        return outside
    if not simpler:
        return inside
    inside = _given(inside, simpler)
    if len(simpler) == 1:
        outside = _given(outside, (_opposite(simpler[0]),))
    if isinstance(inside, Select) and inside.outside is outside:
        joined = (*simpler, *(form for form in inside.guard if form not in simpler))
        return Select(joined, inside.inside, outside)
    return Select(simpler, inside, outside)


def _given(value: Expression, known: Guard) -> Expression:
    """A value where conditions are known to hold, without asking for them again."""
    if not isinstance(value, Select):
        return value
    asked = tuple(form for form in value.guard if form not in known)
    return Select(asked, value.inside, value.outside) if asked else value.inside


def _opposite(form: Affine) -> Affine:
    """What is >= 0 just where the form is not."""
    return form.scale(-1).shift(-1)


def compute(
    op: type[ops.Elementwise],
    dtype: DType,
    inputs: tuple[Expression, ...],
    sizes: Sequence[int],
) -> Expression:
    """An elementwise op on expressions, simplified."""
    if op is ops.Where:
        condition, inside, outside = inputs
        return _where(condition, inside, outside, sizes)
    if all(isinstance(entry, Literal) for entry in inputs):
        return _fold(op, dtype, inputs)
    position = _position(op, dtype, inputs, sizes)
    if position is not None:
        return position
    if op is ops.Cast and inputs[0].dtype is dtype:
        return inputs[0]
    return Compute(op, dtype, inputs)


def _where(
    condition: Expression,
    inside: Expression,
    outside: Expression,
    sizes: Sequence[int],
) -> Expression:
    guard, opposite = as_guard(condition), as_guard(negate(condition))
    # Where both forms exist, the literal goes outside: one shape for later rules.
    swap = opposite is not None and isinstance(inside, Literal)
    if guard is not None and not swap:
        return select(guard, inside, outside, sizes)
    if opposite is not None:
        return select(opposite, outside, inside, sizes)
    if inside is outside:
        return inside
    return Compute(ops.Where, inside.dtype, (condition, inside, outside))


def _fold(
    op: type[ops.Elementwise], dtype: DType, inputs: tuple[Any, ...]
) -> Expression:
    with np.errstate(all="ignore"):
        value = op.apply(dtype, *(_array(entry) for entry in inputs))
    return literal(np.asarray(value), dtype)


def _array(entry: Literal) -> np.ndarray:
    return np.frombuffer(entry.bits, entry.dtype.numpy).reshape(())


# --- positions ----------------------------------------


def as_form(expression: Expression) -> Affine | None:
    """The affine form of an integer expression, if it is one."""
    if isinstance(expression, Position):
        return expression.form
    if isinstance(expression, Literal) and expression.dtype.is_integer:
        return Affine(int(expression.value))
    return None


def _position(
    op: type[ops.Elementwise],
    dtype: DType,
    inputs: tuple[Expression, ...],
    sizes: Sequence[int],
) -> Expression | None:
    """Integer arithmetic on positions that stays affine and cannot wrap."""
    if not dtype.is_integer or not any(isinstance(entry, Position) for entry in inputs):
        return None
    forms = [as_form(entry) for entry in inputs]
    if any(form is None for form in forms):
        return None
    form = _combined(op, forms)
    if form is None:
        return None
    low, high = form.range(sizes)
    limits = np.iinfo(dtype.numpy)
    return Position(form, dtype) if limits.min <= low and high <= limits.max else None


def _combined(op: type[ops.Elementwise], forms: list[Any]) -> Affine | None:
    if op is ops.Cast:
        return forms[0]
    if op is ops.Neg:
        return forms[0].scale(-1)
    if op is ops.Add:
        return forms[0] + forms[1]
    if op is ops.Sub:
        return forms[0] - forms[1]
    if op is ops.Mul:
        lhs, rhs = forms
        if not lhs.terms:
            return rhs.scale(lhs.constant)
        if not rhs.terms:
            return lhs.scale(rhs.constant)
    return None


# --- guards ----------------------------------------


def as_guard(condition: Expression) -> Guard | None:
    """The affine conditions that a bool expression is a conjunction of, or None."""
    match condition:
        case Literal():
            return () if condition.value else None
        case Select():
            return _guard_of_select(condition)
        case Compute():
            return _guard_of_compute(condition)
    return None


def _guard_of_select(condition: Select) -> Guard | None:
    inside, outside = condition.inside, condition.outside
    if not isinstance(outside, Literal) or outside.value:
        return None
    inner = as_guard(inside)
    return None if inner is None else (*condition.guard, *inner)


def _guard_of_compute(condition: Compute) -> Guard | None:
    op = condition.op
    if op is ops.And:
        parts = [as_guard(entry) for entry in condition.inputs]
        if any(part is None for part in parts):
            return None
        return tuple(form for part in parts for form in part or ())
    if op is ops.Not:
        opposite = negate(condition.inputs[0])
        return None if opposite is condition else as_guard(opposite)
    if op not in (ops.Lt, ops.Eq):
        return None
    lhs, rhs = (as_form(entry) for entry in condition.inputs)
    if lhs is None or rhs is None:
        return None
    if op is ops.Lt:
        return ((rhs - lhs).shift(-1),)
    return (rhs - lhs, lhs - rhs)


def negate(condition: Expression) -> Expression:
    """not condition, pushed inwards as far as it stays one affine condition."""
    match condition:
        case Literal():
            return literal(not condition.value, condition.dtype)
        case Compute(op=ops.Not):
            return condition.inputs[0]
        case Compute(op=ops.Lt):
            lhs, rhs = (as_form(entry) for entry in condition.inputs)
            if lhs is not None and rhs is not None:
                # not (a < b)  ->  b < a + 1
                return _compare_forms(rhs, lhs.shift(1), condition)
        case Select(guard=(form,)):
            outside, inside = condition.outside, condition.inside
            if isinstance(inside, Literal) and isinstance(outside, Literal):
                return Select((_opposite(form),), negate(outside), negate(inside))
    return Compute(ops.Not, condition.dtype, (condition,))


def _compare_forms(lhs: Affine, rhs: Affine, like: Compute) -> Expression:
    dtype = like.inputs[0].dtype
    return Compute(ops.Lt, like.dtype, (Position(lhs, dtype), Position(rhs, dtype)))
