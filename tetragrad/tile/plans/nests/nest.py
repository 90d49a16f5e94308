"""The loop nest: elementwise maps, row passes, column reductions, scans, scatters.

A nest spreads some axes over the grid and visits the others in loops. Wherever all
free axes of a reduction are bound it is computed once, and what remains is read from
its register tile; so a softmax is three passes over a row, and a normalisation keeps
its statistics in registers:

    Grid(row over 64)
      max  = … one pass over the row …
      sum  = … a second pass …
      For(step) Store(y[row, step*16 + lane] = exp(x - max) / sum)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Load, Reduction, Scan, walk
from tetragrad.kernel.ir import Mode, Output
from tetragrad.tile.ir import Alloc, Extent, Grid, Map, Statement, Store
from tetragrad.tile.plans.nests.reductions import (
    VectorChoice,
    compute_reductions,
    pending_reductions,
)
from tetragrad.tile.plans.nests.running import Carry
from tetragrad.tile.plans.nests.staging import staged
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    Strip,
    chunked,
    indices_of,
    iterations,
    load_of,
    loop,
    shape_of,
    strips,
)

#: The longest axis of which results are interleaved.
LARGEST_GAP = 4


@frozen
class NestPlan:
    """Choices for the outputs (by number) that are computed together in one grid.

    ``grid`` are the kernel axes whose points may run at the same time; the grid
    takes ``chunk`` positions of the last of them at once. ``vector_axes`` are put
    on lanes, the first that is free in each pass. ``rows`` positions of the last
    grid axis are handled side by side, where that axis is not on lanes itself.
    ``beside`` are axes whose points are computed together. With ``staged`` each row
    has a lane of its own, and memory is moved through shared tiles. ``threads`` should
    share an iteration, where the plan knows better than the program tells. Of a loop
    around short lanes so many steps are ``written_out``.
    """

    outputs: tuple[int, ...]
    grid: tuple[int, ...]
    vector_axes: tuple[int, ...]
    lanes: int
    vectors: int = 1
    chunk: int = 1
    rows: int = 1
    beside: tuple[int, ...] = ()
    staged: bool = False
    threads: int = 0
    written_out: int = 1


def build_nest(builder: Builder, plan: NestPlan) -> list[Statement]:
    """The grid that computes the plan's outputs."""
    outputs = [builder.kernel.outputs[number] for number in plan.outputs]
    choice = VectorChoice(plan.vector_axes, plan.lanes, plan.vectors, plan.written_out)
    nest = _Nest(plan, choice)
    scope = Scope(builder)
    extents: list[Extent] = []
    for axis in plan.grid[:-1]:
        position = builder.axis(scope.size(axis))
        extents.append((position, scope.size(axis)))
        scope = scope.bind(axis, axis_form(position))
    for axis in plan.beside:
        position = builder.axis(scope.size(axis))
        extent = (position, scope.size(axis))
        scope = scope.bind(axis, axis_form(position)).with_collective(extent)
    if not plan.grid:
        only = builder.axis(1)
        body = tuple(nest.outputs(outputs, scope))
        return [Grid(((only, 1),), body, threads=plan.threads)]
    axis = plan.grid[-1]
    count = -(-scope.size(axis) // plan.chunk)
    index = builder.axis(count)
    extents.append((index, count))

    one_chunk = nest.staged_chunk if plan.staged else nest.chunk
    chunks = chunked(
        scope.size(axis),
        plan.chunk,
        axis_form(index),
        lambda start, length: one_chunk(outputs, scope, axis, start, length),
    )
    return [Grid(tuple(extents), tuple(chunks), threads=plan.threads)]


@frozen
class _Nest:
    plan: NestPlan
    choice: VectorChoice

    def chunk(
        self,
        outputs: Sequence[Output],
        scope: Scope,
        axis: int,
        start: Affine,
        length: int,
    ) -> list[Statement]:
        """One grid iteration: what the chunk needs as a whole, then its positions."""
        statements, scope = self.ready(outputs, scope)

        def body(inner: Scope) -> list[Statement]:
            return self.outputs(outputs, inner)

        strip = self.choice.strip(scope, (axis,))
        if strip is not None:
            return statements + strips(scope, strip, start, length, body)
        if self.plan.rows > 1:
            return statements + self.row_blocks(scope, axis, start, length, body)

        def one(step: Affine) -> list[Statement]:
            return body(scope.bind(axis, start + step))

        return statements + loop(scope.builder, length, one)

    def staged_chunk(
        self,
        outputs: Sequence[Output],
        scope: Scope,
        axis: int,
        start: Affine,
        length: int,
    ) -> list[Statement]:
        """The same with a row for each lane, and all rows in shared tiles."""
        statements, scope = self.ready(outputs, scope)
        bound = Strip(axis, self.plan.lanes).bind(scope, start, length)
        body = self.outputs(outputs, bound)
        lane = bound.collective[-1]
        return [*statements, *staged(scope.builder, body, lane, length)]

    def row_blocks(
        self,
        scope: Scope,
        axis: int,
        start: Affine,
        length: int,
        body: Callable[[Scope], list[Statement]],
    ) -> list[Statement]:
        """Several rows side by side; what remains in a smaller block."""
        blocks, rest = divmod(length, self.plan.rows)

        def block(first: Affine, rows: int) -> list[Statement]:
            row = scope.builder.axis(rows)
            bound = scope.bind(axis, first + axis_form(row))
            return body(bound.with_collective((row, rows)))

        def whole(step: Affine) -> list[Statement]:
            return block(start + step.scale(self.plan.rows), self.plan.rows)

        statements = loop(scope.builder, blocks, whole)
        if rest:
            statements += block(start.shift(blocks * self.plan.rows), rest)
        return statements

    def ready(
        self, outputs: Iterable[Output], scope: Scope
    ) -> tuple[list[Statement], Scope]:
        """Compute the reductions whose free axes are all bound."""
        return compute_reductions(roots_of(outputs), scope, self.choice)

    def outputs(self, outputs: Sequence[Output], scope: Scope) -> list[Statement]:
        """Everything that remains to be done for these outputs at this scope."""
        statements, scope = self.ready(outputs, scope)
        bound = scope.forms.keys()
        ready = [output for output in outputs if set(output.axes) <= bound]
        statements += self.store(ready, scope)
        waiting = [output for output in outputs if output not in ready]
        while waiting:
            axis = self.next_axis(waiting, scope)
            together = [output for output in waiting if axis in output.axes]
            waiting = [output for output in waiting if axis not in output.axes]
            statements += self.visit(together, axis, scope)
        return statements

    def next_axis(self, outputs: Sequence[Output], scope: Scope) -> int:
        """The axis to bind next: one that a reduction waits for, else any.

        Running reductions come last, lanes innermost of the rest, so that memory is
        walked in order.
        """
        missing = set(outputs[0].axes) - scope.forms.keys()
        # What is carried along an axis has a value for each point of the others.
        scanned = {entry.axis for entry in scans_of(outputs)}
        missing = missing - scanned or missing
        waited_for = [
            entry.free_axes & missing
            for entry in pending_reductions(roots_of(outputs[:1]), scope)
            if entry.free_axes & missing
        ]
        candidates = min(waited_for, key=len) if waited_for else missing
        strip = self.choice.strip(scope, tuple(candidates))
        last = None if strip is None else strip.axis
        return min(candidates, key=lambda axis: (axis == last, axis))

    def visit(
        self, outputs: Sequence[Output], axis: int, scope: Scope
    ) -> list[Statement]:
        """A loop over one axis of the outputs."""

        def body(inner: Scope) -> list[Statement]:
            return self.outputs(outputs, inner)

        scans = [entry for entry in scans_of(outputs) if entry.axis == axis]
        if scans:
            return self.running(scans, axis, scope, outputs)
        # Another axis that is still to come may suit lanes better than this one.
        missing = set(outputs[0].axes) - scope.forms.keys()
        strip = self.choice.strip(scope, tuple(missing))
        if strip is not None and strip.axis == axis:
            return strips(scope, strip, Affine(0), scope.size(axis), body)
        if fills_gaps(outputs, axis, scope):
            # Next to one another, so that they become whole vectors.
            places = range(scope.size(axis))
            found = [body(scope.bind(axis, Affine(place))) for place in places]
            return [statement for statements in found for statement in statements]
        return iterations(scope, axis, body)

    def running(
        self,
        scans: Sequence[Expression],
        axis: int,
        scope: Scope,
        outputs: Sequence[Output],
    ) -> list[Statement]:
        """A loop along which running reductions are carried from step to step.

        The scans of one axis run in one direction; others need a loop of their own.
        """
        steps = [entry for entry in reductions_of(outputs) if is_step_of(entry, scans)]
        carry = Carry(tuple(scans), tuple(steps), axis, self.choice)

        def body(inner: Scope) -> list[Statement]:
            return self.outputs(outputs, inner)

        if axis in self.choice.axes:
            return carry.by_lanes(scope, body)
        return carry.one_by_one(scope, body)

    def store(self, outputs: Sequence[Output], scope: Scope) -> list[Statement]:
        """Write outputs at the points of this scope.

        An output may get the memory of an input that the others read at the same point
        (``tetragrad/tile/in_place.py``). Then all values are known before any is
        written.
        """
        stores = [store_of(output, scope) for output in outputs]
        slots = scope.builder.kernel.slots
        places = {(entry.address, slots[entry.slot]) for entry in stores[:-1]}
        read = loads_of(stores[1:])
        if not any((load.address, slots[load.slot]) in places for load in read):
            return list(stores)
        computed, held = [], []
        for entry in stores[:-1]:
            tile = scope.builder.tile("value", shape_of(entry.axes), entry.value.dtype)
            indices = indices_of(entry.axes)
            fill = Map(entry.axes, tile, indices, entry.value, entry.guard)
            computed += [Alloc(tile), fill]
            held.append(replace(entry, value=load_of(tile, entry.axes)))
        return [*computed, stores[-1], *held]


def store_of(output: Output, scope: Scope) -> Store:
    """The statement that writes one output at the points of this scope."""
    rewriter = scope.rewriter()
    address = rewriter.form(output.address)
    guard = scope.guard + rewriter.guards(output.guard)
    value = rewriter(output.value)
    extents = scope.collective
    if output.mode is Mode.STORE:
        # Points that write the same value to the same place: one is enough.
        used = address.axes() | {axis for form in guard for axis in form.axes()}
        extents = tuple(extent for extent in extents if extent[0] in used)
    return Store(extents, output.slot, address, value, guard, output.mode)


def loads_of(stores: Sequence[Store]) -> Iterator[Load]:
    """What the values of stores read from memory."""
    values = [entry.value for entry in stores]
    return (entry for entry in walk(*values) if isinstance(entry, Load))


def is_step_of(reduction: Expression, scans: Sequence[Expression]) -> bool:
    """Whether a reduction runs over one axis beside the one scans are carried along.

    It is then done at each step, when all values that it combines are at hand.
    """
    inside = set(walk(reduction.body)).intersection(scans)
    return (
        bool(inside)
        and len(reduction.axes) == 1
        and reduction.axes[0] not in {scan.axis for scan in scans}
        and all(scan.axis in reduction.free_axes for scan in inside)
    )


def reductions_of(outputs: Iterable[Output]) -> list[Expression]:
    """The reductions that the outputs need, operands first."""
    roots = roots_of(outputs)
    return [entry for entry in walk(*roots) if isinstance(entry, Reduction)]


def fills_gaps(outputs: Sequence[Output], axis: int, scope: Scope) -> bool:
    """Whether an axis's few results stand between those of neighbouring lanes."""
    size = scope.size(axis)
    return size <= LARGEST_GAP and all(
        output.address.coefficient(axis) == 1
        and any(output.address.coefficient(lane) == size for lane in scope.forms)
        for output in outputs
    )


def roots_of(outputs: Iterable[Output]) -> list[Expression]:
    """Values of the outputs, and expressions inside their addresses and guards."""
    roots: list[Expression] = []
    for output in outputs:
        roots.append(output.value)
        for form in (output.address, *output.guard):
            roots += [atom for atom, _ in form.terms if isinstance(atom, Expression)]
    return roots


def scans_of(outputs: Iterable[Output]) -> list[Expression]:
    """The running reductions that the outputs need."""
    roots = roots_of(outputs)
    return [entry for entry in walk(*roots) if isinstance(entry, Scan)]
