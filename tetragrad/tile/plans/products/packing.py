"""Pack a block of an operand into a tile, in the order the micro-kernel reads it.

Whatever has to be computed for an operand's element (a cast, a mask, a scale) is
computed here, once for each block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Expression,
    Guard,
    Load,
    Select,
    forms_of,
    literal,
)
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import (
    Fetch,
    Layout,
    Map,
    Space,
    Statement,
    Tile,
    View,
    When,
    row_major,
)
from tetragrad.tile.layout import CACHE_LINE_BYTES, odd_lines
from tetragrad.tile.plans.products.contraction import Block, Panels, strides_of
from tetragrad.tile.plans.products.kept import KeptPanels
from tetragrad.tile.plans.rewrite import walk_until
from tetragrad.tile.plans.scope import (
    Builder,
    Scope,
    Strip,
    cast,
    fitting_strip,
    loop,
    strips,
)

# Vectors that one packing step moves.
MOST_MOVED = 2
# Sides of a square that is turned: one of 64 bytes takes hundreds of shuffles to write
# out, for which LLVM needs seconds.
WIDEST_TURNED = 16
# Rows between the one that is packed and the one that is fetched meanwhile.
ROWS_AHEAD = 8


@frozen
class Run:
    """Neighbouring axes of a block along which an operand moves evenly.

    They are walked as one axis of ``extent`` positions, each of which moves the
    block's flat index by ``stride``. ``size`` is how many positions the kernel has,
    more than ``extent`` where the run contains the block's chunked axis.
    """

    axes: tuple[int, ...]
    extent: int
    stride: int
    size: int
    is_chunked: bool


@lru_cache(maxsize=256)
def runs_of(kernel: Kernel, block: Block, operand: Expression) -> tuple[Run, ...]:
    """The axes of a block in as few runs as the operand's addresses allow."""
    forms = [form for entry in walk_until({}, operand) for form in forms_of(entry)]
    found: list[Run] = []
    stride = 1
    for axis in reversed((block.chunked, *block.inner)):
        is_chunked = axis == block.chunked
        extent = block.chunk if is_chunked else kernel.axes[axis]
        run = Run((axis,), extent, stride, kernel.axes[axis], is_chunked)
        stride *= extent
        if found and extent > 1 and _continues(forms, axis, found[-1]):
            last = found.pop()
            run = Run(
                (axis, *last.axes),
                extent * last.extent,
                last.stride,
                kernel.axes[axis] * last.extent,
                is_chunked,
            )
        found.append(run)
    return tuple(found)


def _continues(forms: Sequence[Affine], axis: int, run: Run) -> bool:
    """Whether a step of the axis is a walk along the whole run."""
    return all(
        form.coefficient(axis) == form.coefficient(run.axes[-1]) * run.extent
        for form in forms
    )


@frozen
class Window:
    """The part of a side that is packed: so many panels from ``first`` on.

    ``into`` is where the tile has the first of them.
    """

    first: Affine
    panels: int
    into: Affine = ZERO


@frozen
class Placed:
    """A block at a place: where its chunk starts, and which of all blocks it is.

    With a ``window`` only that part of it is wanted, which takes an operand in panels;
    the tile then holds the window.
    """

    block: Block
    start: Affine
    window: Window | None = None
    number: Affine = ZERO


