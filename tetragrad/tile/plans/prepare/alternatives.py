"""Write out an axis along which an output only chooses between values.

Before: a value is computed at every position of the axis, and used at one of them.

    y[2*i + j] = select(j == 0, a[i] - b[i], a[i] + b[i]),   j < 2

After: one output for each position, with what all of them share computed once.

    y[2*i] = a[i] - b[i];   y[2*i + 1] = a[i] + b[i]

So does an axis along which nothing changes, as in a picture that is enlarged. Choices
are what stacking leaves behind: the parts of complex numbers, the halves of a
butterfly, the places of a sorting network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from tetragrad.core.frozen import replace
from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.affine import Affine, Atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Literal,
    Load,
    Position,
    Reduction,
    Scan,
    Select,
    walk,
)
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.kernel.substitution import substitute

#: The longest axis that is written out, and the most outputs that a kernel may get.
LONGEST_WRITTEN_OUT = 32
MOST_OUTPUTS = 64
#: The most outputs of a reduction and the constants beside it.
MOST_SPREAD_OUTPUTS = 16
#: Copies that can be interleaved in registers.
INTERLEAVED = (2, 3, 4)
#: Points of the sums of which neighbouring ones are written out.
LONGEST_SUM = 16
#: How many times less there must be to compute afterwards.
WORTH_WRITING_OUT = 2


def write_out_alternatives(kernel: Kernel) -> Kernel:
    """The kernel with such axes gone from its outputs, one after the other."""
    if not _may_have_some(kernel):
        return kernel
    while True:
        outputs: list[Output] = []
        for output in kernel.outputs:
            outputs += _written_out(output, kernel.axes) or [output]
        if not len(kernel.outputs) < len(outputs) <= MOST_OUTPUTS:
            return kernel
        kernel = replace(kernel, outputs=tuple(outputs))
        if not kernel.reductions and not _may_have_some(kernel):
            return kernel


def write_out_spread(kernel: Kernel) -> Kernel:
    """The kernel with results written out that have constants between them.

    y[2*i + r] = select(r == 0, sum[k](x[i, k]), 0)
      ->  y[2*i] = sum[k](x[i, k]);   y[2*i + 1] = 0
    """
    outputs = list(kernel.outputs)
    for reduction in kernel.reductions:
        for axis in sorted(set(outputs[0].axes) - reduction.free_axes):
            if len(outputs) * kernel.axes[axis] <= MOST_SPREAD_OUTPUTS and all(
                _is_spread_along(output, axis, reduction) for output in outputs
            ):
                places = range(kernel.axes[axis])
                outputs = [
                    _at(output, axis, place, kernel.axes)
                    for output in outputs
                    for place in places
                ]
    same = len(outputs) == len(kernel.outputs)
    return kernel if same else replace(kernel, outputs=tuple(outputs))


def _is_spread_along(output: Output, axis: int, reduction: Expression) -> bool:
    """Whether an axis only decides if an output is a reduction's or a constant."""
    if output.mode is not Mode.STORE or output.guard or axis not in output.axes:
        return False
    if axis in reduction.axes:
        return False
    chooses = _is_constant(output.value)
    for entry in walk(output.value):
        if isinstance(entry, Select) and axis in _atoms(entry.guard):
            chooses = True
            if not isinstance(entry.outside, Literal):
                return False
        elif isinstance(entry, Load | Position) and axis in entry.free_axes:
            return False
    return chooses


def _is_constant(value: Expression) -> bool:
    """Whether a value is computed from constants alone."""
    return all(isinstance(entry, Literal | Compute) for entry in walk(value))


def _atoms(guard: Guard) -> set[Atom]:
    return {atom for form in guard for atom, _ in form.terms}


def _may_have_some(kernel: Kernel) -> bool:
    """Whether a value depends on a position, or not on all axes: most do not."""
    values = [output.value for output in kernel.outputs]
    return any(isinstance(entry, Select) for entry in walk(*values)) or any(
        set(output.axes) - output.value.free_axes for output in kernel.outputs
    )


