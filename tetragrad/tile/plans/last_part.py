"""Write the last of several parts on its own, where only that one may be shorter.

    Grid(p < 8)
      When(6 - p >= 0)
        For(s) Fold(… if 999 - 128*p - s >= 0)
      Otherwise
        For(s) Fold(… if 999 - 128*p - s >= 0)

In the first branch the condition always holds, which an emitter sees by itself: there
nothing is checked, and whole vectors are moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tetragrad.core.frozen import replace
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Load, Select, walk
from tetragrad.tile.ir import Fold, Grid, Map, Running, Statement, Store, When


def with_last_apart(grid: Statement, extents: Mapping[int, int]) -> Statement:
    """The grid with a branch for all parts but the last, where that helps."""
    if not isinstance(grid, Grid):
        return grid
    conditions = {form for form in _conditions(grid.body) if form.is_pure()}
    for axis, size in grid.axes:
        fewer = {**extents, axis: size - 1}
        if size > 1 and any(
            _may_fail(form, extents) and not _may_fail(form, fewer)
            for form in conditions
        ):
            not_last = axis_form(axis).scale(-1).shift(size - 2)
            return replace(grid, body=(When((not_last,), grid.body, grid.body),))
    return grid


def _may_fail(form: Affine, extents: Mapping[int, int]) -> bool:
    return form.range(extents)[0] < 0  # type: ignore[arg-type]


def _conditions(body: Sequence[Statement]) -> Iterator[Affine]:
    """Every condition on the points of statements, and inside their values."""
    for statement in body:
        yield from _conditions(getattr(statement, "body", ()))
        yield from _conditions(getattr(statement, "otherwise", ()))
        if isinstance(statement, Map | Fold | Running | Store):
            yield from statement.guard
            yield from _conditions_in(statement.value)


def _conditions_in(value: Expression) -> Iterator[Affine]:
    for entry in walk(value):
        if isinstance(entry, Load | Select):
            yield from entry.guard
