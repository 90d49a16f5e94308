"""Affine forms in registers: addresses, indices and conditions at a run of points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Affine forms at runs of points; what they index by is evaluated elsewhere.

    The runs are alike but for constants, and numbered through: element ``n`` is that of
    run ``n // width``. What is the same all along a run, or in all runs, is computed
    once for it.
    """

    def __init__(self, values: Values, runs: Sequence[Run]) -> None:
        self.values = values
        self.builder = values.builder
        self.ops = values.ops
        self.runs = runs
        self.run = runs[0]
        self.width = self.run.width
        self.count = len(runs)
        self.elements = self.width * self.count
        #: Axes on which the runs are at different places.
        self.moved: frozenset[int] = frozenset()
        if self.count > 1:
            self.moved = _moved_axes(runs)
        # Forms of axes alone: what is in registers, and how elements go on from there.
        self._linear: dict[Affine, _Known] = {}

    def evaluate(self, root: Expression) -> Lanes:
        """The values of an expression along the runs."""
        raise NotImplementedError

    # --- elements ----------------------------------------------------------------

    def elements_of(self, forms: Sequence[Affine]) -> int:
        """At how many elements something that depends on forms must be computed."""
        if any(map(self.varies, forms)):
            return self.elements
        return self.count if any(map(self._moves, forms)) else 1

    def varies(self, form: Affine) -> bool:
        """Whether a form differs between the elements of a run."""
        return self.width > 1 and form.depends_on(self.run.lane)

    def _moves(self, form: Affine) -> bool:
        """Whether a form may differ between the runs."""
        return self.count > 1 and not self.moved.isdisjoint(form.axes())

    def parts(self, number: int) -> Sequence[int]:
        """For so many values, the part of the text that each one belongs to."""
        runs = self.runs[: number or 1] if number < self.count else self.runs
        parts = [run.part for run in runs]
        if number <= self.count:
            return parts
        return [part for part in parts for _ in range(self.width)]

    def at_each(self, number: int) -> Iterator[int]:
        """The elements of so many values, each where its run is written."""
        step = self.elements // number
        if self.count == 1:
            return iter(range(0, self.elements, step))
        return self._in_parts(number, step)

    def _in_parts(self, number: int, step: int) -> Iterator[int]:
        builder, before = self.builder, self.builder.part
        for element, part in enumerate(self.parts(number)):
            builder.go_to(part)
            yield element * step
        builder.go_to(before)

    def lane(self, lanes: Lanes, element: int) -> Value:
        """The value at an element."""
        number = len(lanes)
        if number == self.elements:
            return lanes[element]
        return lanes[element // self.width] if number == self.count else lanes[0]

    def columns(self, inputs: Sequence[Lanes]) -> list[Lanes]:
        """Values side by side: as many of each as there are of the longest."""
        longest = max(map(len, inputs))
        found = []
        for lanes in inputs:
            if len(lanes) == 1:
                lanes = lanes * longest
            elif len(lanes) < longest:
                lanes = tuple([entry for entry in lanes for _ in range(self.width)])
            found.append(lanes)
        return found

    # --- affine forms ------------------------------------------------------------

    def linear(self, form: Affine, element: int = 0) -> Linear:
        """A form at one element."""
        found = self._linear.get(form)
        if found is None:
            if not form.is_pure():
                return self._indirect(form, element)
            found = self._linear[form] = self._known_form(form)
        base = None
        if found.terms:
            base = self._sum_of_axes(found.terms, found.narrow)
        run, inside = divmod(element, self.width)
        return Linear(base, found.offset(run) + found.step * inside)

    def _known_form(self, form: Affine) -> _Known:
        """What a form of axes alone is made of."""
        terms: list[tuple[int, str]] = []
        step = 0
        for axis, factor in form.terms:
            if axis == self.run.lane:
                step = factor
            register = self._place(axis).register
            if register is not None:
                terms.append((factor, register))
        narrow = bool(terms) and self.values.extents.is_narrow(form)
        return _Known(tuple(terms), narrow, step, self._offsets(form))

    def _offsets(self, form: Affine) -> Sequence[int]:
        """The constant part of a form in each run, or in all of them."""
        total = form.constant
        moved = []
        for axis, factor in form.terms:
            if axis in self.moved:
                moved.append((axis, factor))
            else:
                total += factor * self._place(axis).offset
        if not moved:
            return (total,)
        if len(moved) == 1:
            ((axis, factor),) = moved
            return [total + factor * run.places[axis].offset for run in self.runs]
        return [
            total + sum(factor * run.places[axis].offset for axis, factor in moved)
            for run in self.runs
        ]

    def _sum_of_axes(self, terms: tuple[tuple[int, str], ...], narrow: bool) -> Value:
        """Σ factor * position, which may be known from another point."""
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
        """A form with atoms that are computed, at one element."""
        run = self.runs[element // self.width]
        offset = form.constant
        terms: list[tuple[int, Value]] = []
        for atom, factor in form.terms:
            if isinstance(atom, int):
                place = run.places.get(atom) or self.values.places[atom]
                offset += factor * place.offset
                if atom == run.lane:
                    offset += factor * (element % self.width)
                if place.register is not None:
                    terms.append((factor, Value(place.register, INDEX)))
                continue
            terms.append((factor, self.lane(self.evaluate(atom), element)))
        return Linear(self._sum(terms, self.values.extents.is_narrow(form)), offset)

    def _place(self, axis: int) -> Coordinate:
        """Where the first run is on an axis; others may be further by a constant."""
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
            if self._holds(form, self.runs[element // self.width]):
                continue
            linear = self.linear(form, element)
            if linear.base is None:
                holds = constant(linear.offset >= 0, dtypes.bool_)
            else:
                limit = constant(-linear.offset - 1, linear.base.dtype)
                holds = self.ops.lt(limit, linear.base)
            total = holds if total is None else self.ops.and_(total, holds)
        return total

    def _holds(self, form: Affine, run: Run) -> bool:
        """Whether a form is known to be >= 0 at every point of a run."""
        if self.values.holds(form):
            return True
        factor = form.coefficient(run.lane)
        if run.lane is None or run.reach is None or not factor or not form.is_pure():
            return False
        first = run.places[run.lane].offset
        there = min(factor * first, factor * (first + run.reach))
        rest = form - axis_form(run.lane).scale(factor)
        return self.values.holds(rest.shift(there))

    def mask(self, guard: Guard, element: int = 0) -> Value | None:
        """The guard, and that this thread has the point at all."""
        condition = self.condition(guard, element) if guard else None
        mask = self.runs[element // self.width].mask
        if mask is None:
            return condition
        has_point = Value(mask, dtypes.bool_)
        return has_point if condition is None else self.ops.and_(has_point, condition)

    def even_width(self, guard: Guard, address: Affine, run: Run | None = None) -> int:
        """How many neighbours can be moved at once: aligned, and guarded alike.

        The address must move by one along the lanes. ``lane = width*n + element``,
        so a multiple of the result is aligned wherever all else is.
        """
        run = run or self.run
        width, lane = self.width, run.lane
        # What divides the address, but for the lanes, and a power of two.
        aligned = address.constant | width
        for atom, factor in address.terms:
            if atom != lane:
                aligned |= factor * self._step(atom, run)
        width = min(width, aligned & -aligned)
        if width == 1 or not guard:
            return width
        guard = tuple(form for form in guard if not self._holds(form, run))
        while width > 1 and not all(self._is_even(form, width, run) for form in guard):
            width //= 2
        return width

    def _step(self, atom: object, run: Run) -> int:
        """A number that divides every value an atom takes, as far as known."""
        if isinstance(atom, int):
            place = run.places.get(atom) or self.values.places[atom]
            if place.register is None:
                return place.offset
        return 1

    def _is_even(self, form: Affine, width: int, run: Run) -> bool:
        """Whether a condition is the same for every aligned group of neighbours."""
        if not self.varies(form):
            return True
        lane = run.lane
        factor = form.coefficient(lane)
        if abs(factor) != 1:
            return False
        rest = form.constant
        for atom, part in form.terms:
            if atom == lane:
                continue
            varies = not isinstance(atom, int) and lane in atom.free_axes
            if varies or part * self._step(atom, run) % width:
                return False
        # c + lane changes sign at a multiple of the width, c - lane just before one.
        return rest % width == (0 if factor == 1 else width - 1)


class _Known(NamedTuple):
    """A form of axes alone: Σ factor * register, and what is added to that.

    ``step`` from each element to the next, and where each run begins, or all of them.
    """

    terms: tuple[tuple[int, str], ...]
    narrow: bool
    step: int
    offsets: Sequence[int]

    def offset(self, run: int) -> int:
        """What is added in a run."""
        return self.offsets[run] if len(self.offsets) > 1 else self.offsets[0]


def _moved_axes(runs: Sequence[Run]) -> frozenset[int]:
    """The axes on which some runs are at other places than the first."""
    first = runs[0].places
    return frozenset(
        axis
        for axis, place in first.items()
        if any(run.places[axis].offset != place.offset for run in runs)
    )


def tile_form(tile: Tile, indices: Sequence[Affine]) -> Affine:
    """Where an element is from the start of its tile."""
    total = Affine(0)
    for index, stride in zip(indices, tile.layout.strides, strict=True):
        total = total + index.scale(stride)
    return total
