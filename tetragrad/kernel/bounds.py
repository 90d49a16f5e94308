"""Proofs that an affine form is never negative, from axis ranges and guards.

Every load and store of a kernel is proved to stay inside its buffer. Three methods,
from fast to thorough, all exact in integers and none ever wrong when it says yes:

1. intervals: each term at its smallest;
2. intervals that the guards have narrowed first: ``a0 - 1 >= 0`` makes a0 at least 1;
3. Fourier-Motzkin elimination (Schrijver 1986, *Theory of Linear and Integer
   Programming*, section 12.2): assume the form is at most -1, and eliminate one
   variable after the other until only constants are left; a negative one is the
   contradiction. Each derived inequality is divided by its coefficients' divisor
   and rounded, which makes it stronger on integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Given, Guard, Indexed

#: Elimination gives up (proves nothing) beyond this many inequalities.
MAXIMUM_INEQUALITIES = 2000
#: Narrowing by guards repeats this often at most.
ROUNDS = 4

Variable = Any  # A loop axis, an index atom, or the value of a loaded index.
Bounds = tuple[int | None, int | None]


@frozen(slots=True)
class Inequality:
    """``constant + Σ coefficient · variable >= 0``."""

    constant: int
    terms: tuple[tuple[Variable, int], ...]


class Domain:
    """The points of a loop nest where a guard holds; ``sizes`` by axis."""

    def __init__(
        self, sizes: Sequence[int] | Mapping[int, int], guard: Guard = ()
    ) -> None:
        self.sizes = sizes
        self.guard = [_inequality(form) for form in guard]
        self._narrowed: dict[Variable, Bounds] | None = None

    def proves(self, form: Affine) -> bool:
        """Whether form >= 0 at every point; False if no proof is found."""
        wanted = _inequality(form)
        low = self._lowest(wanted, {})
        if low is not None and low >= 0:
            return True
        if not self.guard:
            return False
        low = self._lowest(wanted, self._narrow())
        if low is not None and low >= 0:
            return True
        opposite = _scaled(wanted, -1, -1)
        return _is_infeasible(self._about(opposite))

    def span(self, form: Affine) -> tuple[int, int] | None:
        """The smallest and largest value where the guard holds, or further apart."""
        known = self._narrow()
        low = self._lowest(_inequality(form), known)
        high = self._lowest(_inequality(form.scale(-1)), known)
        return None if low is None or high is None else (low, -high)

    # --- intervals -------------------------------------------------------------

    def _bounds(self, variable: Variable, known: dict[Variable, Bounds]) -> Bounds:
        found = known.get(variable)
        if found is not None:
            return found
        if isinstance(variable, int):
            return 0, self.sizes[variable] - 1
        if isinstance(variable, _Index):
            return None, None
        bounds: Bounds = variable.range
        return bounds

    def _lowest(
        self, inequality: Inequality, known: dict[Variable, Bounds]
    ) -> int | None:
        """The smallest left side by intervals; None if there is none."""
        total = inequality.constant
        for variable, part in inequality.terms:
            limit = self._bounds(variable, known)[part < 0]
            if limit is None:
                return None
            total += part * limit
        return total

    def _narrow(self) -> dict[Variable, Bounds]:
        """Bounds of the guard's variables at points where the guard holds."""
        if self._narrowed is None:
            known: dict[Variable, Bounds] = {}
            for _ in range(ROUNDS):
                before = dict(known)
                for inequality in self.guard:
                    self._narrow_by(inequality, known)
                if known == before:
                    break
            self._narrowed = known
        return self._narrowed

    def _narrow_by(self, inequality: Inequality, known: dict[Variable, Bounds]) -> None:
        """part·x >= -(the rest at its largest) bounds each variable x."""
        for variable, part in inequality.terms:
            others = tuple(term for term in inequality.terms if term[0] != variable)
            rest = self._lowest(
                _scaled(Inequality(inequality.constant, others), -1, 0), known
            )
            if rest is None:
                continue
            low, high = self._bounds(variable, known)
            if part > 0:
                limit = -(-rest // part)
                low = limit if low is None else max(low, limit)
            else:
                limit = -rest // -part
                high = limit if high is None else min(high, limit)
            known[variable] = low, high

    # --- elimination -----------------------------------------------------------

    def _about(self, wanted: Inequality) -> list[Inequality]:
        """``wanted`` with every inequality that is linked to its variables."""
        variables = {variable for variable, _ in wanted.terms}
        linked = [wanted]
        waiting = list(self.guard)
        while True:
            found = [
                entry
                for entry in waiting
                if any(variable in variables for variable, _ in entry.terms)
            ]
            if not found:
                break
            linked += found
            waiting = [entry for entry in waiting if entry not in found]
            variables |= {variable for entry in found for variable, _ in entry.terms}
        for variable in variables:
            low, high = self._bounds(variable, {})
            if low is not None:
                linked.append(Inequality(-low, ((variable, 1),)))
            if high is not None:
                linked.append(Inequality(high, ((variable, -1),)))
        return linked


@frozen(slots=True)
class _Index:
    """An index from memory: only guards say anything about its value."""

    value: Any


def _inequality(form: Affine) -> Inequality:
    """The form as an inequality; equal indices with other limits are one variable."""
    if form.is_pure():
        return Inequality(form.constant, form.terms)
    total: dict[Variable, int] = {}
    for atom, part in form.terms:
        is_loaded = isinstance(atom, Indexed) and not isinstance(atom, Given)
        variable = _Index(atom.value) if is_loaded else atom
        total[variable] = total.get(variable, 0) + part
    terms = tuple(entry for entry in total.items() if entry[1])
    return Inequality(form.constant, terms)


def _scaled(inequality: Inequality, factor: int, shift: int) -> Inequality:
    terms = tuple((variable, part * factor) for variable, part in inequality.terms)
    return Inequality(inequality.constant * factor + shift, terms)


def _is_infeasible(inequalities: Iterable[Inequality]) -> bool:
    """Whether no integers satisfy all inequalities; False if that is not found."""
    known: dict[frozenset[tuple[Variable, int]], int] = {}
    for inequality in inequalities:
        if not _add(dict(inequality.terms), inequality.constant, known):
            return True
    while known:
        if len(known) > MAXIMUM_INEQUALITIES:
            return False
        variable = _cheapest(known)
        lower, upper, rest = _parted(known, variable)
        for low_terms, low_part, low_constant in lower:
            for high_terms, high_part, high_constant in upper:
                terms = {key: part * -high_part for key, part in low_terms.items()}
                for key, part in high_terms.items():
                    terms[key] = terms.get(key, 0) + part * low_part
                constant = low_constant * -high_part + high_constant * low_part
                if not _add(terms, constant, rest):
                    return True
        known = rest
    return False


def _add(
    terms: dict[Variable, int],
    constant: int,
    known: dict[frozenset[tuple[Variable, int]], int],
) -> bool:
    """Keep an inequality, as strong as integers allow; False if it cannot hold."""
    kept = {variable: part for variable, part in terms.items() if part}
    if not kept:
        return constant >= 0
    divisor = math.gcd(*kept.values())
    key = frozenset((variable, part // divisor) for variable, part in kept.items())
    constant //= divisor
    known[key] = min(known.get(key, constant), constant)
    return True


def _cheapest(known: dict[frozenset[tuple[Variable, int]], int]) -> Variable:
    """The variable whose elimination makes the fewest inequalities."""
    counts: dict[Variable, list[int]] = {}
    for key in known:
        for variable, part in key:
            counts.setdefault(variable, [0, 0])[part < 0] += 1
    return min(counts, key=lambda variable: counts[variable][0] * counts[variable][1])


_Bound = tuple[dict[Variable, int], int, int]


def _parted(
    known: dict[frozenset[tuple[Variable, int]], int], variable: Variable
) -> tuple[list[_Bound], list[_Bound], dict[frozenset[tuple[Variable, int]], int]]:
    """Inequalities that bound the variable from below, from above, and the others."""
    lower: list[_Bound] = []
    upper: list[_Bound] = []
    rest: dict[frozenset[tuple[Variable, int]], int] = {}
    for key, constant in known.items():
        terms = dict(key)
        part = terms.pop(variable, 0)
        if part > 0:
            lower.append((terms, part, constant))
        elif part < 0:
            upper.append((terms, part, constant))
        else:
            rest[key] = constant
    return lower, upper, rest