def _written_out(output: Output, sizes: Sequence[int]) -> list[Output] | None:
    """One output for each position of the best axis, or None if none is worth it."""
    if output.mode is not Mode.STORE or output.guard:
        return None
    below = walk(output.value)
    for axis in _gap_axes(below, output, sizes):
        return [_at(output, axis, place, sizes) for place in range(sizes[axis])]
    if any(isinstance(entry, Reduction | Scan) for entry in below):
        return None
    before = _work(below)
    for axis in _choice_axes(below, output, sizes):
        found = [_at(output, axis, place, sizes) for place in range(sizes[axis])]
        after = _work(walk(*(entry.value for entry in found)))
        if after * WORTH_WRITING_OUT <= before * sizes[axis]:
            return found
    return None


def _gap_axes(
    below: Sequence[Expression], output: Output, sizes: Sequence[int]
) -> Iterator[int]:
    """Axes of neighbouring results that are short sums of elements far apart.

    Such are the gradients of windows: of neighbouring elements each was in other
    windows. Written out, their results are interleaved to whole vectors.
    """
    reductions = [entry for entry in below if isinstance(entry, Reduction)]
    bound = {axis for entry in reductions for axis in entry.axes}
    points = math.prod(sizes[axis] for axis in bound)
    if not reductions or points > LONGEST_SUM or any(map(_is_more_than_sums, below)):
        return
    loads = [entry for entry in below if isinstance(entry, Load)]
    for axis in set(output.axes) - bound:
        lanes = {
            other
            for other in output.axes
            if output.address.coefficient(other) == sizes[axis]
        }
        is_inner = output.address.coefficient(axis) == 1
        if is_inner and sizes[axis] in INTERLEAVED and lanes:
            (lane, *_) = lanes
            if any(
                load.address.coefficient(lane)
                != sizes[axis] * load.address.coefficient(axis)
                for load in loads
            ):
                yield axis


def _is_more_than_sums(entry: Expression) -> bool:
    """Whether it is carried along, or part of attention, which has its own plan."""
    is_heavy = isinstance(entry, Compute) and issubclass(entry.op, Transcendental)
    return is_heavy or isinstance(entry, Scan)


def _choice_axes(
    below: Iterable[Expression], output: Output, sizes: Sequence[int]
) -> list[int]:
    """Short axes of an output that alone decide some choice, or change nothing."""
    found = {
        axis
        for axis in set(output.axes) - output.value.free_axes
        if _keeps_vectors(output, axis, sizes)
    }
    for entry in below:
        if isinstance(entry, Select):
            deciding = {atom for form in entry.guard for atom, _ in form.terms}
            if len(deciding) == 1 and deciding <= set(output.axes):
                found |= deciding
    return sorted(axis for axis in found if 1 < sizes[axis] <= LONGEST_WRITTEN_OUT)


def _keeps_vectors(output: Output, axis: int, sizes: Sequence[int]) -> bool:
    """Whether a value that is repeated along an axis can still be written in vectors.

    Neighbouring copies of it must fill the gaps between neighbouring values.
    """
    if output.address.coefficient(axis) != 1:
        return True
    steps = {output.address.coefficient(other) for other in output.axes}
    return sizes[axis] in INTERLEAVED and sizes[axis] in steps


def _at(output: Output, axis: int, place: int, sizes: Sequence[int]) -> Output:
    """The output at one position of an axis."""
    forms = {axis: Affine(place)}
    return replace(
        output,
        address=output.address.substitute(forms),
        value=substitute(
            _chosen(output.value, axis, place), forms, sizes, are_free=True
        ),
        axes=tuple(entry for entry in output.axes if entry != axis),
    )


def _chosen(value: Expression, axis: int, place: int) -> Expression:
    """Which value is meant by choices that nothing but a position of an axis decides.

    There is one below the other for each position, so most are never looked at.
    """
    while isinstance(value, Select) and _atoms(value.guard) == {axis}:
        holds = all(
            form.constant + form.coefficient(axis) * place >= 0 for form in value.guard
        )
        value = value.inside if holds else value.outside
    return value


def _work(expressions: Iterable[Expression]) -> int:
    """Operations and loads, each counted once."""
    return sum(isinstance(entry, Compute | Load) for entry in expressions)
