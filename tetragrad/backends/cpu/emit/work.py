"""How much a statement computes, and whether its grid's iterations are independent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tetragrad.kernel.expression import Expression, walk
from tetragrad.kernel.ir import Mode
from tetragrad.tile.ir import (
    Copy,
    Extent,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    Role,
    Statement,
    Store,
    When,
)


def work_of(body: Sequence[Statement]) -> float:
    """Scalar operations of one run of some statements, roughly."""
    return sum(_work_of_statement(statement) for statement in body)


def _work_of_statement(statement: Statement) -> float:
    match statement:
        case Map() | Fold() | Store():
            return _points(statement.axes) * _work_of_value(statement.value)
        case Copy():
            return _points(statement.axes)
        case Mma():
            return float(statement.rows * statement.columns * statement.depth)
        case For():
            return statement.extent * work_of(statement.body)
        case Grid() | Role():
            return work_of(statement.body)
        case When():
            return max(work_of(statement.body), work_of(statement.otherwise))
    return 0.0


def _points(axes: Sequence[Extent]) -> float:
    return float(math.prod(extent for _, extent in axes))


def _work_of_value(value: Expression) -> float:
    return float(sum(1 for _ in walk(value)))


def may_run_in_parallel(grid: Grid) -> bool:
    """Whether no two iterations add to one element, as a scatter's may."""
    return all(
        store.mode is Mode.STORE or _keeps_apart(grid, store)
        for store in stores_below(grid.body)
    )


def _keeps_apart(grid: Grid, store: Store) -> bool:
    """Whether each axis moves the address beyond all that smaller steps reach.

    An index from data may be anything that its limits allow.
    """
    reach = 0
    moving = dict(grid.axes)
    # Axes of loops inside one iteration may reach anywhere up to the smallest step.
    steps = sorted(
        (abs(store.address.coefficient(axis)), extent)
        for axis, extent in moving.items()
        if extent > 1
    )
    inner = dict(store.axes)
    for axis, part in store.address.terms:
        if not isinstance(axis, int):
            low, high = axis.range
            reach += abs(part) * (high - low)
        elif axis not in moving:
            if axis not in inner:
                return False
            reach += abs(part) * (inner[axis] - 1)
    for step, extent in steps:
        if step <= reach:
            return False
        reach += step * (extent - 1)
    return True


def stores_below(body: Sequence[Statement]) -> Iterator[Store]:
    """All stores among some statements."""
    for statement in body:
        match statement:
            case Store():
                yield statement
            case For() | Grid() | Role():
                yield from stores_below(statement.body)
            case When():
                yield from stores_below((*statement.body, *statement.otherwise))
