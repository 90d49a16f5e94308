"""Elementwise work where inputs and outputs disagree about the contiguous axis.

    Grid(block of w, block of v)
      For(v)  For(w, 16 at once)  tile[v, w] = x[w + v*N]     scattered near by
      For(w)  Store(y[v + w*M] = tile[v, w]), 16 v at once    whole vectors

Every cache line of the input is then read once, not once for each of its elements.
Elements are scattered on their way into the tile, not gathered on their way out:
gathers are slow on many processors, since they had to be made safe against leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.kernel.ir import Output
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    Grid,
    Layout,
    Map,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
)
from tetragrad.tile.layout import CACHE_LINE_BYTES, odd_lines
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    chunked,
    fitting_strip,
    loop,
    strips,
)


@frozen
class TransposePlan:
    """A square of ``block`` by ``block`` positions of two axes a grid iteration.

    Stores run along ``store_axis``; loads that are contiguous along ``load_axis``
    instead go through a tile. ``at_once`` moves the whole square in one collective
    step, instead of a row in each.
    """

    outputs: tuple[int, ...]
    grid: tuple[int, ...]
    load_axis: int
    store_axis: int
    block: int
    lanes: int
    line_bytes: int = CACHE_LINE_BYTES
    at_once: bool = False


def crossing_loads(
    outputs: Sequence[Output], load_axis: int, store_axis: int
) -> list[Load]:
    """Loads that are contiguous along one axis and strided along the other."""
    values = [output.value for output in outputs]
    return [
        entry
        for entry in walk(*values)
        if isinstance(entry, Load)
        and entry.address.is_pure()
        and entry.address.coefficient(load_axis) == 1
        and entry.address.coefficient(store_axis) not in (0, 1)
    ]


def build_transpose(builder: Builder, plan: TransposePlan) -> list[Statement]:
    """The grid over squares of the two axes."""
    kernel = builder.kernel
    scope = Scope(builder)
    extents: list[Extent] = []
    for axis in plan.grid:
        position = builder.axis(kernel.axes[axis])
        extents.append((position, kernel.axes[axis]))
        scope = scope.bind(axis, axis_form(position))
    indices = []
    for axis in (plan.load_axis, plan.store_axis):
        count = -(-kernel.axes[axis] // plan.block)
        indices.append(axis_form(builder.axis(count)))
        extents.append((len(builder.extents) - 1, count))
    along_loads, along_stores = indices
    outputs = [kernel.outputs[number] for number in plan.outputs]

    def square(load_start: Affine, load_count: int) -> list[Statement]:
        return chunked(
            kernel.axes[plan.store_axis],
            plan.block,
            along_stores,
            lambda start, count: _Square(
                plan, outputs, load_start, load_count, start, count
            ).statements(scope),
        )

    body = chunked(kernel.axes[plan.load_axis], plan.block, along_loads, square)
    return [Grid(tuple(extents), tuple(body))]


@frozen
class _Square:
    plan: TransposePlan
    outputs: Sequence[Output]
    load_start: Affine
    load_count: int
    store_start: Affine
    store_count: int

    def statements(self, scope: Scope) -> list[Statement]:
        """Fill the tiles, then compute from them."""
        loads = crossing_loads(self.outputs, self.plan.load_axis, self.plan.store_axis)
        tiles = {load: self.tile(scope.builder, load) for load in loads}
        statements: list[Statement] = [Alloc(tile) for tile in tiles.values()]
        statements += self.rows(
            scope,
            self.store_count,
            lambda inner, offset: self.fill(inner, tiles, offset),
        )
        return statements + self.rows(
            scope,
            self.load_count,
            lambda inner, offset: self.compute(inner, tiles, offset),
        )

    def rows(
        self,
        scope: Scope,
        count: int,
        body: Callable[[Scope, Affine], list[Statement]],
    ) -> list[Statement]:
        """Rows of the square: in a loop, or as one more collective axis."""
        if not self.plan.at_once:
            return loop(scope.builder, count, lambda offset: body(scope, offset))
        axis = scope.builder.axis(count)
        return body(scope.with_collective((axis, count)), axis_form(axis))

    def tile(self, builder: Builder, load: Load) -> Tile:
        """A square, contiguous along the stores, spread over the cache's sets.

        Vectors may overhang its end, so there is room to spare.
        """
        lanes = self.plan.lanes
        lanes = fitting_strip(self.plan.store_axis, self.store_count, lanes, 1).lanes
        rows = -(-self.store_count // lanes) * lanes
        shape = (rows, self.load_count)
        line = max(1, self.plan.line_bytes // load.dtype.itemsize)
        layout = Layout((1, odd_lines(rows, line)))
        return builder.tile("square", shape, load.dtype, Space.SHARED, layout)

    def fill(
        self, scope: Scope, tiles: dict[Load, Tile], offset: Affine
    ) -> list[Statement]:
        """One row of each tile, with vectors along the loads."""
        axis = self.plan.load_axis
        scope = scope.bind(self.plan.store_axis, self.store_start + offset)
        strip = fitting_strip(axis, self.load_count, self.plan.lanes, 2)

        def body(inner: Scope) -> list[Statement]:
            column = inner.forms[axis]
            bound = inner.bind(axis, self.load_start + column)
            rewriter = bound.rewriter()
            return [
                Map(
                    bound.collective,
                    tile,
                    (offset, column),
                    rewriter(load),
                    (*bound.guard, *rewriter.guards(load.guard)),
                )
                for load, tile in tiles.items()
            ]

        return strips(scope, strip, ZERO, self.load_count, body)

    def compute(
        self, scope: Scope, tiles: dict[Load, Tile], offset: Affine
    ) -> list[Statement]:
        """The outputs at one position of the load axis, vectors along the stores."""
        axis = self.plan.store_axis
        scope = scope.bind(self.plan.load_axis, self.load_start + offset)
        strip = fitting_strip(axis, self.store_count, self.plan.lanes, 1)

        def body(inner: Scope) -> list[Statement]:
            row = inner.forms[axis]
            values: dict[Expression, Expression] = {
                load: TileLoad(tile, (row, offset)) for load, tile in tiles.items()
            }
            bound = inner.bind(axis, self.store_start + row).with_values(values)
            return [self.store(output, bound) for output in self.outputs]

        return strips(scope, strip, ZERO, self.store_count, body)

    def store(self, output: Output, scope: Scope) -> Statement:
        """Write one output at the points of this scope."""
        rewriter = scope.rewriter()
        address = rewriter.form(output.address)
        guard = scope.guard + rewriter.guards(output.guard)
        value = rewriter(output.value)
        return Store(scope.collective, output.slot, address, value, guard)
