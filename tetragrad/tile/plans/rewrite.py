"""Rewrite kernel expressions for a place in a tile program."""

from __future__ import annotations

from collections.abc import Mapping

from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Guard, Load, atoms_of
from tetragrad.kernel.substitution import Substitution
from tetragrad.tile.ir import QuickPower, TileLoad

Forms = Mapping[int, Affine]
Replacements = Mapping[Expression, Expression]


class Rewriter(Substitution):
    """Replaces axes by affine forms and whole expressions by others.

    A load whose address depends on an axis of ``guard`` receives that guard: a
    vector that overhangs the end of its domain must not touch memory there.
    """

    def __init__(
        self, forms: Forms, replacements: Replacements, guard: Guard = ()
    ) -> None:
        super().__init__(forms, None, guard, {})
        self.replacements = replacements

    def __call__(self, root: Expression) -> Expression:
        """The expression as it reads at this place."""
        stack = [root]
        while stack:
            expression = stack[-1]
            if expression not in self.rewritten:
                replacement = self.replacements.get(expression)
                if replacement is None:
                    missing = [
                        part
                        for part in expression.children
                        if part not in self.rewritten
                    ]
                    if missing:
                        stack.extend(missing)
                        continue
                    replacement = self.apply(expression)
                self.rewritten[expression] = replacement
            stack.pop()
        return self.rewritten[root]

    def form(self, form: Affine) -> Affine:
        """An affine form as it reads at this place."""
        for atom in atoms_of((form,)):
            self(atom)
        return form.substitute(self.forms, self.rewritten.__getitem__)

    def guards(self, guard: Guard) -> Guard:
        """A guard as it reads at this place."""
        return tuple(self.form(entry) for entry in guard)

    def apply(self, expression: Expression) -> Expression:
        match expression:
            case TileLoad():
                return TileLoad(expression.tile, self.guards(expression.indices))
            case QuickPower():
                return QuickPower(*(self.rewritten[e] for e in expression.operands))
        return super().apply(expression)

    def load(self, load: Expression) -> Expression:
        address = self.form(load.address)
        moved = address.axes()
        inherited = tuple(entry for entry in self.guard if entry.axes() & moved)
        guard = merge_guards(self.guards(load.guard), inherited)
        return Load(load.slot, address, guard, load.dtype)


def merge_guards(first: Guard, second: Guard) -> Guard:
    """Both guards, without repeating a condition."""
    return first + tuple(entry for entry in second if entry not in first)
