"""Choose when rows are so short that each is a thread's, and moved in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tetragrad.core.target import Target
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Load, Reduction
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.nests.choose_nest import grid_axes
from tetragrad.tile.plans.nests.nest import NestPlan, scans_of
from tetragrad.tile.plans.traffic import points_in, points_of

# A row has at most so many points, which are written out.
LONGEST_ROW = 64
# Longer ones only if there are so many that a thread each is enough for the device.
LONG_ROW, MANY_ROWS = 16, 1 << 15
# Rows of whole pieces of so many bytes are better moved by neighbouring threads.
EVEN_BYTES = 32
# Rows of one iteration, at most and at least, and what they take in shared memory.
MOST_ROWS, LEAST_ROWS = 128, 32
SHARED_BYTES = 16 * 1024
# Iterations that each unit should have, if there are so many rows.
ITERATIONS_A_UNIT = 4


def choose_staged(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> NestPlan | None:
    """A plan with a lane for each row, if rows are short and lie together."""
    outputs = [kernel.outputs[number] for number in group]
    if not target.has_free_iterations or scans_of(outputs):
        return None
    if any(output.mode is not Mode.STORE or output.guard for output in outputs):
        return None
    grid = grid_axes(kernel, outputs[0])
    rows = _row_axis(kernel, outputs, grid)
    if rows is None or not _is_worth_it(kernel, outputs, rows):
        return None
    beside: list[int] = []
    around: list[int] = []
    for axis in grid:
        is_inside = any(
            0 < abs(moved) < step for moved, step in _steps(kernel, outputs, axis, rows)
        )
        if axis != rows:
            (beside if is_inside else around).append(axis)
    inside = points_in(kernel, _axes(outputs) - {rows, *around})
    results = kernel.axes[rows] * points_in(kernel, around)
    if inside > LONGEST_ROW or (inside > LONG_ROW and results < MANY_ROWS):
        return None
    lanes = _lanes(kernel, outputs, rows, points_in(kernel, around), target)
    return NestPlan(
        group,
        (*around, rows),
        (rows,),
        lanes,
        chunk=lanes,
        beside=tuple(beside),
        staged=True,
        threads=lanes,
    )


def _row_axis(
    kernel: Kernel, outputs: Sequence[Output], grid: Sequence[int]
) -> int | None:
    """The longest axis of the grid along which memory moves by short rows."""
    candidates = [
        axis
        for axis in grid
        if kernel.axes[axis] >= LEAST_ROWS
        and max(_row_steps(outputs, axis), default=0) > 1
        and all(step <= 2 * LONGEST_ROW for step in _row_steps(outputs, axis))
        and all(axis in output.axes for output in outputs)
    ]
    return max(candidates, key=lambda axis: kernel.axes[axis], default=None)


def _row_steps(outputs: Sequence[Output], axis: int) -> Iterator[int]:
    """How far one step of an axis moves what is loaded and stored."""
    for output in outputs:
        yield abs(output.address.coefficient(axis))
    for load in _loads(outputs):
        yield abs(load.address.coefficient(axis))


def _steps(
    kernel: Kernel, outputs: Sequence[Output], axis: int, rows: int
) -> Iterator[tuple[int, int]]:
    """How far an axis moves each address, beside how far a row does."""
    for output in outputs:
        address = output.address
        yield address.coefficient(axis), address.coefficient(rows)
    for load in _loads(outputs):
        yield load.address.coefficient(axis), load.address.coefficient(rows)


def _loads(outputs: Sequence[Output]) -> list[Load]:
    return [
        point.expression
        for point in points_of(outputs)
        if isinstance(point.expression, Load)
    ]


def _axes(outputs: Sequence[Output]) -> set[int]:
    """Every axis that outputs and reductions go over."""
    axes = {axis for output in outputs for axis in output.axes}
    for point in points_of(outputs):
        if isinstance(point.expression, Reduction):
            axes |= set(point.expression.axes)
    return axes


def _is_worth_it(kernel: Kernel, outputs: Sequence[Output], rows: int) -> bool:
    """Whether whole rows are uneven pieces of memory, without other conditions.

    Without a reduction a thread needs no row for itself, unless something lies along
    the rows.
    """
    loads = _loads(outputs)
    moving = [load for load in loads if load.address.coefficient(rows)]
    if any(load.guard or not load.address.is_pure() for load in moving):
        return False
    nbytes = [
        load.address.coefficient(rows) * load.dtype.itemsize
        for load in moving
        if load.address.coefficient(rows) > 1
    ]
    nbytes += [
        output.address.coefficient(rows) * kernel.slots[output.slot].dtype.itemsize
        for output in outputs
        if output.address.coefficient(rows) > 1
    ]
    reduces = any(isinstance(p.expression, Reduction) for p in points_of(outputs))
    addresses = [load.address for load in moving]
    addresses += [output.address for output in outputs]
    crosses = any(
        form.coefficient(rows) == 1 and form.axes() != {rows} for form in addresses
    )
    fills = any(_is_mostly_touched(kernel, form, rows) for form in addresses)
    is_useful = reduces or (crosses and fills)
    return is_useful and any(size % EVEN_BYTES for size in nbytes)


def _is_mostly_touched(kernel: Kernel, address: Affine, rows: int) -> bool:
    """Whether half of each row's elements are touched, so that whole rows are moved."""
    step = address.coefficient(rows)
    inner = [axis for axis in address.axes() if 0 < address.coefficient(axis) < step]
    return step > 1 and 2 * points_in(kernel, inner) >= step


def _lanes(
    kernel: Kernel, outputs: Sequence[Output], rows: int, around: int, target: Target
) -> int:
    """Rows of an iteration: many, unless they take much memory or are few."""
    widest = max(
        (
            load.address.coefficient(rows) * load.dtype.itemsize
            for load in _loads(outputs)
        ),
        default=1,
    )
    wanted = ITERATIONS_A_UNIT * target.units
    lanes = MOST_ROWS
    while lanes > LEAST_ROWS and (
        lanes * widest > SHARED_BYTES or kernel.axes[rows] * around < wanted * lanes
    ):
        lanes //= 2
    return lanes
