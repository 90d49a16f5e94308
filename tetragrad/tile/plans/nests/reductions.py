"""Compute the reductions that an expression needs, into register tiles.

Each reduction is computed at the outermost scope where its free axes are bound, so
one that does not depend on an inner loop is hoisted out of it. Reductions over the
same axes at the same scope share one pass over the data.

    Alloc(total: float32[4, 16], register)       accumulators side by side, which
    Map(total[vector, lane] = 0)                 hides the latency of an addition
    For(step) Fold(total[vector, lane] += x[step*64 + vector*16 + lane])
    Fold(sum[] += total[vector, lane])           combined once at the end
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Reduction, literal
from tetragrad.tile.ir import Alloc, Fold, Map, Statement, Tile
from tetragrad.tile.plans.scope import (
    LONGEST_UNROLLED,
    Scope,
    Strip,
    cast,
    fitting_strip,
    indices_of,
    load_of,
    loop,
    shape_of,
    strips,
)

# A running float sum takes at most so many additions before it is added to a larger
# one: the error then grows with this number plus the number of blocks.
LONGEST_RUN = 256


@frozen
class VectorChoice:
    """Which kernel axis to put on vector lanes: the first one that is free.

    Of the loop around the lanes so many steps are written out, one after another.
    """

    axes: tuple[int, ...]
    lanes: int
    vectors: int
    written_out: int = 1

    def strip(self, scope: Scope, axes: Sequence[int]) -> Strip | None:
        """The strip for a loop over some axes, unless lanes are already in use."""
        if scope.strip:
            return None
        for axis in self.axes:
            if axis in axes:
                return fitting_strip(axis, scope.size(axis), self.lanes, self.vectors)
        return None


def compute_reductions(
    roots: Iterable[Expression], scope: Scope, choice: VectorChoice
) -> tuple[list[Statement], Scope]:
    """Statements for every reduction below the roots whose free axes are bound."""
    statements: list[Statement] = []
    while True:
        ready = ready_reductions(roots, scope)
        if not ready:
            return statements, scope
        group = [entry for entry in ready if entry.axes == ready[0].axes]
        more, scope = compute_group(group, scope, choice)
        statements += more


def ready_reductions(roots: Iterable[Expression], scope: Scope) -> list[Expression]:
    """Reductions to compute next: free axes bound, nothing inside left to compute."""
    return [
        entry
        for entry in pending_reductions(roots, scope)
        if entry.free_axes <= scope.forms.keys()
        and not any(
            inner.free_axes <= scope.forms.keys()
            for inner in pending_reductions([entry.body], scope, entry.axes)
        )
    ]


def pending_reductions(
    roots: Iterable[Expression], scope: Scope, bound: Iterable[int] = ()
) -> list[Expression]:
    """Reductions below the roots without a value yet, in order of discovery.

    Those that depend on an axis that a reduction around them binds are left out:
    they are computed inside its loop.
    """
    found: dict[Expression, None] = {}
    seen: set[tuple[Expression, frozenset[int]]] = set()
    stack = [(root, frozenset(bound)) for root in roots]
    while stack:
        expression, inside = stack.pop()
        if (expression, inside) in seen or expression in scope.values:
            continue
        seen.add((expression, inside))
        if isinstance(expression, Reduction):
            if not expression.free_axes & inside:
                found[expression] = None
            inside = inside | set(expression.axes)
        stack.extend((child, inside) for child in expression.children)
    return list(found)


def compute_group(
    group: Sequence[Expression], scope: Scope, choice: VectorChoice
) -> tuple[list[Statement], Scope]:
    """Compute reductions over the same axes in one pass."""
    axes = group[0].axes
    strip = choice.strip(scope, axes)
    pass_ = _Pass(tuple(group), scope, choice, strip)
    accumulators = [pass_.accumulator(entry) for entry in group]
    statements = [step for tile in accumulators for step in pass_.start(tile)]
    serial = [axis for axis in axes if strip is None or axis != strip.axis]
    statements += pass_.loops(serial, scope, accumulators)
    values: dict[Expression, Expression] = {}
    for entry, accumulator in zip(group, accumulators, strict=True):
        more, result = pass_.finish(accumulator)
        statements += more
        outer = scope.collective_axes_of(entry.free_axes)
        values[entry] = cast(load_of(result.tile, outer), entry.dtype)
    return statements, scope.with_values(values)


@frozen
class Accumulator:
    """The tile that carries one reduction, and which reduction it is."""

    tile: Tile
    reduction: Expression


@frozen
class _Pass:
    """One pass over the reduced axes for a group of reductions."""

    group: tuple[Expression, ...]
    scope: Scope
    choice: VectorChoice
    strip: Strip | None

    def accumulator(self, reduction: Expression) -> Accumulator:
        """A register tile with a place for each collective point and lane."""
        shape = shape_of(self.scope.collective_axes_of(reduction.free_axes))
        if self.strip is not None:
            shape = (*shape, self.strip.vectors, self.strip.lanes)
        name = reduction.op.__name__.lower()
        tile = self.scope.builder.tile(name, shape, reduction.accumulator)
        return Accumulator(tile, reduction)

    def start(self, accumulator: Accumulator) -> list[Statement]:
        """Bring the tile into being, holding the identity."""
        tile, reduction = accumulator.tile, accumulator.reduction
        builder = self.scope.builder
        extents = builder.axes(tile.shape)
        value = reduction.op.identity(reduction.dtype)
        identity = literal(value, tile.dtype)
        return [Alloc(tile), Map(extents, tile, indices_of(extents), identity)]

    def loops(
        self, serial: Sequence[int], scope: Scope, accumulators: Sequence[Accumulator]
    ) -> list[Statement]:
        """The loops over the serial axes, and inside them the strips."""
        if not serial:
            return self.innermost(scope, accumulators)
        axis, *others = serial

        def step(form: Affine) -> list[Statement]:
            return self.loops(others, scope.bind(axis, form), accumulators)

        if others or self.strip is not None:
            is_last = all(scope.size(entry) <= LONGEST_UNROLLED for entry in others)
            return self.written_out(scope, axis, step, is_last=is_last)
        return self.runs(
            accumulators,
            scope.size(axis),
            1,
            lambda start, count, into: loop(
                scope.builder,
                count,
                lambda form: self.fold(scope.bind(axis, start + form), into),
                unroll=True,
            ),
        )

    def written_out(
        self,
        scope: Scope,
        axis: int,
        step: Callable[[Affine], list[Statement]],
        *,
        is_last: bool,
    ) -> list[Statement]:
        """A loop, of which several steps are written out if it is the last one."""
        size, together = scope.size(axis), self.choice.written_out
        if not is_last or size <= together or size % together:
            return loop(scope.builder, size, step, unroll=True)

        def several(number: Affine) -> list[Statement]:
            first = number.scale(together)
            return loop(
                scope.builder, together, lambda form: step(first + form), unroll=True
            )

        return loop(scope.builder, size // together, several)

    def innermost(
        self, scope: Scope, accumulators: Sequence[Accumulator]
    ) -> list[Statement]:
        """The strips along the vector axis, or one point where there is none."""
        strip = self.strip
        if strip is None:
            return self.fold(scope, accumulators)
        size = scope.size(strip.axis)
        return self.runs(
            accumulators,
            size,
            strip.width,
            lambda start, count, into: strips(
                scope, strip, start, count, lambda inner: self.fold(inner, into)
            ),
        )

    def runs(
        self,
        accumulators: Sequence[Accumulator],
        size: int,
        width: int,
        run: Callable[[Affine, int, Sequence[Accumulator]], list[Statement]],
    ) -> list[Statement]:
        """Cut a long float sum into runs that are summed on their own."""
        length = LONGEST_RUN * width
        if size <= 2 * length or not any(map(needs_runs, accumulators)):
            return run(Affine(0), size, accumulators)
        whole, rest = divmod(size, length)
        builder = self.scope.builder

        def one(start: Affine, count: int) -> list[Statement]:
            partial = [self.accumulator(entry.reduction) for entry in accumulators]
            statements = [step for entry in partial for step in self.start(entry)]
            statements += run(start, count, partial)
            for into, source in zip(accumulators, partial, strict=True):
                statements.append(self.add(into, source))
            return statements

        statements = loop(builder, whole, lambda form: one(form.scale(length), length))
        return statements + (one(Affine(whole * length), rest) if rest else [])

    def add(self, into: Accumulator, source: Accumulator) -> Statement:
        """Combine one accumulator into another of the same shape."""
        builder = self.scope.builder
        extents = builder.axes(into.tile.shape)
        value = load_of(source.tile, extents)
        return Fold(extents, into.tile, indices_of(extents), into.reduction.op, value)

    def fold(
        self, scope: Scope, accumulators: Sequence[Accumulator]
    ) -> list[Statement]:
        """Combine the bodies at this point into the accumulators."""
        bodies = [entry.reduction.body for entry in accumulators]
        statements, scope = compute_reductions(bodies, scope, self.choice)
        rewriter = scope.rewriter()
        for entry in accumulators:
            tile, reduction = entry.tile, entry.reduction
            outer = self.scope.collective_axes_of(reduction.free_axes)
            indices = indices_of(outer) + (scope.strip if self.strip else ())
            used = {axis for form in indices for axis in form.axes()}
            extents = tuple(item for item in scope.collective if item[0] in used)
            guard = tuple(form for form in scope.guard if form.axes() & used)
            value = cast(rewriter(reduction.body), tile.dtype)
            statements.append(Fold(extents, tile, indices, reduction.op, value, guard))
        return statements

    def finish(self, accumulator: Accumulator) -> tuple[list[Statement], Accumulator]:
        """Combine the lanes, where there are any."""
        if self.strip is None:
            return [], accumulator
        reduction = accumulator.reduction
        outer = self.scope.collective_axes_of(reduction.free_axes)
        name = f"row_{reduction.op.__name__.lower()}"
        tile = self.scope.builder.tile(name, shape_of(outer), accumulator.tile.dtype)
        result = Accumulator(tile, reduction)
        builder = self.scope.builder
        extents = builder.axes(accumulator.tile.shape)
        value = load_of(accumulator.tile, extents)
        into = indices_of(extents[: len(outer)])
        fold = Fold(extents, tile, into, reduction.op, value)
        return [*self.start(result), fold], result


def needs_runs(accumulator: Accumulator) -> bool:
    """Whether rounding errors would build up in one long run."""
    reduction = accumulator.reduction
    return reduction.op is Sum and reduction.accumulator.is_floating_point
