"""How much a statement computes, and whether its grid's iterations are independent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

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
        store.mode is Mode.STORE or _keeps_apart(grid, store, dict(axes))
        for store, axes in stores_below(grid.body)
    )


def _keeps_apart(grid: Grid, store: Store, inner: Mapping[int, int]) -> bool:
    """Whether each axis moves the address beyond all that smaller steps reach.

    What loops inside of an iteration move, and an index from data, which may be
    anything that its limits allow, stays below the smallest step.
    """
    reach = 0
    moving = dict(grid.axes)
    for atom, part in store.address.terms:
        if not isinstance(atom, int):
            low, high = atom.range
            reach += abs(part) * (high - low)
        elif atom not in moving:
            # An axis of a loop around the grid moves all iterations alike.
            reach += abs(part) * (inner.get(atom, 1) - 1)
    steps = sorted(
        (abs(store.address.coefficient(axis)), extent)
        for axis, extent in moving.items()
        if extent > 1
    )
    for step, extent in steps:
        if step <= reach:
            return False
        reach += step * (extent - 1)
    return True


def stores_below(
    body: Sequence[Statement], axes: tuple[Extent, ...] = ()
) -> Iterator[tuple[Store, tuple[Extent, ...]]]:
    """All stores among some statements, and the axes that move them from there on."""
    for statement in body:
        match statement:
            case Store():
                yield statement, (*axes, *statement.axes)
            case For():
                loop = (statement.axis, statement.extent)
                yield from stores_below(statement.body, (*axes, loop))
            case Grid():
                yield from stores_below(statement.body, (*axes, *statement.axes))
            case Role():
                members = () if statement.members is None else (statement.members,)
                yield from stores_below(statement.body, (*axes, *members))
            case When():
                both = (*statement.body, *statement.otherwise)
                yield from stores_below(both, axes)
