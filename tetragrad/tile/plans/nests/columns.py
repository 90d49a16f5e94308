"""Sums down a few columns: memory in order, whatever the columns are.

Rows of a few elements that lie one behind the other are one long row. Each thread
takes every K-th element of it, where K is R whole rows, so it always meets the same
column; in the end what the rows' threads have is added up:

    For(s) Fold(total[k] += x[s*K + k])                  k < K = R*B, all neighbours
    Map(pieces[k] = total[k])                            through shared memory
    Fold(sum[c] += pieces[r*B + c])                      r < R
    Store(y[c] = sum[c])

What is read for each column, as a mean, is loaded before: Map(mean[k] = m[k % B]).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.kernel.affine import Affine, axis_form, of_atom
from tetragrad.kernel.expression import (
    Expression,
    Load,
    Reduction,
    Remainder,
    Scan,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel, Output, combines
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Fold,
    Grid,
    Map,
    Space,
    Statement,
    Tile,
    TileLoad,
)
from tetragrad.tile.plans.nests.nest import roots_of, store_of
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.scope import Builder, Scope, cast, indices_of, loop
from tetragrad.tile.plans.traffic import points_in

# Rows of fewer elements are added up this way, and those up to the longest that begin
# in the middle of what a thread moves.
SHORT_ROW, LONGEST_ROW = 128, 1024
# What a thread moves at once, and the threads that should share an iteration.
RUN_BYTES, THREADS, MOST_THREADS = 16, 256, 1024
# Passes that make an iteration worth a grid's, and the most without larger errors.
FEWEST_PASSES, MOST_PASSES = 8, 256
# Iterations for each unit; parts that are worth another grid; and the sums that it
# adds up at most, unless there are many passes.
BLOCKS_A_UNIT = 2
FEWEST_PARTS = 8
MOST_SUMS, MANY_PASSES = 1 << 15, 64
# Threads whose sums one thread adds up; more are first added up in groups.
ADDED_UP = 64


@frozen
class Rows:
    """A reduction whose loads go through rows that lie one behind the other.

    ``step`` is the length of a row along ``axis``; ``inner`` is the position in it.
    """

    axis: int
    step: int
    inner: Affine


@frozen
class ColumnsPlan:
    """The outputs (by number) that need sums over ``rows``, so many at once."""

    outputs: tuple[int, ...]
    grid: tuple[int, ...]
    rows: Rows
    at_once: int


# --- which reductions ----------------------------------------------------------------


def rows_of(kernel: Kernel, reduction: Expression) -> Rows | None:
    """The rows that a reduction goes over, if it needs nothing but what is in them."""
    loads = [e for e in walk(reduction.body) if isinstance(e, Load)]
    steps = {
        (load.address.coefficient(axis), axis)
        for load in loads
        for axis in reduction.axes
    }
    step, axis = max(steps, default=(0, 0))
    if step <= 1:
        return None
    for load in loads:
        if load.address.coefficient(axis) == step:
            found = Rows(axis, step, _inside(kernel, load.address, axis, step))
            return found if _reads_only(kernel, reduction, found) else None
    return None


def _inside(kernel: Kernel, address: Affine, axis: int, step: int) -> Affine:
    """The part of an address that says where in a row it is."""
    terms = []
    reach = 1
    for atom, part in sorted(address.terms, key=lambda term: abs(term[1])):
        is_inside = isinstance(atom, int) and atom != axis and part == reach
        if is_inside and reach < step:
            terms.append((atom, part))
            reach *= kernel.axes[atom]
    return Affine(0, tuple(sorted(terms)))


def _reads_only(kernel: Kernel, reduction: Expression, rows: Rows) -> bool:
    """Whether a sum's body knows a row by its elements, which are all in order."""
    inner = rows.inner.axes()
    if points_in(kernel, inner) != rows.step:
        return False
    if not set(reduction.axes) <= inner | {rows.axis}:
        return False
    body = walk(reduction.body)
    if any(isinstance(entry, Reduction | Scan) for entry in body):
        return False
    by_column = column_loads(reduction, rows)
    forms = {form for entry in body if entry not in by_column for form in entry.forms}
    return all(
        form.is_pure() and (_is_row(form, rows) or _is_end(form, rows))
        for form in forms
        if form.axes() & (inner | {rows.axis})
    )


