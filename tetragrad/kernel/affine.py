"""Integer affine forms over loop axes: what every address and bound is made of.

An :class:`Affine` is ``constant + Σ coefficient · atom``. An atom is the number of a
loop axis, or (rarely) an integer expression: a quotient or remainder that a reshape
could not avoid, or an index that was loaded from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

Atom = Any  # int (a loop axis) or an expression with a ``range`` of values.
Terms = tuple[tuple[Atom, int], ...]
Range = tuple[int, int]


class Affine:
    """``constant + Σ coefficient · atom``, with axes in order and no zero terms.

    Never changed once made. Written out by hand because lowering makes and hashes
    more of these than of anything else.
    """

    __slots__ = ("_hash", "constant", "terms")
    __match_args__ = ("constant", "terms")

    def __init__(self, constant: int, terms: Terms = ()) -> None:
        self.constant = constant
        self.terms = terms
        self._hash = hash((constant, terms))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Affine) or self._hash != other._hash:
            return False
        return self.constant == other.constant and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Affine({self.constant}, {self.terms})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Affine, (self.constant, self.terms)

    def __add__(self, other: Affine) -> Affine:
        if not other.terms:
            return Affine(self.constant + other.constant, self.terms)
        if not self.terms:
            return Affine(self.constant + other.constant, other.terms)
        return combine(self.constant + other.constant, self.terms + other.terms)

    def shift(self, amount: int) -> Affine:
        """self + amount."""
        return Affine(self.constant + amount, self.terms)

    def scale(self, factor: int) -> Affine:
        """self * factor."""
        if factor == 1:
            return self
        if factor == 0:
            return ZERO
        terms = tuple([(atom, part * factor) for atom, part in self.terms])
        return Affine(self.constant * factor, terms)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scale(-1)

    def coefficient(self, axis: Atom) -> int:
        """How far one step of the axis moves this form."""
        for atom, part in self.terms:
            if atom == axis:
                return part
        return 0

    def axes(self) -> set[int]:
        """The loop axes that this form depends on, also through its atoms."""
        found: set[int] = set()
        for atom, _ in self.terms:
            if isinstance(atom, int):
                found.add(atom)
            else:
                found |= atom.free_axes
        return found

    def depends_on(self, axis: Atom) -> bool:
        """Whether this form depends on an axis, also through its atoms."""
        for atom, _ in self.terms:
            if atom == axis:
                return True
            if not isinstance(atom, int) and axis in atom.free_axes:
                return True
        return False

    def is_pure(self) -> bool:
        """Whether every atom is a loop axis."""
        return all(isinstance(atom, int) for atom, _ in self.terms)

    def moves_evenly(self, axes: Iterable[int]) -> bool:
        """Whether each step of these axes adds the same, wherever the others are."""
        return all(
            isinstance(atom, int) or atom.free_axes.isdisjoint(axes)
            for atom, _ in self.terms
        )

    def substitute(
        self, forms: Mapping[int, Affine], rewrite: Callable[[Any], Any] | None = None
    ) -> Affine:
        """Replace axes by forms (and rewrite the other atoms, if asked)."""
        constant = self.constant
        terms: list[tuple[Atom, int]] = []
        changes = False
        for term in self.terms:
            atom, part = term
            if isinstance(atom, int):
                form = forms.get(atom)
            else:
                form = atom if rewrite is None else rewrite(atom)
                if form is atom:
                    form = None
                elif not isinstance(form, Affine):
                    form = of_atom(form)
            if form is None:
                terms.append(term)
                continue
            changes = True
            constant += part * form.constant
            terms += [(inner, part * factor) for inner, factor in form.terms]
        return combine(constant, terms) if changes else self

    def range(self, sizes: Sequence[int]) -> Range:
        """The smallest and largest value, for axes counting up to their sizes."""
        low = high = self.constant
        for atom, part in self.terms:
            first, last = (0, sizes[atom] - 1) if isinstance(atom, int) else atom.range
            if part > 0:
                low, high = low + part * first, high + part * last
            else:
                low, high = low + part * last, high + part * first
        return low, high


ZERO = Affine(0)


@lru_cache(maxsize=256)
def axis_form(axis: int) -> Affine:
    """The form that is just this axis."""
    return Affine(0, ((axis, 1),))


def of_atom(atom: Atom) -> Affine:
    """The form that is just this atom."""
    return Affine(0, ((atom, 1),))


def combine(constant: int, terms: Sequence[tuple[Atom, int]]) -> Affine:
    """Add up terms of equal atoms and put axes first, in order."""
    total: dict[Atom, int] = {}
    for atom, part in terms:
        total[atom] = total.get(atom, 0) + part
    axes: list[tuple[int, int]] = []
    others: list[tuple[Atom, int]] = []
    for entry in total.items():
        if entry[1]:
            (axes if isinstance(entry[0], int) else others).append(entry)
    axes.sort()
    return Affine(constant, (*axes, *others))


class SplitAxis(Exception):
    """An axis must become two, (outer, inner), for a reshape to stay affine."""

    def __init__(self, axis: int, inner: int) -> None:
        self.axis = axis
        self.inner = inner
        super().__init__(f"split axis {axis} by {inner}")


def divide(
    form: Affine, divisor: int, sizes: Sequence[int]
) -> tuple[Affine, Affine] | None:
    """(form // divisor, form % divisor) as affine forms, or None.

    Terms that are multiples of the divisor go to the quotient, the others must stay
    below it together, or be an axis of two positions that carries: (i + 1) // 2 is i,
    and (i + 1) % 2 is 1 - i. Raises SplitAxis where one axis straddles the divisor and
    the sizes nest: i over 12, divided by 4, is (i_outer, i_inner) over (3, 4).
    """
    quotient = [
        (atom, part // divisor) for atom, part in form.terms if part % divisor == 0
    ]
    rest = [(atom, part) for atom, part in form.terms if part % divisor]
    offset = form.constant % divisor
    remainder = Affine(offset, tuple(rest))
    low, high = remainder.range(sizes)
    if low >= 0 and high < divisor:
        return Affine(form.constant // divisor, tuple(quotient)), remainder
    if len(rest) == 1 and low >= 0 and high < 2 * divisor:
        ((atom, part),) = rest
        if isinstance(atom, int) and sizes[atom] == 2:
            whole = Affine(form.constant // divisor, tuple(quotient))
            return whole + axis_form(atom), Affine(offset, ((atom, part - divisor),))
    for atom, part in rest:
        if not isinstance(atom, int) or divisor % part:
            continue
        inner = divisor // abs(part)
        if sizes[atom] > inner and sizes[atom] % inner == 0:
            raise SplitAxis(atom, inner)
    return None
