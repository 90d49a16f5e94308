"""Prove that affine forms are never negative, from the extents of axes and guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tetragrad.kernel.affine import Affine
from tetragrad.kernel.bounds import Domain

# How many guards one proof may combine.
DEPTH = 3


def is_nonnegative(
    form: Affine, extents: Mapping[int, int], guards: Sequence[Affine]
) -> bool:
    """Whether form >= 0 wherever all guards are >= 0.

    A loaded index is trusted to keep its range; what that does not settle is left to
    the kernel level's proof, which trusts nothing but guards and is thorough.
    """
    if _combines(form, extents, guards, DEPTH):
        return True
    return Domain(extents, tuple(guards)).proves(form)


def _combines(
    form: Affine, extents: Mapping[int, int], guards: Sequence[Affine], depth: int
) -> bool:
    """Whether a few guards, one after the other, leave a form that is never negative.

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
            if _combines(rest, extents, others, depth - 1):
                return True
    return False


def lowest(form: Affine, extents: Mapping[int, int]) -> int:
    """The smallest value of a form when each axis goes where it likes."""
    return form.range(extents)[0]  # type: ignore[arg-type]
