"""Rewrite kernel expressions for a place in a tile program."""

from __future__ import annotations

from collections.abc import Mapping

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
    Scan,
    Select,
    atoms_of,
)
from tetragrad.tile.ir import QuickPower, TileLoad

Forms = Mapping[int, Affine]
Replacements = Mapping[Expression, Expression]


class Rewriter:
    """Replaces axes by affine forms and whole expressions by others.

    A load whose address depends on an axis of ``guard`` receives that guard: a
    vector that overhangs the end of its domain must not touch memory there.
    """

    def __init__(
        self, forms: Forms, replacements: Replacements, guard: Guard = ()
    ) -> None:
        self.forms = forms
        self.replacements = replacements
        self.guard = guard
        self.done: dict[Expression, Expression] = {}

    def __call__(self, root: Expression) -> Expression:
        """The expression as it reads at this place."""
        stack = [root]
        while stack:
            expression = stack[-1]
            if expression not in self.done:
                replacement = self.replacements.get(expression)
                if replacement is None:
                    missing = [
                        part for part in expression.children if part not in self.done
                    ]
                    if missing:
                        stack.extend(missing)
                        continue
                    replacement = self._one(expression)
                self.done[expression] = replacement
            stack.pop()
        return self.done[root]

    def form(self, form: Affine) -> Affine:
        """An affine form as it reads at this place."""
        for atom in atoms_of((form,)):
            self(atom)
        return form.substitute(self.forms, self.done.__getitem__)

    def guards(self, guard: Guard) -> Guard:
        """A guard as it reads at this place."""
        return tuple(self.form(entry) for entry in guard)

    def _one(self, expression: Expression) -> Expression:
        match expression:
            case Load():
                return self._load(expression)
            case Position():
                return Position(self.form(expression.form), expression.dtype)
            case Compute():
                inputs = tuple(self.done[entry] for entry in expression.inputs)
                return Compute(expression.op, expression.dtype, inputs)
            case Select():
                guard = self.guards(expression.guard)
                inside = self.done[expression.inside]
                return Select(guard, inside, self.done[expression.outside])
            case Reduction():
                axes = tuple(self._axis(axis) for axis in expression.axes)
                return Reduction(expression.op, axes, self.done[expression.body])
            case Scan():
                axis = self._axis(expression.axis)
                body = self.done[expression.body]
                return Scan(expression.op, axis, body, expression.reverse)
            case Quotient():
                form = self.form(expression.form)
                return Quotient(form, expression.divisor, expression.limit)
            case Remainder():
                return Remainder(self.form(expression.form), expression.divisor)
            case Indexed():
                value = self.done[expression.value]
                return type(expression)(value, expression.low, expression.high)
            case TileLoad():
                return TileLoad(expression.tile, self.guards(expression.indices))
            case QuickPower():
                return QuickPower(*(self.done[e] for e in expression.operands))
        return expression

    def _load(self, load: Expression) -> Expression:
        address = self.form(load.address)
        moved = address.axes()
        inherited = tuple(entry for entry in self.guard if entry.axes() & moved)
        guard = merge_guards(self.guards(load.guard), inherited)
        return Load(load.slot, address, guard, load.dtype)

    def _axis(self, axis: int) -> int:
        form = self.forms.get(axis)
        if form is None:
            return axis
        ((renamed, coefficient),) = form.terms
        assert coefficient == 1 and form.constant == 0 and isinstance(renamed, int)
        return renamed


def merge_guards(first: Guard, second: Guard) -> Guard:
    """Both guards, without repeating a condition."""
    return first + tuple(entry for entry in second if entry not in first)
