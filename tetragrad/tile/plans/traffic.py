"""What a kernel reads, writes and computes: the facts that plans are chosen by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Transcendental
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Indexed,
    Load,
    Reduction,
    Scan,
    walk,
)
from tetragrad.kernel.ir import Kernel, Mode, Output
from tetragrad.tile.plans.nests.nest import roots_of

# What an elementary function costs, in multiplications.
TRANSCENDENTAL_COST = 12
# One element read from or written to an address of its own, in vector operations.
SCATTERED_COST = 1.5
# What an operation takes beside a load whose place has to be found first.
SHARE_OF_OPERATION = 0.25
# Steps up to this length are whole vectors shuffled together.
LONGEST_SHUFFLE = 4


@frozen
class Point:
    """An expression, with the axes of the loops around it."""

    expression: Expression
    axes: frozenset[int]


def points_of(outputs: Iterable[Output]) -> Iterator[Point]:
    """Every expression with the loops that it is evaluated in.

    A reduction's body runs inside its free axes and the axes it binds; everything
    else inside the axes that it depends on.
    """
    seen: set[tuple[Expression, frozenset[int]]] = set()
    stack = [
        Point(root, frozenset(output.axes))
        for output in outputs
        for root in roots_of([output])
    ]
    while stack:
        point = stack.pop()
        axes = point.axes
        if (point.expression, axes) in seen:
            continue
        seen.add((point.expression, axes))
        yield point
        if isinstance(point.expression, Reduction):
            axes = point.expression.free_axes | set(point.expression.axes)
        for child in point.expression.children:
            stack.append(Point(child, axes))


def register_bytes(dtype: DType) -> int:
    """Bytes of one value in a register: small floats are computed in float32."""
    if dtype.is_floating_point:
        return max(4, dtype.itemsize)
    return dtype.itemsize


def lane_bytes(outputs: Iterable[Output]) -> int:
    """The width of the values that dominate: the widest that is computed with.

    What is the same at every point is computed once, so its width matters little.
    """
    expressions = [point.expression for point in points_of(outputs)]
    widths = [
        register_bytes(entry.dtype)
        for entry in expressions
        if not isinstance(entry, Indexed)
        and not entry.dtype.is_bool
        and (entry.free_axes or isinstance(entry, Reduction))
        and isinstance(entry, (Load, Compute, Reduction, Scan))
    ]
    return max(widths, default=4)


def operation_cost(expression: Expression) -> int:
    """The cost of one expression on one vector."""
    if isinstance(expression, Compute):
        heavy = issubclass(expression.op, Transcendental)
        return TRANSCENDENTAL_COST if heavy else 1
    return 1


def vector_cost(
    kernel: Kernel, outputs: Iterable[Output], axis: int, lanes: int
) -> float:
    """Vector operations for the whole kernel if an axis is put on lanes."""
    outputs = tuple(outputs)
    width = min(lanes, kernel.axes[axis])
    total = 0.0
    for point in points_of(outputs):
        count = points_in(kernel, point.axes)
        if axis not in point.axes:
            # On lanes that are all alike, or outside the vector loop.
            total += count * operation_cost(point.expression)
            continue
        per_lane = operation_cost(point.expression) / width
        if isinstance(point.expression, Load):
            per_lane = address_cost(point.expression.address, axis, width)
        elif axis not in point.expression.free_axes and not isinstance(
            point.expression, Reduction
        ):
            # Once for each run of lanes, which are as many as the axis has positions.
            per_lane = operation_cost(point.expression) / kernel.axes[axis]
        total += count * per_lane
    for output in outputs:
        if axis in output.axes:
            count = points_in(kernel, output.axes)
            total += count * address_cost(output.address, axis, width)
            if output.mode is not Mode.STORE:
                total += count * SCATTERED_COST
    return total


def address_cost(address: Affine, axis: int, width: int) -> float:
    """Vector operations an element of a load or store with this address."""
    if any(
        not isinstance(atom, int) and axis in atom.free_axes
        for atom, _ in address.terms
    ):
        return SCATTERED_COST
    coefficient = address.coefficient(axis)
    if coefficient == 0:
        return 0.0
    if coefficient == 1:
        return 1 / width
    if abs(coefficient) <= LONGEST_SHUFFLE:
        return min(SCATTERED_COST, 2 * abs(coefficient) / width)
    return SCATTERED_COST


def points_in(kernel: Kernel, axes: Iterable[int]) -> int:
    """How many iterations loops over some axes have together."""
    return math.prod(kernel.axes[axis] for axis in axes)


def work(kernel: Kernel, value: Expression) -> int:
    """Operations to compute a reduction or scan for all of its free axes."""
    if isinstance(value, Reduction):
        axes = value.free_axes | set(value.axes)
    else:
        axes = value.free_axes
    count = sum(operation_cost(entry) for entry in walk(value))
    return points_in(kernel, axes) * count


def work_in(value: Expression) -> float:
    """What an element takes that is computed from several, in elements just loaded."""
    below_it = walk(value)
    loads = sum(isinstance(entry, Load) for entry in below_it)
    operations = sum(isinstance(entry, Compute) for entry in below_it)
    return max(1.0, loads + SHARE_OF_OPERATION * operations)
