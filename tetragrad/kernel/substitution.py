"""Expressions with other axes, slots or scalars in place of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Load,
    Position,
    Quotient,
    Reduction,
    Remainder,
    Scalar,
    Scan,
    Select,
    literal,
    walk,
)


def substitute(
    root: Expression,
    forms: Mapping[int, Affine],
    sizes: Sequence[int] | None = None,
    guard: Guard = (),
    kept: frozenset[int] = frozenset(),
    *,
    are_free: bool = False,
) -> Expression:
    """Replace loop axes by affine forms everywhere below ``root``.

    Axes bound by a reduction inside are replaced too: callers must rename those
    consistently (a form for a bound axis must be a plain axis), unless the reduction
    binds one of those that are ``kept``: it means others. Where the new forms
    are only in range under ``guard``, loads that they move receive it. With the
    axes' sizes, conditions that no longer say anything are dropped. Where nothing below
    binds the axes (they ``are_free``), only what depends on them is looked at.
    """
    rewritten: dict[Expression, Expression] = _Rewritten()
    substitution = Substitution(forms, sizes, guard, rewritten)
    for expression in _depending(root, forms) if are_free else walk(root):
        is_kept = isinstance(expression, Reduction) and kept & set(expression.axes)
        if is_kept or _is_untouched(expression, forms, rewritten):
            rewritten[expression] = expression
        else:
            rewritten[expression] = substitution.apply(expression)
    return rewritten[root]


class _Rewritten(dict[Expression, Expression]):
    """What has been rewritten; anything else is what it was."""

    def __missing__(self, expression: Expression) -> Expression:
        return expression


def _depending(root: Expression, axes: Collection[int]) -> Sequence[Expression]:
    """What depends on some axes below a root, operands before users."""
    order: list[Expression] = []
    entered: set[Expression] = set()
    # What is still to be entered, or, in front of what is above it, to be left.
    path = [(root, False)]
    while path:
        expression, is_left = path.pop()
        if is_left:
            order.append(expression)
        elif expression not in entered and not expression.free_axes.isdisjoint(axes):
            entered.add(expression)
            path.append((expression, True))
            path += [(entry, False) for entry in expression.children]
    return order


def _is_untouched(
    expression: Expression,
    forms: Mapping[int, Affine],
    rewritten: Mapping[Expression, Expression],
) -> bool:
    """Whether an expression stays as it is because all below it does."""
    return (
        expression.free_axes.isdisjoint(forms)
        and all(rewritten[entry] is entry for entry in expression.children)
        and not isinstance(expression, Reduction | Scan)
    )


class Substitution:
    """One expression after the other, with forms for axes; what is below comes first.

    With the axes' sizes, guards are simplified; loads receive the guard if they move.
    """

    def __init__(
        self,
        forms: Mapping[int, Affine],
        sizes: Sequence[int] | None,
        guard: Guard,
        rewritten: dict[Expression, Expression],
    ) -> None:
        self.forms = forms
        self.sizes = sizes
        self.guard = guard
        #: What has been rewritten so far.
        self.rewritten = rewritten

    def form(self, old: Affine) -> Affine:
        """An affine form in the new axes."""
        return old.substitute(self.forms, self.rewritten.__getitem__)

    def needed(self, guard: Guard) -> Guard | None:
        """What of a guard must be tested; None if it never holds."""
        return guard if self.sizes is None else simplify_guard(guard, self.sizes)

    def apply(self, expression: Expression) -> Expression:
        """One expression, after those below it."""
        rewritten, form = self.rewritten, self.form
        match expression:
            case Load():
                return self.load(expression)
            case Select():
                return self.select(expression)
            case Position():
                return Position(form(expression.form), expression.dtype)
            case Compute():
                inputs = tuple(rewritten[entry] for entry in expression.inputs)
                return Compute(expression.op, expression.dtype, inputs)
            case Reduction():
                axes = tuple(self.axis(axis) for axis in expression.axes)
                return Reduction(expression.op, axes, rewritten[expression.body])
            case Scan():
                axis = self.axis(expression.axis)
                body = rewritten[expression.body]
                return Scan(expression.op, axis, body, expression.reverse)
            case Quotient():
                limit = expression.limit
                return Quotient(form(expression.form), expression.divisor, limit)
            case Remainder():
                return Remainder(form(expression.form), expression.divisor)
            case Indexed():
                value = rewritten[expression.value]
                return type(expression)(value, expression.low, expression.high)
        return expression

    def load(self, load: Expression) -> Expression:
        """A load from the new address, where the guards hold."""
        address = self.form(load.address)
        inherited = () if load.free_axes.isdisjoint(self.forms) else self.guard
        guard = self.needed((*map(self.form, load.guard), *inherited))
        if guard is None:
            return literal(0, load.dtype)
        return Load(load.slot, address, guard, load.dtype)

    def select(self, select: Expression) -> Expression:
        """A choice by the new guard, if there is still one to make."""
        inside, outside = self.rewritten[select.inside], self.rewritten[select.outside]
        guard = self.needed(tuple(map(self.form, select.guard)))
        if guard is None:
            return outside
        return Select(guard, inside, outside) if guard else inside

    def axis(self, axis: int) -> int:
        """What an axis is called that a reduction or scan runs over."""
        form = self.forms.get(axis)
        if form is None:
            return axis
        ((renamed, coefficient),) = form.terms
        assert coefficient == 1 and form.constant == 0 and isinstance(renamed, int)
        return renamed


def simplify_guard(guard: Guard, sizes: Sequence[int]) -> Guard | None:
    """Drop conditions that always hold; None if one never does."""
    kept: list[Affine] = []
    for form in guard:
        low, high = form.range(sizes)
        if high < 0:
            return None
        if low < 0 and form not in kept:
            kept.append(form)
    return tuple(kept)


def move_loads(root: Expression, starts: Mapping[int, int]) -> Expression:
    """Count the addresses of some slots from ``starts[slot]`` on."""
    rewritten: dict[Expression, Expression] = {}
    same = Substitution({}, None, (), rewritten)
    for expression in walk(root):
        moved = same.apply(expression)
        if isinstance(moved, Load) and moved.slot in starts:
            address = moved.address.shift(-starts[moved.slot])
            moved = Load(moved.slot, address, moved.guard, moved.dtype)
        rewritten[expression] = moved
    return rewritten[root]


def renumber(
    root: Expression, slots: Sequence[int], scalars: Sequence[int]
) -> Expression:
    """Give the buffers and scalars below ``root`` other numbers."""
    rewritten: dict[Expression, Expression] = {}
    same = Substitution({}, None, (), rewritten)
    for expression in walk(root):
        found = same.apply(expression)
        if isinstance(found, Load):
            found = Load(slots[found.slot], found.address, found.guard, found.dtype)
        elif isinstance(found, Scalar):
            found = Scalar(scalars[found.slot], found.dtype)
        rewritten[expression] = found
    return rewritten[root]