def at_run(scope: Scope, run: Run, placed: Placed, offset: Affine) -> Scope:
    """The scope at an offset into a placed block that is one run."""
    for axis in run.axes[:-1]:
        scope = scope.bind(axis, ZERO)
    start = placed.start.scale(run.extent // placed.block.chunk)
    return scope.bind(run.axes[-1], start + offset)


@lru_cache(maxsize=256)
def strides_in_place(
    kernel: Kernel, depth: Block, side: Block, value: Expression
) -> tuple[int, int] | None:
    """How far depth and side move in memory, if an operand can be read in place."""
    if not isinstance(value, Load) or value.guard or not value.address.is_pure():
        return None
    runs = [runs_of(kernel, block, value) for block in (depth, side)]
    if any(len(found) != 1 for found in runs):
        return None
    by_depth, by_side = (value.address.coefficient(found[0].axes[-1]) for found in runs)
    return (by_depth, by_side) if min(by_depth, by_side) >= 0 else None


@frozen
class Operand:
    """One side of a contraction: its values, and its blocks along depth and side.

    ``lanes_along_side`` says that the micro-kernel reads whole vectors along the
    side; otherwise it reads single elements, and either order will do. ``at_once``
    packs the block in one collective step. With ``padding``, which is so many elements
    between neighbouring rows, the tile has the order that memory has, or, if it
    ``turns`` what it packs, that of the side.

    With ``cut`` the side is cut into panels, which the tile holds one after the other,
    each in one piece: [panel · depth size + depth, side]. That takes a side whose
    positions are one run.

    With ``group`` so many positions of the depth, which is one run, lie next to each
    other: the tile is indexed [depth // group, side, depth % group]. An operand that
    ``fetches`` asks for rows of memory some time before they are packed. One that was
    packed before is read from the panels that are ``kept``. One that is wanted
    ``by_depth`` has that order in its tile, whichever it has in memory.
    """

    name: str
    kernel: Kernel
    value: Expression
    depth: Block
    side: Block
    lanes: int
    lanes_along_side: bool
    at_once: bool = False
    padding: int = 0
    turns: bool = False
    cut: Panels | None = None
    group: int = 1
    fetches: bool = False
    kept: KeptPanels | None = None
    by_depth: bool = False

    @property
    def panel(self) -> int:
        """How wide a panel is, if there are any."""
        return 0 if self.cut is None else self.cut.width

    @property
    def steps(self) -> int:
        """Steps of the depth that a block has, each of one group."""
        return self.depth.size(self.kernel) // self.group

    @property
    def panel_steps(self) -> int:
        """Steps from one panel to the next.

        One more than a panel has: panels a power of two apart would share few sets of
        a cache, and packing writes to all of them in turn.
        """
        return self.steps + 1 if self.kept is None else self.kept.steps

    @cached_property
    def only_load(self) -> Expression | None:
        """The load that the operand is made of, if its address says where it is."""
        loads = [e for e in walk_until({}, self.value) if isinstance(e, Load)]
        return loads[0] if len(loads) == 1 and loads[0].address.is_pure() else None

    @cached_property
    def depth_runs(self) -> tuple[Run, ...]:
        """Runs of axes along the depth, innermost first."""
        return runs_of(self.kernel, self.depth, self.value)

    @cached_property
    def side_runs(self) -> tuple[Run, ...]:
        """Runs of axes along the side, innermost first."""
        return runs_of(self.kernel, self.side, self.value)

    @cached_property
    def vector_run(self) -> Run:
        """The run to move whole vectors along: where memory is contiguous.

        If that is not where the tile is, vectors are scattered; gathers are slower.
        What depends on one axis only, as a scale of each channel does, is no reason.
        """

        def reads(run: Run) -> tuple[float, int]:
            width = min(run.extent, self.lanes)
            steps = strides_of(self.value, run.axes[-1])
            return sum(1 / width if step in (0, 1) else 1 for step in steps), -width

        return min(self.side_runs + self.depth_runs, key=reads)

    @property
    def is_by_depth(self) -> bool:
        """Whether the tile has the order of the depth, as memory has."""
        is_along_depth = self.vector_run in self.depth_runs or self.by_depth
        return is_along_depth and not self.lanes_along_side

    def tile(
        self, builder: Builder, side_size: int, space: Space = Space.SHARED
    ) -> Tile:
        """The tile for so many packed positions, indexed [depth, side]."""
        depth_size = self.depth.size(self.kernel)
        dtype = self.value.dtype
        line = CACHE_LINE_BYTES // dtype.itemsize
        shape: tuple[int, ...] = (depth_size, side_size)
        layout = Layout((odd_lines(side_size, line), 1))
        if self.padding and self.vector_run in self.depth_runs and not self.turns:
            layout = Layout((1, depth_size + self.padding))
        elif self.padding:
            layout = Layout((side_size + self.padding, 1))
        elif self.is_by_depth:
            layout = Layout((1, odd_lines(depth_size, line)))
        elif self.panel:
            steps = self.panel_steps * self.group
            shape = (steps * (side_size // self.panel), self.panel)
            layout = row_major(shape)
        if self.group > 1:
            shape, layout = self._in_groups(shape, layout)
        return builder.tile(self.name, shape, dtype, space, layout)

    def view(self, builder: Builder) -> Tile:
        """The tile that shows a block where it is."""
        if self.kept is not None:
            return self._panels_view(builder, self.kept)
        found = strides_in_place(self.kernel, self.depth, self.side, self.value)
        assert found is not None
        shape = (self.depth.size(self.kernel), self.side.size(self.kernel))
        dtype = self.value.dtype
        return builder.tile(self.name, shape, dtype, Space.GLOBAL, Layout(found))

    def _panels_view(self, builder: Builder, kept: KeptPanels) -> Tile:
        """The tile that shows all panels of a block of the depth, one after another."""
        panels = -(-self.kernel.axes[kept.axis] // kept.width)
        steps = (panels - 1) * kept.steps + self.depth.size(self.kernel)
        shape = (steps, kept.width)
        return builder.tile(self.name, shape, self.value.dtype, Space.GLOBAL)

    def viewed(
        self, tile: Tile, scope: Scope, depth: Placed, side: Placed
    ) -> Statement:
        """Show a block in that tile."""
        (depth_run,), (side_run,) = self.depth_runs, self.side_runs
        scope = at_run(scope, depth_run, depth, ZERO)
        if self.kept is not None:
            return View(tile, self.value.slot, scope.rewriter().form(self.kept.rest))
        scope = at_run(scope, side_run, side, ZERO)
        load = scope.value(self.value)
        assert isinstance(load, Load)
        return View(tile, load.slot, load.address)

    def _in_groups(
        self, shape: tuple[int, ...], layout: Layout
    ) -> tuple[tuple[int, ...], Layout]:
        """A tile's shape and layout with groups of its depth next to each other."""
        depth, side = shape
        by_depth, by_side = layout.strides
        strides = (by_depth * self.group, by_side * self.group, 1)
        if by_depth == 1:
            strides = (self.group, by_side, 1)
        return (depth // self.group, side, self.group), Layout(strides)


def pack(
    operand: Operand, scope: Scope, depth: Placed, side: Placed, tile: Tile
) -> list[Statement]:
    """Write a block of the operand into its tile."""
    return _Packing(operand, depth, side, tile).run(scope)


def clear_overhang(
    operand: Operand, scope: Scope, side: Placed, tile: Tile
) -> list[Statement]:
    """Zero the positions of a tile beyond its block, which packing never writes.

    Micro-tiles multiply them too. Whatever memory held there might be a subnormal
    number, and those take a processor a hundred times as long. What instructions
    multiply in groups has none, or they count as zero.
    """
    if operand.panel or operand.group > 1:
        return []
    kernel, block, lanes = operand.kernel, side.block, operand.lanes
    statements = _zeros(scope.builder, tile, block.size(kernel), lanes)
    if block.is_ragged(kernel):
        is_short = side.start.shift(block.chunk - 1 - kernel.axes[block.chunked])
        everywhere = _zeros(scope.builder, tile, 0, lanes)
        statements.append(When((is_short,), tuple(everywhere)))
    return statements


def _zeros(builder: Builder, tile: Tile, start: int, lanes: int) -> list[Statement]:
    """Zeros at all positions of a tile's side from one on."""
    depth, side = tile.shape[0], tile.shape[1] - start
    along_side = tile.layout.strides[1] == 1
    outer, inner = (depth, side) if along_side else (side, depth)

    def zeros(row: Affine, first: Affine, count: int) -> Statement:
        lane = builder.axis(count)
        place = (row, first + axis_form(lane))
        indices = place if along_side else place[::-1]
        indices = (indices[0], indices[1].shift(start))
        return Map(((lane, count),), tile, indices, literal(0, tile.dtype))

    def row(number: Affine) -> list[Statement]:
        whole, rest = divmod(inner, lanes)
        statements = loop(
            builder, whole, lambda step: [zeros(number, step.scale(lanes), lanes)]
        )
        if rest:
            statements.append(zeros(number, Affine(whole * lanes), rest))
        return statements

    return loop(builder, outer, row) if inner else []


@frozen
class _Position:
    """Where the loops of a packing stand.

    Flat indices into the tile (of the depth by groups, then ``within`` a group), the
    panel, and a guard for the operand's elements to exist; where it fails the tile
    holds zeros.
    """

    depth: Affine = ZERO
    side: Affine = ZERO
    guard: Guard = ()
    panel: Affine | None = None
    within: Affine = ZERO


@frozen
class _Packing:
    operand: Operand
    depth: Placed
    side: Placed
    tile: Tile

    def run(self, scope: Scope) -> list[Statement]:
        """Loops over all runs of the block, vectors along the best one."""
        vector = self.operand.vector_run
        runs = [
            run
            for run in self.operand.depth_runs + self.operand.side_runs
            if run is not vector
        ]
        # Walk memory in order: large steps outside.
        runs.sort(key=self._step, reverse=True)
        return self._loops(runs, scope, _Position())

    def _step(self, run: Run) -> int:
        steps = strides_of(self.operand.value, run.axes[-1])
        return max((abs(step) for step in steps), default=0)

    def _loops(
        self, runs: Sequence[Run], scope: Scope, position: _Position
    ) -> list[Statement]:
        vector = self.operand.vector_run
        run, *others = runs or (vector,)
        if self._is_cut(run) and position.panel is None:
            return self._panels(runs, scope, position)
        if not runs:
            return self._strips(vector, scope, position, self._store)
        if self._is_turned and self._is_cut(run):
            return self._strips(
                run, scope, position, lambda *place: self._loops(others, *place)
            )

        def step(offset: Affine) -> list[Statement]:
            statements = self._loops(others, *self._bind(run, offset, scope, position))
            return self._fetches(run, others, offset, scope, position) + statements

        count = self._steps(run, position)
        if not self.operand.at_once:
            return loop(scope.builder, count, step, unroll=True)
        axis = scope.builder.axis(count)
        wider = scope.with_collective((axis, count))
        return self._loops(others, *self._bind(run, axis_form(axis), wider, position))

    def _fetches(
        self,
        run: Run,
        others: Sequence[Run],
        offset: Affine,
        scope: Scope,
        position: _Position,
    ) -> list[Statement]:
        """Ask for a row that is packed soon, where memory runs along the side.

        Rows are short pieces of memory on pages of their own, which a processor does
        not fetch ahead by itself.
        """
        load, vector = self.operand.only_load, self.operand.vector_run
        is_row = not others and run in self.operand.depth_runs
        is_row = is_row and vector in self.operand.side_runs
        if load is None or not is_row or not self.operand.fetches:
            return []
        ahead = offset.shift(max(1, ROWS_AHEAD // self.operand.group))
        scope, position = self._bind(run, ahead, scope, position)
        scope, _ = self._bind(vector, ZERO, scope, position)
        first = {axis: ZERO for axis, _ in scope.collective}
        address = scope.rewriter().form(load.address)
        count = self._count(vector, position)
        within = position.within.axes()
        return [
            Fetch(
                load.slot,
                address.substitute(first | dict.fromkeys(within, Affine(place))),
                count,
            )
            for place in range(self.operand.group)
        ]

    def _is_cut(self, run: Run) -> bool:
        """Whether a run is walked in panels."""
        return bool(self.operand.panel) and self._placed(run) is self.side

    @property
    def _is_turned(self) -> bool:
        """Whether vectors of memory lie across the tile: squares of both are moved."""
        along_depth = self.operand.vector_run in self.operand.depth_runs
        return along_depth and not self.operand.is_by_depth

    def _panels(
        self, runs: Sequence[Run], scope: Scope, position: _Position
    ) -> list[Statement]:
        """A loop over the panels of the side."""
        cut = self.operand.cut
        assert cut is not None
        window = self.side.window or Window(ZERO, cut.count)

        def panel(number: Affine) -> list[Statement]:
            statements = self._loops(runs, scope, replace(position, panel=number))
            exists = (window.first + number).scale(-1).shift(cut.count - 1)
            if scope.builder.always(exists):
                return statements
            return [When((exists,), tuple(statements))]

        return loop(scope.builder, window.panels, panel)

    def _strips(
        self,
        run: Run,
        scope: Scope,
        position: _Position,
        body: Callable[[Scope, _Position], list[Statement]],
    ) -> list[Statement]:
        """Vectors along one run: a strip gives the offset, then the run is bound."""
        axis = run.axes[-1]
        count = self._steps(run, position)
        lanes = self.operand.lanes
        if self._is_turned or self._is_grouped(run):
            lanes //= self.operand.group
        if self._is_turned:
            lanes = min(lanes, WIDEST_TURNED)
        if self.operand.group > 1 and self._is_cut(run):
            # Whole vectors of a panel: rows that are woven together have no rest.
            lanes = min(lanes, count & -count)
        strip = fitting_strip(axis, count, lanes, 1 if self._is_turned else MOST_MOVED)
        if self._is_cut(run) and count < lanes:
            strip = Strip(axis, count)

        def one(inner: Scope) -> list[Statement]:
            return body(*self._bind(run, inner.forms[axis], inner, position))

        return strips(scope, strip, ZERO, count, one)

    def _start(self, run: Run, position: _Position) -> Affine:
        """The first position of a run to visit."""
        cut, window = self.operand.cut, self.side.window
        if cut is None or not self._is_cut(run):
            return ZERO
        first = ZERO if window is None else window.first
        return cut.start(first + (position.panel or ZERO))

    def _count(self, run: Run, position: _Position) -> int:
        """How many positions of a run to visit."""
        cut, window = self.operand.cut, self.side.window
        if cut is None or not self._is_cut(run):
            return run.extent
        if position.panel is not None:
            return cut.width
        return run.extent if window is None else window.panels * cut.width

    def _is_grouped(self, run: Run) -> bool:
        """Whether a run is walked a group at a time."""
        return self.operand.group > 1 and run in self.operand.depth_runs

    def _steps(self, run: Run, position: _Position) -> int:
        """How many positions of a run to visit, or groups of them."""
        count = self._count(run, position)
        return count // self.operand.group if self._is_grouped(run) else count

    def _placed(self, run: Run) -> Placed:
        along_depth = run.axes[-1] in self.operand.depth.axes
        return self.depth if along_depth else self.side

    def _flat(self, run: Run, offset: Affine, position: _Position) -> Affine:
        """The position in the kernel of an offset into what is visited of a run."""
        placed = self._placed(run)
        flat = offset + self._start(run, position)
        if run.is_chunked:
            flat = flat + placed.start.scale(run.extent // placed.block.chunk)
        return flat

    def _bind(
        self, run: Run, offset: Affine, scope: Scope, position: _Position
    ) -> tuple[Scope, _Position]:
        """Move along a run: the form of its axes, its place in the tile, its guard."""
        step = offset.scale(run.stride)
        if self._is_grouped(run):
            group = self.operand.group
            within = scope.builder.axis(group)
            scope = scope.with_collective((within, group))
            position = replace(position, within=axis_form(within))
            offset = offset.scale(group) + axis_form(within)
        flat = self._flat(run, offset, position)
        for axis in run.axes[:-1]:
            scope = scope.bind(axis, ZERO)
        scope = scope.bind(run.axes[-1], flat)
        exists = flat.scale(-1).shift(run.size - 1)
        if self._placed(run) is self.side:
            position = replace(position, side=position.side + step)
            if not self.operand.panel:
                return scope.with_guard(exists), position
        else:
            position = replace(position, depth=position.depth + step)
        if not scope.builder.always(exists):
            position = replace(position, guard=(*position.guard, exists))
        return scope, position

    def _store(self, scope: Scope, position: _Position) -> list[Statement]:
        """Move some vectors; where elements might not exist, ask for all at once."""
        if not position.guard or self.operand.at_once:
            return [self._move(scope, position)]
        last = {axis: Affine(extent - 1) for axis, extent in scope.collective}
        whole = tuple(form.substitute(last) for form in position.guard)
        if any(scope.builder.never(form) for form in whole):
            return [self._move(scope, position)]
        moved = self._move(scope, replace(position, guard=()))
        return [When(whole, (moved,), (self._move(scope, position),))]

    def _move(self, scope: Scope, position: _Position) -> Statement:
        """Vectors into the tile, zero where elements do not exist."""
        needed = position.guard
        value = scope.with_guard(*needed).value(self.operand.value)
        value = cast(value, self.tile.dtype)
        if needed:
            value = Select(needed, value, literal(0, self.tile.dtype))
        depth = position.depth
        if position.panel is not None and not self.operand.is_by_depth:
            into = self.side.window.into if self.side.window is not None else ZERO
            depth = depth + (position.panel + into).scale(self.operand.panel_steps)
        indices: tuple[Affine, ...] = (depth, position.side)
        if self.operand.group > 1:
            indices = (*indices, position.within)
        return Map(scope.collective, self.tile, indices, value, scope.guard)


def flat_stride(kernel: Kernel, block: Block, axis: int) -> int:
    """How far one step of an axis moves the flat index of a block."""
    stride = 1
    for other in reversed((block.chunked, *block.inner)):
        if other == axis:
            return stride
        stride *= kernel.axes[other]
    raise AssertionError(f"axis {axis} is not in {block}")
