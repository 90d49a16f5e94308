"""Leave out the iterations that a size given at launch makes empty.

A value of symbolic size is laid out at its maximum, and guards keep what lies beyond
the size from having an effect. Where a whole iteration has none, it need not run:

    For(i over 512)                          For(i over 512)
      Fold(sum += select(n - 1 - i >= 0,  ->   When(n - 1 - i >= 0)
                         x[i], 0))               Fold(sum += select(…, x[i], 0))

Must run last: it reads the guards that the plans wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tetragrad.core.frozen import replace
from tetragrad.kernel.absence import absence, is_plain
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Given, Guard
from tetragrad.tile.ir import (
    Alloc,
    Copy,
    Extent,
    Fetch,
    Fold,
    For,
    Grid,
    Map,
    Mma,
    Running,
    Statement,
    Store,
    View,
    When,
)


def skip_empty(statements: Iterable[Statement]) -> list[Statement]:
    """The statements, with the bodies of loops and grids run only where needed."""
    return [_skipping(statement) for statement in statements]


def _skipping(statement: Statement) -> Statement:
    if not isinstance(statement, Grid | For):
        return statement
    needed = _conditions(statement.body)
    body = tuple(skip_empty(statement.body))
    if needed:
        body = (When(tuple(needed), body),)
    return replace(statement, body=body)


def _conditions(body: tuple[Statement, ...]) -> list[Affine]:
    """Forms that are >= 0 wherever the body has an effect outside of itself."""
    common: dict[Affine, None] | None = None
    for guard, inner in _effects(body):
        forms = {_highest(form, inner): None for form in guard if _is_of_a_size(form)}
        if common is not None:
            forms = {form: None for form in common if form in forms}
        common = forms
        if not common:
            return []
    return [form for form in common or () if form.axes() or form.range(())[0] < 0]


def _is_of_a_size(form: Affine) -> bool:
    """Whether a form has a size and loop axes only: of others nobody knows the most."""
    return is_plain(form) and any(isinstance(atom, Given) for atom, _ in form.terms)


def _effects(body: tuple[Statement, ...]) -> Iterator[tuple[Guard, tuple[Extent, ...]]]:
    """The guard of each statement that is seen from outside, and the axes inside."""
    local = {entry.tile for entry in _inside(body) if isinstance(entry, Alloc)}
    waiting: list[tuple[Statement, Guard, tuple[Extent, ...]]]
    waiting = [(entry, (), ()) for entry in body]
    while waiting:
        statement, guard, inner = waiting.pop()
        match statement:
            case Alloc() | Fetch() | View():
                continue
            case For(axis, extent, parts):
                step = (*inner, (axis, extent))
                waiting += [(entry, guard, step) for entry in parts]
            case When(needed, parts, otherwise):
                waiting += [(entry, (*guard, *needed), inner) for entry in parts]
                waiting += [(entry, guard, inner) for entry in otherwise]
            case Map() | Fold() | Running() if statement.tile in local:
                continue
            case Store() | Map() | Fold():
                needed = (*guard, *statement.guard)
                if isinstance(statement, Fold):
                    needed += absence(statement.value, statement.op)
                yield needed, (*inner, *statement.axes)
            case Copy() if statement.tile in local:
                continue
            case Mma() if statement.accumulator in local:
                continue
            case _:
                yield (), inner


def _inside(body: Iterable[Statement]) -> Iterator[Statement]:
    for statement in body:
        yield statement
        if isinstance(statement, For | Grid):
            yield from _inside(statement.body)
        elif isinstance(statement, When):
            yield from _inside((*statement.body, *statement.otherwise))


def _highest(form: Affine, inner: tuple[Extent, ...]) -> Affine:
    """The form with the axes inside where it is largest."""
    ends = {
        axis: Affine(extent - 1 if form.coefficient(axis) > 0 else 0)
        for axis, extent in inner
    }
    return form.substitute(ends)
