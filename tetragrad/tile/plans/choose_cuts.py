"""Choose what of a kernel is computed first, by a grid of its own: cuts.

A long reduction with few results is divided, one that many points would repeat is
taken out, and a running value that needs a loop of its own gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Expression, Load, Reduction, Scan, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.plans.nests.choose_nest import (
    CHUNK_ELEMENTS,
    SHORT_REDUCTION,
    grid_axes,
    is_revisited,
    narrowest_lanes,
)
from tetragrad.tile.plans.nests.choose_running import choose_parts
from tetragrad.tile.plans.nests.columns import columns_parts
from tetragrad.tile.plans.nests.nest import is_step_of, reductions_of
from tetragrad.tile.plans.prepare.cuts import Cut, cuttable
from tetragrad.tile.plans.products.choose_contraction import is_worth_packing
from tetragrad.tile.plans.products.contraction import (
    Contraction,
    find_contraction,
    hosted_contraction,
)
from tetragrad.tile.plans.roles.choose_roles import is_worth_roles
from tetragrad.tile.plans.roles.depth_parts import role_parts
from tetragrad.tile.plans.traffic import points_in, work

# Work (in operations) below which a second grid costs more than it gains.
WORTH_A_GRID = 1 << 15
# Elements that long and short parts of a row are multiples of.
LONG_UNIT, SHORT_UNIT = 256, 16
# Contractions: the side of a block of results, how many blocks a large kernel should
# have, and the depth below which one is not divided.
BLOCK_SIDE = 64
ENOUGH_BLOCKS = 32
SHALLOWEST = 1024


def choose_cut(kernel: Kernel, target: Target) -> Cut | None:
    """What should be computed first, if anything."""
    values = cuttable(kernel)
    for number, value in enumerate(values):
        if isinstance(value, Scan):
            if not _runs_alone(kernel, values, value):
                return Cut(_smallest_scan(kernel, values))
            parts = choose_parts(kernel, number, value, target)
            if parts is not None:
                return parts
        if isinstance(value, Reduction):
            cut = _cut_reduction(kernel, number, value, target)
            if cut is not None:
                inner = _inner_cut(values, value)
                return inner or _with_others(kernel, values, cut, target)
    return None


def _with_others(
    kernel: Kernel, values: Sequence[Expression], cut: Cut, target: Target
) -> Cut:
    """Divide those that would be divided in the same way together.

    The sums of a normalisation's gradient, say, which read the same.
    """
    value = values[cut.value]
    if cut.parts == 1 or find_contraction(value, kernel) is not None:
        return cut
    beside = tuple(
        number
        for number, other in enumerate(values)
        if isinstance(other, Reduction)
        and number > cut.value
        and set(other.axes) == set(value.axes)
        and other.free_axes == value.free_axes
        and value not in walk(other.body)
        and _cut_reduction(kernel, number, other, target) == replace(cut, value=number)
    )
    return replace(cut, beside=beside)


def _inner_cut(values: Sequence[Expression], value: Reduction) -> Cut | None:
    """Take out a reduction inside one that is about to be cut.

    Every part of the outer one would compute the inner one again.
    """
    inside = set(walk(value.body))
    for number, entry in enumerate(values):
        if isinstance(entry, Reduction) and entry in inside:
            return Cut(number)
    return None


def is_short_step(kernel: Kernel, value: Expression, scan: Scan) -> bool:
    """Whether each step of a running value can do a reduction over a few of them."""
    if not isinstance(value, Reduction) or not is_step_of(value, [scan]):
        return False
    return points_in(kernel, value.axes) <= SHORT_REDUCTION


def _runs_alone(kernel: Kernel, values: Sequence[Expression], scan: Scan) -> bool:
    """Whether a running reduction can be carried along the loop that stores.

    Not where something reduces over it or along it, nor beside one that runs along
    another axis or the other way: those need loops of their own. A short reduction
    over other axes is done at each step.
    """
    for other in values:
        if other is scan:
            continue
        if scan in walk(other):
            if not is_short_step(kernel, other, scan):
                return False
            continue
        if isinstance(other, Reduction) and other not in walk(scan):
            touched = other.free_axes | set(other.axes)
            if scan.axis in touched or scan.free_axes & set(other.axes):
                return False
        if isinstance(other, Scan) and (other.axis, other.reverse) != (
            scan.axis,
            scan.reverse,
        ):
            return False
    return True


def _smallest_scan(kernel: Kernel, values: Sequence[Expression]) -> int:
    """Of running values that need no other one before, that with the fewest points."""
    ready = [
        number
        for number, entry in enumerate(values)
        if isinstance(entry, Scan)
        and not any(isinstance(e, Scan) for e in walk(entry.body))
    ]
    return min(ready, key=lambda number: points_in(kernel, values[number].free_axes))


def _cut_reduction(
    kernel: Kernel, number: int, value: Reduction, target: Target
) -> Cut | None:
    """Divide a long reduction with few results; take out one that many repeat."""
    length = points_in(kernel, value.axes)
    if length <= SHORT_REDUCTION or work(kernel, value) < WORTH_A_GRID:
        return None
    guarded = find_contraction(value, kernel) if target.has_roles else None
    if guarded is not None and is_worth_roles(kernel, guarded):
        division = role_parts(kernel, number, guarded, target)
        if division is not None:
            return _divided(kernel, division)
    contraction = find_contraction(value)
    if contraction is not None and is_worth_packing(kernel, contraction):
        return _cut_contraction(kernel, number, contraction)
    columns = columns_parts(kernel, value, target)
    if columns is not None:
        axis, parts, size = columns
        return Cut(number, axis, parts, size) if parts > 1 else None
    pieces = _pieces(kernel, value, target)
    if pieces < _enough_pieces(kernel, value, target):
        longest = max(value.axes, key=lambda axis: kernel.axes[axis])
        size = kernel.axes[longest]
        wanted = _parts(value, length, pieces, target)
        parts, even = divisor_near(size, wanted), 0
        if target.has_free_iterations and _moves_by_one(value, longest):
            even = _even_length(-(-size // max(1, wanted)))
            parts = -(-size // even)
        if parts > 1:
            return Cut(number, longest, parts, even)
    if _is_repeated(kernel, value):
        return Cut(number)
    return None


def _divided(kernel: Kernel, division: Cut) -> Cut | None:
    """Divide a product by roles; set it apart from the rest."""
    if division.parts > 1:
        return division
    is_alone = hosted_contraction(kernel, guarded=True) is not None
    return None if is_alone else division


def _cut_contraction(
    kernel: Kernel, number: int, contraction: Contraction
) -> Cut | None:
    """Divide a product that is deep but has few blocks; set it apart from the rest."""
    batches = points_in(kernel, contraction.batch)
    rows = -(-points_in(kernel, contraction.rows) // BLOCK_SIDE)
    columns = -(-points_in(kernel, contraction.columns) // BLOCK_SIDE)
    depth = points_in(kernel, contraction.depth)
    longest = max(contraction.depth, key=lambda axis: kernel.axes[axis])
    wanted = min(ENOUGH_BLOCKS // (batches * rows * columns), depth // SHALLOWEST)
    # A shorter last part would need guards, and no longer be a product.
    size = kernel.axes[longest]
    parts = max(part for part in range(1, max(1, wanted) + 1) if size % part == 0)
    if parts > 1:
        return Cut(number, longest, parts)
    return None if hosted_contraction(kernel) is not None else Cut(number)


def _pieces(kernel: Kernel, value: Reduction, target: Target) -> int:
    """Grid iterations of a reduction: its results, or vectors of neighbouring ones."""
    results = points_in(kernel, value.free_axes)
    if target.has_free_iterations and not _runs_along_rows(value):
        return -(-results // narrowest_lanes(kernel, [value.body]))
    return results


def _enough_pieces(kernel: Kernel, value: Reduction, target: Target) -> int:
    """Pieces from which on a reduction is not divided.

    A row that stays in registers is worth more than pieces for every unit, and always
    if it is gone over again: each part would be several launches.
    """
    length = points_in(kernel, value.axes)
    if _runs_along_rows(value) and length <= target.longest_kept_row:
        is_kept = is_revisited(kernel.outputs, value.axes[0])
        return 1 if is_kept else target.units // 2
    return target.pieces


def _runs_along_rows(value: Reduction) -> bool:
    """Whether neighbours in memory are combined, and not neighbouring results."""
    return any(_moves_by_one(value, axis) for axis in value.axes)


def _moves_by_one(value: Reduction, axis: int) -> bool:
    """Whether neighbours along an axis are neighbours in most of what is loaded."""
    loads = [e for e in walk(value.body) if isinstance(e, Load)]
    most = max((len(entry.free_axes) for entry in loads), default=0)
    return any(
        entry.address.coefficient(axis) == 1
        for entry in loads
        if len(entry.free_axes) == most
    )


def _even_length(length: int) -> int:
    """A little longer, so that parts begin where threads move whole runs."""
    unit = LONG_UNIT if length >= 8 * LONG_UNIT else SHORT_UNIT
    return -(-length // unit) * unit


def _parts(value: Reduction, length: int, pieces: int, target: Target) -> int:
    """How many parts give every grid iteration enough to do.

    Neighbouring results are a vector, so that few positions are enough for each.
    """
    shortest = CHUNK_ELEMENTS // 4
    if target.has_free_iterations and (pieces > 1 or not _runs_along_rows(value)):
        shortest = SHORT_REDUCTION
    return min(target.pieces // max(1, pieces), length // shortest)


def divisor_near(size: int, wanted: int) -> int:
    """A number of parts up to ``wanted``; equal parts need no guard inside."""
    parts = max(1, min(wanted, size))
    for candidate in range(parts, max(1, parts // 2), -1):
        if size % candidate == 0:
            return candidate
    return parts


def _is_repeated(kernel: Kernel, value: Reduction) -> bool:
    """Whether the points of some output would compute the value again and again."""
    for output in kernel.outputs:
        if value not in reductions_of([output]):
            continue
        axes = grid_axes(kernel, output)
        outside = set(axes) - value.free_axes
        if points_in(kernel, outside) > 1 and outside:
            return True
    return False
