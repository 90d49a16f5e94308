"""Divide a product's guard between its factors.

    if c: x[i] * w[j] else 0     where c is i < 5 and j < 7
      ->  (if i < 5: x[i] else 0) * (if j < 7: w[j] else 0)

What remains is a plain product, whose operands can be brought one by one. Both are the
same for finite numbers; where one factor is beyond its edge, the other one is
multiplied by zero, so that an infinite one gives NaN: as with padding in memory.
"""

from __future__ import annotations

from tetragrad.graph.elementwise import Cast, Mul
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.bounds import Domain
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Load,
    Select,
    literal,
)
from tetragrad.kernel.ir import Kernel

Factors = tuple[Expression, Expression]


def factors_of(body: Expression, kernel: Kernel | None = None) -> Factors | None:
    """The factors of a product; with the kernel also of a guarded one."""
    if kernel is not None and isinstance(body, Select) and is_zero(body.outside):
        return _divided(body, kernel)
    if isinstance(body, Compute) and body.op is Mul:
        lhs, rhs = body.inputs
        return lhs, rhs
    return None


def is_zero(value: Expression) -> bool:
    """Whether a value is the literal 0, without a sign."""
    return value == literal(0, value.dtype)


def _divided(select: Expression, kernel: Kernel) -> Factors | None:
    """The factors with the conditions on each; None if some concern neither alone."""
    found = factors_of(select.inside)
    if found is None:
        return None
    lhs, rhs = (_with_own_guard(factor, select.guard, kernel) for factor in found)
    if lhs is None or rhs is None:
        return None
    kept = {*lhs[1], *rhs[1]}
    if not set(select.guard) <= kept:
        return None
    return lhs[0], rhs[0]


def _with_own_guard(
    factor: Expression, guard: Guard, kernel: Kernel
) -> tuple[Expression, Guard] | None:
    """A load that is guarded by what limits an index of its own, and these conditions.

    None where the load would not stay inside its buffer then.
    """
    value = factor
    while (isinstance(value, Compute) and value.op is Cast) or (
        isinstance(value, Select) and is_zero(value.outside)
    ):
        value = value.operands[0]
    if not isinstance(value, Load):
        return None
    conditions = (*value.guard, *(form for form in guard if form not in value.guard))
    address = value.address
    own = tuple(form for form in conditions if moves_along(address, form))
    domain, last = Domain(kernel.axes, own), kernel.slots[value.slot].numel - 1
    if not domain.proves(address) or not domain.proves(address.scale(-1).shift(last)):
        return None
    load: Expression = Load(value.slot, address, own, value.dtype)
    if factor.dtype is not value.dtype:
        load = Compute(Cast, factor.dtype, (load,))
    if own:
        load = Select(own, load, literal(0, load.dtype))
    return load, own


def moves_along(address: Affine, form: Affine) -> bool:
    """Whether an address moves by so many times what the form does, along its axes.

    Then the form limits one index of what the address walks through.
    """
    if not form.terms or not form.is_pure():
        return False
    pairs = [(address.coefficient(axis), part) for axis, part in form.terms]
    step, part = pairs[0]
    return step != 0 and all(
        other * part == step * factor for other, factor in pairs[1:]
    )
