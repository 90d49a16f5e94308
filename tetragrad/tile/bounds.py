"""Prove that affine forms are never negative, from the extents of axes and guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tetragrad.kernel.affine import Affine

# How many guards one proof may combine.
DEPTH = 3


def is_nonnegative(
    form: Affine,
    extents: Mapping[int, int],
    guards: Sequence[Affine],
    depth: int = DEPTH,
) -> bool:
    """Whether form >= 0 wherever all guards are >= 0.

    If a*form - b*guard >= 0 with a, b > 0, then a*form >= b*guard >= 0. The factors
    are chosen so that one term cancels, and guards are tried one after the other.
    """
    if lowest(form, extents) >= 0:
        return True
    if depth == 0:
        return False
    for number, guard in enumerate(guards):
        others = [*guards[:number], *guards[number + 1 :]]
        for atom, part in guard.terms:
            mine = form.coefficient(atom)
            if mine * part <= 0:
                continue
            rest = form.scale(abs(part)) - guard.scale(abs(mine))
            if is_nonnegative(rest, extents, others, depth - 1):
                return True
    return False


def lowest(form: Affine, extents: Mapping[int, int]) -> int:
    """The smallest value of a form when each axis goes where it likes."""
    return form.range(extents)[0]  # type: ignore[arg-type]
