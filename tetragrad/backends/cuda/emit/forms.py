"""Affine forms in registers: addresses, indices and conditions at a run of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tetragrad.backends.cuda.emit.ptx import INDEX, WIDE_INDEX, Value, constant
from tetragrad.backends.cuda.emit.spread import Coordinate, Run
from tetragrad.core import dtypes
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Guard
from tetragrad.tile.ir import Tile

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.values import Values

#: Indices within these limits are computed in 32 bits.
_NARROW = 1 << 30

Lanes = tuple[Value, ...]
"""One value for each element of a run, or a single one that all of them share."""


class Linear(NamedTuple):
    """The value of an affine form: a register, if any, plus a constant."""

    base: Value | None
    offset: int


class Extents(dict[int, int]):
    """The extents of axes, with what follows from them about affine forms."""

    def __init__(self) -> None:
        super().__init__()
        self._ranges: dict[Affine, tuple[int, int]] = {}
        self._narrow: dict[Affine, bool] = {}

    def __setitem__(self, axis: int, extent: int) -> None:
        if self.get(axis) != extent:
            self._ranges.clear()
            self._narrow.clear()
            super().__setitem__(axis, extent)

    def range_of(self, form: Affine) -> tuple[int, int]:
        """The smallest and largest value of a form."""
        found = self._ranges.get(form)
        if found is None:
            found = self._ranges[form] = form.range(self)  # type: ignore[arg-type]
        return found

    def is_narrow(self, form: Affine) -> bool:
        """Whether a form, and all that it is computed from, fits 32 bits."""
        found = self._narrow.get(form)
        if found is None:
            low, high = self.range_of(form)
            largest = max(-low, high, abs(form.constant))
            largest = max([largest, *(abs(factor) for _, factor in form.terms)])
            found = self._narrow[form] = largest < _NARROW
        return found


class Forms:
    """Affine forms at a run of points; what they index by is evaluated elsewhere."""

    def __init__(self, values: Values, run: Run) -> None:
        self.values = values
        self.builder = values.builder
        self.ops = values.ops
        self.run = run
        # Forms of axes alone: their value at element 0, and the step from there.
        self._linear: dict[Affine, tuple[Value | None, int, int]] = {}

    def evaluate(self, root: Expression) -> Lanes:
        """The values of an expression along the run."""
        raise NotImplementedError

    # --- affine forms ------------------------------------------------------------

    def varies(self, form: Affine) -> bool:
        """Whether a form differs between the elements of the run."""
        return self.run.width > 1 and form.depends_on(self.run.lane)

    def linear(self, form: Affine, element: int = 0) -> Linear:
        """A form at one element of the run."""
        found = self._linear.get(form)
        if found is not None:
            base, offset, step = found
            return Linear(base, offset + step * element)
        if not form.is_pure():
            return self._indirect(form, element)
        offset, step = form.constant, 0
        terms: list[tuple[int, str]] = []
        for axis, factor in form.terms:
            place = self._place(axis)
            offset += factor * place.offset
            if axis == self.run.lane:
                step = factor
            if place.register is not None:
                terms.append((factor, place.register))
        base = self._sum_of_axes(tuple(terms), self.values.extents.is_narrow(form))
        self._linear[form] = (base, offset, step)
        return Linear(base, offset + step * element)

    def _sum_of_axes(
        self, terms: tuple[tuple[int, str], ...], narrow: bool
    ) -> Value | None:
        """Σ factor * position, which may be known from another point."""
        if not terms:
            return None
        dtype = INDEX if narrow else WIDE_INDEX
        known = self.builder.known((terms, dtype))
        if known is not None:
            return Value(known[0], dtype)
        values = [(factor, Value(register, INDEX)) for factor, register in terms]
        total = self._sum(values, narrow)
        assert total is not None, "there are terms"
        self.builder.remember((terms, dtype), (total.text,))
        return total

    def _indirect(self, form: Affine, element: int) -> Linear:
        """A form with atoms that are computed, at one element of the run."""
        offset = form.constant
        terms: list[tuple[int, Value]] = []
        for atom, factor in form.terms:
            if isinstance(atom, int):
                place = self._place(atom)
                offset += factor * place.offset
                if atom == self.run.lane:
                    offset += factor * element
                if place.register is not None:
                    terms.append((factor, Value(place.register, INDEX)))
                continue
            lanes = self.evaluate(atom)
            terms.append((factor, lanes[element % len(lanes)]))
        return Linear(self._sum(terms, self.values.extents.is_narrow(form)), offset)

    def _place(self, axis: int) -> Coordinate:
        found = self.run.places.get(axis)
        return self.values.places[axis] if found is None else found

    def _sum(self, terms: list[tuple[int, Value]], narrow: bool) -> Value | None:
        """Σ factor * value in 32 or 64 bits."""
        dtype = INDEX if narrow else WIDE_INDEX
        suffix = "s32" if narrow else "s64"
        total: Value | None = None
        for factor, value in terms:
            value = self.ops.cast(value, dtype)
            scale = constant(factor, dtype)
            compute = self.builder.compute
            if total is None:
                total = value
                if factor != 1:
                    total = compute(f"mul.lo.{suffix}", dtype, value, scale)
            elif factor == 1:
                total = compute(f"add.{suffix}", dtype, total, value)
            else:
                total = compute(f"mad.lo.{suffix}", dtype, value, scale, total)
        return total

    def number(self, form: Affine, element: int = 0) -> Value:
        """A form as one value."""
        linear = self.linear(form, element)
        if linear.base is None:
            return constant(linear.offset, WIDE_INDEX)
        if linear.offset == 0:
            return linear.base
        dtype = linear.base.dtype
        return self.ops.add(linear.base, constant(linear.offset, dtype))

    # --- guards ------------------------------------------------------------------

    def condition(self, guard: Guard, element: int = 0) -> Value | None:
        """Whether all forms are >= 0 at an element; None if they always are."""
        total: Value | None = None
        for form in guard:
            if self._holds(form):
                continue
            linear = self.linear(form, element)
            if linear.base is None:
                holds = constant(linear.offset >= 0, dtypes.bool_)
            else:
                limit = constant(-linear.offset - 1, linear.base.dtype)
                holds = self.ops.lt(limit, linear.base)
            total = holds if total is None else self.ops.and_(total, holds)
        return total

    def _holds(self, form: Affine) -> bool:
        """Whether a form is known to be >= 0 at every point of the run."""
        if self.values.holds(form):
            return True
        run, factor = self.run, form.coefficient(self.run.lane)
        if run.lane is None or run.reach is None or not factor or not form.is_pure():
            return False
        first = run.places[run.lane].offset
        there = min(factor * first, factor * (first + run.reach))
        rest = form - axis_form(run.lane).scale(factor)
        return self.values.holds(rest.shift(there))

    def mask(self, guard: Guard, element: int = 0) -> Value | None:
        """The guard, and that this thread has the point at all."""
        condition = self.condition(guard, element)
        if self.run.mask is None:
            return condition
        has_point = Value(self.run.mask, dtypes.bool_)
        return has_point if condition is None else self.ops.and_(has_point, condition)

    def even_width(self, guard: Guard, address: Affine) -> int:
        """How many neighbours can be moved at once: aligned, and guarded alike.

        The address must move by one along the lanes. ``lane = width*n + element``,
        so a multiple of the result is aligned wherever all else is.
        """
        width = self.run.width
        lane = self.run.lane
        guard = tuple(form for form in guard if not self._holds(form))
        # What divides the address, but for the lanes, and a power of two.
        aligned = address.constant | width
        for atom, factor in address.terms:
            if atom != lane:
                aligned |= factor * self._step(atom)
        width = min(width, aligned & -aligned)
        while width > 1 and not all(self._is_even(form, width) for form in guard):
            width //= 2
        return width

    def _step(self, atom: object) -> int:
        """A number that divides every value an atom takes, as far as known."""
        if isinstance(atom, int):
            place = self._place(atom)
            if place.register is None:
                return place.offset
        return 1

    def _is_even(self, form: Affine, width: int) -> bool:
        """Whether a condition is the same for every aligned group of neighbours."""
        if not self.varies(form):
            return True
        lane = self.run.lane
        factor = form.coefficient(lane)
        if abs(factor) != 1:
            return False
        rest = form.constant
        for atom, part in form.terms:
            if atom == lane:
                continue
            varies = not isinstance(atom, int) and lane in atom.free_axes
            if varies or part * self._step(atom) % width:
                return False
        # c + lane changes sign at a multiple of the width, c - lane just before one.
        return rest % width == (0 if factor == 1 else width - 1)


def tile_form(tile: Tile, indices: Sequence[Affine]) -> Affine:
    """Where an element is from the start of its tile."""
    total = Affine(0)
    for index, stride in zip(indices, tile.layout.strides, strict=True):
        total = total + index.scale(stride)
    return total
