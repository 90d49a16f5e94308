"""Kernels that change a part of what they are given, without going over the rest.

    s2[16*a0 + a1] = where(a0 == s0[0], s1[a1], s3[16*a0 + a1])

gives a whole cache with one row replaced. Where s2 lies in the memory of s3, all other
elements are there already, and one row of points is enough:

    s2[16*s0[0] + a1] = s1[a1]      if 0 <= s0[0] < rows

What decides is found by trying: a condition in the value under whose opposite the
value is the old one, of the very same element.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tetragrad.core.dtypes import bool_
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.affine import Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Load,
    Reduction,
    Scan,
    Select,
    anything,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel, Output, combines
from tetragrad.kernel.simplify import as_form, compute, select
from tetragrad.kernel.substitution import simplify_guard, substitute

#: A kernel with fewer points than this times those of the narrow one stays as it is.
WORTH_NARROWING = 2


def narrowed(kernel: Kernel, old_slots: Mapping[int, int]) -> Kernel | None:
    """The kernel with only those points that change something, if that can be told.

    Args:
        kernel: any kernel.
        old_slots: for each output, the input in whose memory it lies.
    """
    found = _narrowed_once(kernel, old_slots)
    narrower = found
    while narrower is not None:
        found, narrower = narrower, _narrowed_once(narrower, old_slots)
    return found


def _narrowed_once(kernel: Kernel, old_slots: Mapping[int, int]) -> Kernel | None:
    """The kernel at the points where one condition holds."""
    if combines(kernel.outputs):
        return None
    for condition in _conditions(kernel):
        if all(
            _keeps(output, old_slots, condition, kernel) for output in kernel.outputs
        ):
            narrow = condition.restrict(kernel)
            points = math.prod(kernel.axes)
            if narrow and WORTH_NARROWING * math.prod(narrow.axes) <= points:
                return narrow
    return None


def _keeps(
    output: Output, old_slots: Mapping[int, int], condition: _Condition, kernel: Kernel
) -> bool:
    """Whether an output has its old value wherever the condition fails."""
    value = condition.decided(output.value, False, kernel.axes)
    return (
        isinstance(value, Load)
        and value.slot == old_slots.get(output.slot)
        and value.address == output.address
    )


class _Condition:
    """Something that holds at few points."""

    def decided(
        self, value: Expression, holds: bool, sizes: Sequence[int]
    ) -> Expression:
        """A value where the condition holds, or where it fails."""
        found: dict[Expression, Expression] = {}
        for entry in walk(value):
            found[entry] = self._decided_one(entry, holds, found, sizes)
        return found[value]

    def _decided_one(
        self,
        entry: Expression,
        holds: bool,
        found: Mapping[Expression, Expression],
        sizes: Sequence[int],
    ) -> Expression:
        if isinstance(entry, Compute):
            inputs = tuple(found[source] for source in entry.inputs)
            return compute(entry.op, entry.dtype, inputs, sizes)
        if isinstance(entry, Select):
            return select(entry.guard, found[entry.inside], found[entry.outside], sizes)
        return entry

    def restrict(self, kernel: Kernel) -> Kernel | None:
        """The kernel at the points where the condition holds, if there are any."""
        raise NotImplementedError


@frozen
class _AtIndex(_Condition):
    """``axis == index``, for an index that is the same all along the axis."""

    test: Expression
    axis: int
    index: Expression

    def _decided_one(
        self,
        entry: Expression,
        holds: bool,
        found: Mapping[Expression, Expression],
        sizes: Sequence[int],
    ) -> Expression:
        if entry is self.test:
            return literal(holds, bool_)
        return super()._decided_one(entry, holds, found, sizes)

    def restrict(self, kernel: Kernel) -> Kernel | None:
        raw, last = of_atom(anything(self.index)), kernel.axes[self.axis] - 1
        guard = (raw, raw.scale(-1).shift(last))
        position = of_atom(Indexed(self.index, 0, last))
        return _at(kernel, self, {self.axis: (position, 1)}, guard)


@frozen
class _InRegion(_Condition):
    """Affine conditions, such as ``a0 - 5 >= 0 and 8 - a0 >= 0``."""

    guard: Guard

    def _decided_one(
        self,
        entry: Expression,
        holds: bool,
        found: Mapping[Expression, Expression],
        sizes: Sequence[int],
    ) -> Expression:
        if isinstance(entry, Select) and set(self.guard) <= set(entry.guard):
            if not holds:
                return found[entry.outside]
            rest = tuple(form for form in entry.guard if form not in self.guard)
            return select(rest, found[entry.inside], found[entry.outside], sizes)
        return super()._decided_one(entry, holds, found, sizes)

    def restrict(self, kernel: Kernel) -> Kernel | None:
        spans: dict[int, _Span] = {}
        for axis, size in enumerate(kernel.axes):
            first, last = _limits(self.guard, axis, size)
            spans[axis] = Affine(first), last - first + 1
        return _at(kernel, self, spans, self.guard)


def _limits(guard: Guard, axis: int, size: int) -> tuple[int, int]:
    """The first and last position on an axis that conditions on it alone allow."""
    first, last = 0, size - 1
    for form in guard:
        if form.terms == ((axis, 1),):
            first = max(first, -form.constant)
        elif form.terms == ((axis, -1),):
            last = min(last, form.constant)
    return first, last


#: Where the points of an axis begin, and how many there are.
_Span = tuple[Affine, int]


def _at(
    kernel: Kernel, condition: _Condition, spans: Mapping[int, _Span], guard: Guard
) -> Kernel | None:
    """The kernel where a condition holds, which is within these spans."""
    whole = {axis: (Affine(0), size) for axis, size in enumerate(kernel.axes)}
    forms: dict[int, Affine] = {}
    numbers: dict[int, int] = {}
    sizes: list[int] = []
    for axis, (first, size) in (whole | dict(spans)).items():
        forms[axis] = first
        # An axis of one position needs no loop.
        if size != 1:
            numbers[axis] = len(sizes)
            forms[axis] = axis_form(len(sizes)) + first
            sizes.append(size)
    inside = tuple(form.substitute(forms) for form in guard)
    outputs = []
    for output in kernel.outputs:
        value = condition.decided(output.value, True, kernel.axes)
        limits = tuple(form.substitute(forms) for form in output.guard)
        needed = simplify_guard((*limits, *inside), sizes)
        if needed is None:
            return None
        made = Output(
            output.slot,
            output.address.substitute(forms),
            substitute(value, forms, sizes, inside),
            tuple(numbers[axis] for axis in output.axes if axis in numbers),
            needed,
        )
        outputs.append(made)
    return replace(kernel, axes=tuple(sizes), outputs=tuple(outputs))


def _conditions(kernel: Kernel) -> Iterator[_Condition]:
    """Conditions in the first output's value that may decide about all."""
    output = kernel.outputs[0]
    bound = _carried_axes(kernel)
    for entry in walk(output.value):
        if isinstance(entry, Select) and all(form.is_pure() for form in entry.guard):
            if not bound.intersection(*(form.axes() for form in entry.guard)):
                yield _InRegion(entry.guard)
        elif isinstance(entry, Compute) and entry.op is ops.Eq:
            for position, index in (entry.inputs, entry.inputs[::-1]):
                axis = _plain_axis(position)
                if axis in output.axes and axis not in bound | index.free_axes:
                    yield _AtIndex(entry, axis, index)


def _plain_axis(expression: Expression) -> int | None:
    """The axis whose position an expression is."""
    form = as_form(expression)
    if form is None or form.constant or len(form.terms) != 1:
        return None
    ((axis, coefficient),) = form.terms
    return axis if isinstance(axis, int) and coefficient == 1 else None


def _carried_axes(kernel: Kernel) -> set[int]:
    """Axes that some value runs over itself: its points need all others."""
    found: set[int] = set()
    for entry in walk(*(output.value for output in kernel.outputs)):
        if isinstance(entry, Reduction):
            found.update(entry.axes)
        elif isinstance(entry, Scan):
            found.add(entry.axis)
    return found