def column_loads(reduction: Expression, rows: Rows) -> list[Load]:
    """Loads that say something of a column, where an axis counts those."""
    if len(rows.inner.terms) != 1 or rows.inner.axes() & set(reduction.axes):
        return []
    return [
        entry
        for entry in walk(reduction.body)
        if isinstance(entry, Load)
        and not entry.guard
        and entry.address.is_pure()
        and entry.address.axes() & rows.inner.axes()
        and not entry.address.axes() & set(reduction.axes)
    ]


def _is_row(form: Affine, rows: Rows) -> bool:
    """Whether a form goes through the rows in order."""
    inner = tuple(term for term in form.terms if term[0] in rows.inner.axes())
    return form.coefficient(rows.axis) == rows.step and inner == rows.inner.terms


def _is_end(form: Affine, rows: Rows) -> bool:
    """Whether a form says that there are no more rows."""
    return form.coefficient(rows.axis) == -1 and not form.axes() & rows.inner.axes()


def rows_at_once(rows: Rows, number: int, itemsize: int) -> int:
    """So many that threads move whole runs, and a block has enough of them.

    None where there are too few rows for that, or for going through them twice.
    """
    width = RUN_BYTES // itemsize
    even = width // math.gcd(rows.step, width)
    wanted = min(THREADS * width // rows.step, number // 2)
    many = max(1, wanted // even) * even
    is_possible = many * rows.step <= MOST_THREADS * width and 2 * many <= number
    return many if is_possible else 0


def suits_columns(kernel: Kernel, reduction: Expression, target: Target) -> int:
    """How many rows of a reduction are best gone through at once; 0 if none are."""
    if not target.has_free_iterations:
        return 0
    rows = rows_of(kernel, reduction)
    if rows is None:
        return 0
    itemsize = _itemsize(kernel, reduction)
    are_columns = rows.inner.axes() <= reduction.free_axes
    is_even = rows.step * itemsize % RUN_BYTES == 0
    if rows.step > LONGEST_ROW:
        return 0
    if rows.step >= SHORT_ROW and is_even and are_columns:
        return 0
    return rows_at_once(rows, kernel.axes[rows.axis], itemsize)


def _itemsize(kernel: Kernel, reduction: Expression) -> int:
    """Of the widest elements that rows consist of."""
    return max(
        kernel.slots[entry.slot].dtype.itemsize
        for entry in walk(reduction.body)
        if isinstance(entry, Load) and entry.address.axes() & set(reduction.axes)
    )


def columns_parts(
    kernel: Kernel, reduction: Expression, target: Target
) -> tuple[int, int, int] | None:
    """The axis to divide for such a sum, the number of parts and their length."""
    at_once = suits_columns(kernel, reduction, target)
    rows = rows_of(kernel, reduction)
    if not at_once or rows is None:
        return None
    around = points_in(kernel, reduction.free_axes - rows.inner.axes())
    number = kernel.axes[rows.axis]
    passes = -(-number // at_once)
    bounds = (
        BLOCKS_A_UNIT * target.units // around,
        passes // FEWEST_PASSES,
        max(FEWEST_PARTS, MOST_SUMS // rows.step, passes // MANY_PASSES),
    )
    parts = max(min(bounds), -(-passes // MOST_PASSES))
    if parts < FEWEST_PARTS:
        return rows.axis, 1, number
    length = -(-passes // max(1, parts)) * at_once
    return rows.axis, -(-number // length), length


def choose_columns(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> ColumnsPlan | None:
    """A plan, if all that some outputs need is sums down a few columns."""
    outputs = [kernel.outputs[number] for number in group]
    if combines(outputs):
        return None
    entries = walk(*roots_of(outputs))
    reductions = [entry for entry in entries if isinstance(entry, Reduction)]
    if not reductions or any(isinstance(entry, Scan) for entry in entries):
        return None
    found = rows_of(kernel, reductions[0])
    at_once = min(suits_columns(kernel, entry, target) for entry in reductions)
    if found is None or not at_once:
        return None
    axes = reductions[0].axes
    if any(rows_of(kernel, e) != found or e.axes != axes for e in reductions):
        return None
    columns = found.inner.axes() - set(axes)
    around = {frozenset(output.axes) - columns for output in outputs}
    are_whole = all(columns <= set(output.axes) for output in outputs)
    if len(around) > 1 or not are_whole or found.axis in outputs[0].axes:
        return None
    return ColumnsPlan(group, tuple(sorted(*around)), found, at_once)


# --- the program ---------------------------------------------------------------------


def build_columns(builder: Builder, plan: ColumnsPlan) -> list[Statement]:
    """The grid over what is around the rows."""
    kernel = builder.kernel
    scope, extents = Scope(builder), []
    for axis in plan.grid:
        position = builder.axis(kernel.axes[axis])
        extents.append((position, kernel.axes[axis]))
        scope = scope.bind(axis, axis_form(position))
    if not extents:
        extents.append((builder.axis(1), 1))
    outputs = [kernel.outputs[number] for number in plan.outputs]
    body = _Columns(plan, outputs).statements(scope)
    return [Grid(tuple(extents), tuple(body))]


@frozen
class _Columns:
    plan: ColumnsPlan
    outputs: Sequence[Output]

    def statements(self, scope: Scope) -> list[Statement]:
        """Sums of each thread, then of each column, then the outputs."""
        entries = walk(*roots_of(self.outputs))
        reductions = [entry for entry in entries if isinstance(entry, Reduction)]
        statements: list[Statement] = []
        columns = self.columns(scope, reductions[0])
        values: dict[Expression, Expression] = {}
        totals: dict[Expression, Tile] = {
            reduction: self.tile(scope, reduction, (self.width,))
            for reduction in reductions
        }
        for reduction, total in totals.items():
            statements += self.start(scope, reduction, total)
        loaded, by_column = self.column_values(scope, reductions)
        statements += loaded
        statements += self.passes(scope, totals, by_column)
        for reduction, total in totals.items():
            found, sums = self.add_up(scope, reduction, total, columns)
            statements += found
            values[reduction] = cast(sums, reduction.dtype)
        for axis, extent in columns.items():
            scope = scope.bind(axis, axis_form(extent[0])).with_collective(extent)
        scope = scope.with_values(values)
        return statements + [store_of(output, scope) for output in self.outputs]

    @property
    def width(self) -> int:
        """Elements that are gone through at once."""
        return self.plan.at_once * self.plan.rows.step

    def columns(self, scope: Scope, reduction: Expression) -> dict[int, Extent]:
        """A program axis for each axis of the results, the innermost last."""
        terms = sorted(self.plan.rows.inner.terms, key=lambda term: -term[1])
        axes = [axis for axis, _ in terms if axis not in reduction.axes]
        sizes = [scope.size(axis) for axis in axes]
        return {
            axis: (scope.builder.axis(size), size)
            for axis, size in zip(axes, sizes, strict=True)
        }

    def tile(
        self,
        scope: Scope,
        reduction: Expression,
        shape: tuple[int, ...],
        space: Space = Space.REGISTER,
    ) -> Tile:
        """A tile for sums that are not complete yet."""
        name = reduction.op.__name__.lower()
        return scope.builder.tile(name, shape, reduction.accumulator, space)

    def start(self, scope: Scope, reduction: Expression, tile: Tile) -> list[Statement]:
        """Bring a tile into being, holding the identity."""
        extents = scope.builder.axes(tile.shape)
        identity = literal(reduction.op.identity(reduction.dtype), tile.dtype)
        return [Alloc(tile), Map(extents, tile, indices_of(extents), identity)]

    def column_values(
        self, scope: Scope, reductions: Sequence[Reduction]
    ) -> tuple[list[Statement], dict[Expression, Tile]]:
        """What is read for each column, in the places where it is used."""
        rows = self.plan.rows
        loads = [load for entry in reductions for load in column_loads(entry, rows)]
        statements: list[Statement] = []
        tiles: dict[Expression, Tile] = {}
        for load in dict.fromkeys(loads):
            tile = scope.builder.tile("column", (self.width,), load.dtype)
            lane = scope.builder.axis(self.width)
            (axis,) = rows.inner.axes()
            column = of_atom(Remainder(axis_form(lane), rows.step))
            value = scope.bind(axis, column).rewriter()(load)
            index = (axis_form(lane),)
            move = Map(((lane, self.width),), tile, index, value)
            statements += [Alloc(tile), move]
            tiles[load] = tile
        return statements, tiles

    def passes(
        self,
        scope: Scope,
        totals: Mapping[Expression, Tile],
        by_column: Mapping[Expression, Tile],
    ) -> list[Statement]:
        """Go through all rows once for all sums; the last ones may be fewer."""
        size = scope.size(self.plan.rows.axis) * self.plan.rows.step
        steps, rest = divmod(size, self.width)

        def one(first: Affine, count: int) -> list[Statement]:
            lane = scope.builder.axis(self.width)
            position = first + axis_form(lane)
            inside = () if count == self.width else (_below(lane, count),)
            extents = ((lane, self.width),)
            index = (axis_form(lane),)
            known = {load: TileLoad(tile, index) for load, tile in by_column.items()}
            place = scope.with_values(known)
            in_order = _InOrder(place, self.plan.rows, position, inside)
            folds: list[Statement] = []
            for reduction, total in totals.items():
                value = cast(in_order(reduction.body), total.dtype)
                folds.append(Fold(extents, total, index, reduction.op, value, inside))
            return folds

        statements = loop(
            scope.builder, steps, lambda form: one(form.scale(self.width), self.width)
        )
        if rest:
            statements += one(Affine(steps * self.width), rest)
        return statements

    def add_up(
        self,
        scope: Scope,
        reduction: Expression,
        total: Tile,
        columns: dict[int, Extent],
    ) -> tuple[list[Statement], Expression]:
        """What the threads of all rows have, added up for each column."""
        statements: list[Statement] = []
        rows = self.plan.at_once
        if rows > ADDED_UP:
            groups = _divisor_near(rows, math.isqrt(rows))
            more, total = self.in_groups(scope, reduction, total, rows // groups)
            statements, rows = more, groups
        pieces, moved = self.shared(scope, reduction, total)
        inner = [axis for axis in self.plan.rows.inner.axes() if axis not in columns]
        others = {
            axis: (scope.builder.axis(scope.size(axis)), scope.size(axis))
            for axis in inner
        }
        forms = {
            axis: axis_form(extent[0]) for axis, extent in (columns | others).items()
        }
        row = (scope.builder.axis(rows), rows)
        place = axis_form(row[0]).scale(self.plan.rows.step)
        place = place + self.plan.rows.inner.substitute(forms)
        extents = tuple(columns.values())
        sums = self.tile(scope, reduction, tuple(size for _, size in extents))
        statements += [*moved, *self.start(scope, reduction, sums)]
        fold = Fold(
            (row, *others.values(), *extents),
            sums,
            indices_of(extents),
            reduction.op,
            TileLoad(pieces, (place,)),
        )
        return [*statements, fold], TileLoad(sums, indices_of(extents))

    def in_groups(
        self, scope: Scope, reduction: Expression, total: Tile, groups: int
    ) -> tuple[list[Statement], Tile]:
        """Every so many rows' sums added up, side by side."""
        pieces, statements = self.shared(scope, reduction, total)
        width = self.width // groups
        sums = self.tile(scope, reduction, (width,))
        group = (scope.builder.axis(groups), groups)
        lane = (scope.builder.axis(width), width)
        place = axis_form(group[0]).scale(width) + axis_form(lane[0])
        statements += self.start(scope, reduction, sums)
        value = TileLoad(pieces, (place,))
        index = (axis_form(lane[0]),)
        return [
            *statements,
            Fold((group, lane), sums, index, reduction.op, value),
        ], sums

    def shared(
        self, scope: Scope, reduction: Expression, total: Tile
    ) -> tuple[Tile, list[Statement]]:
        """A copy of a tile that all threads can read."""
        pieces = self.tile(scope, reduction, total.shape, Space.SHARED)
        lane = scope.builder.axis(total.shape[0])
        index = (axis_form(lane),)
        value = TileLoad(total, index)
        move = Map(((lane, total.shape[0]),), pieces, index, value)
        return pieces, [Alloc(pieces, once=True), move]


class _InOrder(Rewriter):
    """Reads the body of a reduction at one position of all rows behind each other."""

    def __init__(
        self, scope: Scope, rows: Rows, position: Affine, guard: tuple[Affine, ...]
    ) -> None:
        super().__init__(scope.forms, scope.values, guard)
        self.rows = rows
        self.position = position

    def form(self, form: Affine) -> Affine:
        rows = self.rows
        if _is_row(form, rows):
            inside = rows.inner + axis_form(rows.axis).scale(rows.step)
            return super().form(form - inside) + self.position
        if rows.axis in form.axes():
            # last - row >= 0 where position <= last * step + step - 1.
            last = super().form(form + axis_form(rows.axis))
            return last.scale(rows.step).shift(rows.step - 1) - self.position
        return super().form(form)


def _below(lane: int, count: int) -> Affine:
    return axis_form(lane).scale(-1).shift(count - 1)


def _divisor_near(number: int, wanted: int) -> int:
    """The divisor that is nearest to what is wanted."""
    divisors = (entry for entry in range(1, number + 1) if number % entry == 0)
    return min(divisors, key=lambda entry: abs(entry - wanted))
