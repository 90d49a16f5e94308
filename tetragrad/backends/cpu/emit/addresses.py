"""Affine forms and guards as instructions.

A form's loop counters are added up once per loop level, so that the points of an
unrolled statement differ by a constant. A guard becomes a condition that all lanes
share, one for each lane, or nothing at all where the loops' extents already decide.
"""

from __future__ import annotations

from collections.abc import Mapping

from tetragrad.backends.cpu.emit.operations import Operations
from tetragrad.backends.cpu.emit.scopes import Scopes
from tetragrad.backends.cpu.emit.vector import Builder, Value, constant, constant_lanes
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Guard


@frozen(slots=True, refuses=False)
class Mask:
    """Where something may happen: if ``uniform`` holds, in the ``lanes`` that do."""

    uniform: Value | None = None
    lanes: Value | None = None
    never: bool = False

    @property
    def always(self) -> bool:
        return self.uniform is None and self.lanes is None and not self.never


ALWAYS = Mask()
#: What sums of addresses begin with.
NOTHING = constant(0, dtypes.int64)


@frozen(slots=True, refuses=False)
class Term:
    """``coefficient · value`` of an address, known from scope ``level`` on."""

    value: Value
    coefficient: int
    level: int


@frozen(slots=True, refuses=False)
class Split:
    """A form at the current point: what is constant, scalar, and different by lane."""

    constant: int
    scalars: tuple[Term, ...]
    stride: int
    gathered: tuple[Term, ...]

    @property
    def is_uniform(self) -> bool:
        """Whether all lanes have one value."""
        return self.stride == 0 and not self.gathered


class Addresses:
    """Computes forms and guards at the current point."""

    def __init__(self, builder: Builder, scopes: Scopes, ops: Operations) -> None:
        self.builder = builder
        self.scopes = scopes
        self.ops = ops
        # Values of the atoms of the forms in use, and the scopes that know them.
        self.atoms: Mapping[Expression, Value] = {}
        self.atom_levels: Mapping[Expression, int] = {}

    # --- forms -------------------------------------------------------------------

    def split(self, form: Affine) -> Split:
        """Sort a form's terms by how they vary at the current point."""
        scopes = self.scopes
        points, vector = scopes.points, scopes.vector
        total, stride = form.constant, 0
        scalars: list[Term] = []
        gathered: list[Term] = []
        for atom, part in form.terms:
            if not isinstance(atom, int):
                value = self.atoms[atom]
                term = Term(value, part, self.atom_levels[atom])
                (gathered if value.lanes > 1 else scalars).append(term)
            elif atom in points:
                total += part * points[atom]
            elif vector is not None and vector.axis == atom:
                total += part * vector.start
                stride = part if vector.lanes > 1 else 0
            else:
                scalars.append(Term(scopes.counters[atom], part, scopes.levels[atom]))
        if len(scalars) > 1:
            scalars.sort(key=lambda term: term.level)
        return Split(total, tuple(scalars), stride, tuple(gathered))

    def range_of(self, form: Affine) -> tuple[int, int]:
        """The smallest and largest value of a form at the current point."""
        low = high = form.constant
        for atom, part in form.terms:
            is_axis = isinstance(atom, int)
            first, last = self.scopes.range_of(atom) if is_axis else atom.range
            low += part * (first if part > 0 else last)
            high += part * (last if part > 0 else first)
        return low, high

    def scalar_sum(self, terms: tuple[Term, ...]) -> tuple[Value, int]:
        """The sum of scalar terms, each prefix computed in the scope that knows it."""
        total, level = NOTHING, 0
        key: tuple[object, ...] = ("sum",)
        for term in terms:
            key = (*key, term.value.text, term.coefficient)
            level = max(level, term.level)
            known = self.scopes.stack[level].known
            found = known.get(key)
            if found is None:
                with self.scopes.at_level(level):
                    found = self._add_term(total, term)
                known[key] = found
            total = found
        return total, level

    def _add_term(self, total: Value, term: Term) -> Value:
        product = term.value
        if term.coefficient != 1:
            factor = constant(term.coefficient, dtypes.int64)
            product = self.builder.binary("mul", product, factor)
        if total.constant == 0:
            return product
        return self.builder.binary("add", total, product)

    def form_value(self, form: Affine) -> Value:
        """The value of a form, with lanes where they differ; int32 if that holds it."""
        low, high = self.range_of(form)
        is_narrow = low >= -(2**31) and high < 2**31
        dtype = dtypes.int32 if is_narrow else dtypes.int64
        split = self.split(form)
        total, _ = self.scalar_sum(split.scalars)
        total = self.ops.cast(total, dtype) if split.scalars else constant(0, dtype)
        for term in split.gathered:
            wide = self.ops.cast(term.value, dtype)
            part = self.builder.binary("mul", wide, constant(term.coefficient, dtype))
            total = self.builder.binary("add", total, part)
        return self._add_lanes(total, split, dtype)

    def _add_lanes(self, total: Value, split: Split, dtype: DType) -> Value:
        """Add what differs by lane, and the constant."""
        steps = self._lane_steps(split)
        if total.constant is not None:
            return constant_lanes([total.constant + step for step in steps], dtype)
        if steps == [0]:
            return total
        return self.builder.binary("add", total, constant_lanes(steps, dtype))

    def _lane_steps(self, split: Split) -> list[int]:
        lanes = self.scopes.vector.lanes if split.stride and self.scopes.vector else 1
        return [split.constant + split.stride * lane for lane in range(lanes)]

    # --- guards ------------------------------------------------------------------

    def mask(self, guard: Guard) -> Mask:
        """Where all the forms of a guard are at least 0."""
        mask = ALWAYS
        for form in guard:
            low, high = self.range_of(form)
            if high < 0:
                return Mask(never=True)
            if low < 0:
                mask = self.both(mask, self._holds(form))
        return mask

    def _holds(self, form: Affine) -> Mask:
        split = self.split(form)
        if not split.scalars and not split.gathered:
            places = [step >= 0 for step in self._lane_steps(split)]
            lanes = constant_lanes(places, dtypes.bool_)
            return Mask(lanes=lanes) if any(places) else Mask(never=True)
        value = self.form_value(form)
        zero = constant(0, value.dtype)
        condition = self.builder.compare("icmp sge", value, zero)
        if condition.lanes == 1:
            return Mask(uniform=condition)
        return Mask(lanes=condition)

    def both(self, lhs: Mask, rhs: Mask) -> Mask:
        """Where both masks hold."""
        if lhs.never or rhs.never:
            return Mask(never=True)
        return Mask(
            self.both_hold(lhs.uniform, rhs.uniform),
            self.both_hold(lhs.lanes, rhs.lanes),
        )

    def both_hold(self, lhs: Value | None, rhs: Value | None) -> Value | None:
        """Two conditions as one; None is true."""
        if lhs is None or rhs is None or lhs == rhs:
            return lhs or rhs
        return self.builder.binary("and", lhs, rhs)

    def condition(self, mask: Mask) -> Value:
        """The mask as one bool (or one for each lane)."""
        if mask.never:
            return constant(False, dtypes.bool_)
        return self.both_hold(mask.uniform, mask.lanes) or constant(True, dtypes.bool_)
