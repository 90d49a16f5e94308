"""An operand of a contraction: its values, its blocks, and the tile that holds one.

How an operand is walked follows from its addresses: neighbouring axes along which it
moves evenly are one *run*, and vectors go along the run that memory has in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Layout, Space, Statement, Tile, View, row_major
from tetragrad.tile.layout import CACHE_LINE_BYTES, odd_lines
from tetragrad.tile.plans.products.contraction import Block, Panels, strides_of
from tetragrad.tile.plans.products.kept import KeptPanels, converted_load
from tetragrad.tile.plans.scope import Builder, Scope


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
    forms = [form for entry in walk(operand) for form in entry.forms]
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


def placed_along(axis: int, size: int, start: Affine) -> Placed:
    """So many positions of one axis."""
    return Placed(Block((axis,), 0, size), start)


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
        loads = [e for e in walk(self.value) if isinstance(e, Load)]
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
        load = converted_load(self.value)
        assert load is not None
        return builder.tile(self.name, shape, load.dtype, Space.GLOBAL)

    def viewed(
        self, tile: Tile, scope: Scope, depth: Placed, side: Placed
    ) -> Statement:
        """Show a block in that tile."""
        (depth_run,), (side_run,) = self.depth_runs, self.side_runs
        scope = at_run(scope, depth_run, depth, ZERO)
        if self.kept is not None:
            kept_load = converted_load(self.value)
            assert kept_load is not None
            return View(tile, kept_load.slot, scope.rewriter().form(self.kept.rest))
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


def flat_stride(kernel: Kernel, block: Block, axis: int) -> int:
    """How far one step of an axis moves the flat index of a block."""
    stride = 1
    for other in reversed((block.chunked, *block.inner)):
        if other == axis:
            return stride
        stride *= kernel.axes[other]
    raise AssertionError(f"axis {axis} is not in {block}")
