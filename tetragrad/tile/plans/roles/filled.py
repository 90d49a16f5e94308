"""Operands of a product that threads compute into shared memory, step by step.

Not every operand lies in memory as the bulk copy engine can bring it, or is in memory
at all. Rows may begin anywhere, pixels may have three channels, weights may be stored
in fewer bits than they are multiplied in:

    y[m, n] = Σ_k x[m, k] * (bfloat16(w[n, k]) * scale[n])

A role of its own computes such a factor where the matrix unit reads it. What there is
no box of is loaded element by element; a load that the engine can bring arrives through
a channel, *narrow* as it is in memory, and nothing wide is ever stored in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Literal,
    Load,
    Scalar,
    Select,
    literal,
    walk,
)
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Dimension, Extent, Layout, Map, Space, Tile, TileLoad
from tetragrad.tile.layout import CHUNK_BYTES, panel_of, swizzled
from tetragrad.tile.plans.roles.bulk import (
    BulkOperand,
    RoleOperand,
    boxed_load,
    is_box,
)
from tetragrad.tile.plans.roles.cells import (
    Cells,
    digits_of,
    flat_position,
    join_digits,
    split_radices,
)
from tetragrad.tile.plans.roles.factors import is_zero
from tetragrad.tile.plans.scope import Builder, Scope, indices_of
from tetragrad.tile.plans.traffic import operation_cost, points_in

#: Bytes of rows that fragments are read from without conflicts of banks.
HELD_BYTES = (64, 128)
#: Sides below this would leave most of a panel of neighbours unused.
ENOUGH_NEIGHBOURS = 64


@frozen
class Filling:
    """Where a step of an operand is: cells of its depth and side, and its block.

    The depth begins at ``starts``; ``block`` is the first number, of so many.
    """

    batch: Mapping[int, Affine]
    starts: Mapping[int, Affine]
    cells: tuple[Cells, Cells]
    block: tuple[Affine, int]

    def bound(
        self, scope: Scope, deep: Sequence[Affine], across: Sequence[Affine]
    ) -> tuple[Scope, Guard]:
        """The kernel's axes at some digits, and what holds inside the depth."""
        depth, side = self.cells
        places = {
            axis: self.starts[axis] + digit
            for axis, digit in zip(depth.axes, deep, strict=False)
        }
        beside = side.positions(self.block[0], across, self.block[1])
        for axis, form in {**self.batch, **places, **beside}.items():
            scope = scope.bind(axis, form)
        ends = depth.ends(places)
        inside = scope.with_guard(*ends).guard
        return scope.with_guard(*ends, *side.ends(beside)), inside


@frozen
class FilledOperand(RoleOperand):
    """A value for each position of a side and the depth, which threads compute.

    ``load`` is what it is made of above all; ``narrow`` is that as the copy engine
    brings it.
    """

    value: Expression
    narrow: BulkOperand | None
    nbytes: int

    #: No dimension of a tensor in memory limits the boxes, and no pitch.
    dimensions: tuple[Dimension, ...] = ()
    pitches: tuple[int, ...] = ()

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    def has_plain(self, axis: int) -> bool:
        """Beyond every axis there are zeros."""
        return True

    def takes(self, cells: Cells) -> bool:
        """Any position can be computed."""
        return True

    @property
    def operations(self) -> float:
        """Operations on every element; on narrow ones several are one instruction."""
        return sum(
            operation_cost(entry) * min(1.0, entry.dtype.itemsize / 4)
            for entry in walk(self.value)
            if isinstance(entry, Compute) and self.load.free_axes <= entry.free_axes
        )

    @property
    def load_width(self) -> int:
        """Neighbours that one instruction loads."""
        address, width = self.load.address, CHUNK_BYTES // self.dtype.itemsize
        others = [step for axis, step in address.terms if axis != self.contiguous]
        if address.coefficient(self.contiguous) != 1:
            return 1
        return math.gcd(width, address.constant, *others)

    # --- what the copy engine brings -------------------------------------------------

    def brings(self, cells: tuple[Cells, Cells]) -> bool:
        """Whether the narrow load is brought in boxes of these cells."""
        if self.narrow is None:
            return False
        near = next(entry for entry in cells if self.narrow.contiguous in entry.axes)
        moving = {
            axis: chunk
            for entry in cells
            for axis, chunk in zip(entry.axes, entry.chunks, strict=True)
            if chunk > 1
        }
        nbytes = near.extent * self.narrow.dtype.itemsize
        is_row = near.moving == {self.narrow.contiguous} and nbytes % CHUNK_BYTES == 0
        along = [
            len(entry.index.axes() & moving.keys()) for entry in self.narrow.dimensions
        ]
        return (
            is_row
            and near.extent <= panel_of(self.narrow.dtype)
            and max(along) <= 1
            and moving.keys() <= set().union(*map(_axes_of, self.narrow.dimensions))
            and all(is_box(entry.index, moving) for entry in self.narrow.dimensions)
        )

    def narrow_tile(
        self, builder: Builder, name: str, depth: int, side: int, *, is_held: bool
    ) -> Tile:
        """The shared tile of what is brought for a step, in plain rows.

        Fragments are read down a column of it, so that its rows are swizzled for them.
        """
        assert self.narrow is not None
        dtype, shape = self.narrow.dtype, (depth, side)
        layout = Layout((1, depth) if self.narrow.is_deep else (side, 1))
        if is_held:
            layout = swizzled(shape, 0, dtype, depth * dtype.itemsize)
        return builder.tile(name, shape, dtype, Space.SHARED, layout)

    def can_be_held(self, cells: tuple[Cells, Cells]) -> bool:
        """Whether the matrix unit can take it from registers, made of what is brought.

        A register has two neighbours along the depth.
        """
        if self.narrow is None or not self.narrow.is_deep or not self.brings(cells):
            return False
        nbytes = cells[0].extent * self.narrow.dtype.itemsize
        return self.dtype.itemsize == 2 and nbytes in HELD_BYTES

    # --- what threads compute --------------------------------------------------------

    def fill(
        self, builder: Builder, tile: Tile, narrow: Tile | None, step: Filling
    ) -> Map:
        """Compute the tile of a step, zeros beyond the edges."""
        deep, across = (_Digits.of(builder, cells) for cells in step.cells)
        order = self._in_lanes(deep, across)
        scope = Scope(builder).with_collective(*order)
        scope, _ = step.bound(scope, deep.digits, across.digits)
        indices = (deep.flat, across.flat)
        if narrow is not None:
            scope = self._with_narrow(scope, narrow, indices)
        return Map(order, tile, indices, self._within(scope, scope.guard))

    def hold(
        self, builder: Builder, held: Tile, narrow: Tile, step: Filling, member: Affine
    ) -> Map:
        """Compute a member's rows of a step in registers, from what was brought.

        Rows beyond the edge are never stored, so that they may hold anything.
        """
        (depth, side), (steps, rows) = step.cells, held.shape
        extents = builder.axes((rows, steps))
        row, place = indices_of(extents)
        pairs = split_radices(side.radices, rows)
        assert pairs is not None, "whole digits"
        inner = digits_of(row, [size for size, _ in pairs], rows)
        across = join_digits(pairs, inner, member)
        deep = digits_of(place, depth.chunks, steps)
        scope = Scope(builder).with_collective(*extents)
        scope, inside = step.bound(scope, deep, across)
        scope = self._with_narrow(scope, narrow, (place, member.scale(rows) + row))
        return Map(extents, held, (place, row), self._within(scope, inside))

    def _with_narrow(
        self, scope: Scope, narrow: Tile, indices: tuple[Affine, Affine]
    ) -> Scope:
        """The scope in which what was brought is where it lies."""
        assert self.narrow is not None
        return scope.with_values({self.narrow.load: TileLoad(narrow, indices)})

    def _within(self, scope: Scope, guard: Guard) -> Expression:
        """The value at a place, or zero."""
        value = scope.value(self.value)
        return Select(guard, value, literal(0, value.dtype)) if guard else value

    def _in_lanes(self, deep: _Digits, across: _Digits) -> tuple[Extent, ...]:
        """The collective axes: what a thread has neighbours of comes last.

        Of the others those come late along which memory is near: neighbouring threads
        go along these.
        """
        pairs = [
            (self.step(axis), extent)
            for digits in (deep, across)
            for axis, extent in digits.extents
        ]
        _, mine = (deep if self.is_deep else across).extents[0]
        others = sorted(pairs, key=lambda pair: -pair[0])
        return (*(extent for _, extent in others if extent != mine), mine)

    def step(self, axis: int) -> int:
        """How far an axis moves through memory."""
        return abs(self.load.address.coefficient(axis))

    def lane_steps(self, depth: Cells, side: Cells) -> tuple[int, int]:
        """How far memory moves from a thread's neighbour to the next, and from thread
        to thread."""
        both = [
            [
                axis
                for axis, chunk in zip(entry.axes, entry.chunks, strict=True)
                if chunk > 1
            ]
            for entry in (depth, side)
        ]
        near, far = both if self.is_deep else both[::-1]
        mine, *rest = near or [self.contiguous]
        others = [self.step(axis) for axis in (*rest, *far)]
        return self.step(mine), min(others, default=0)


@frozen
class _Digits:
    """Positions in a cell or a block: their digits, the collective axes that these are,
    each with the axis of the kernel that it counts, and their number."""

    extents: tuple[tuple[int, Extent], ...]
    digits: tuple[Affine, ...]
    flat: Affine

    @classmethod
    def of(cls, builder: Builder, cells: Cells) -> _Digits:
        extents: list[tuple[int, Extent]] = []
        digits = []
        for axis, size in zip(
            (*cells.axes, cells.axes[-1]), cells.radices, strict=True
        ):
            digits.append(ZERO)
            if size > 1:
                extents.append((axis, (builder.axis(size), size)))
                digits[-1] = axis_form(extents[-1][1][0])
        flat = flat_position(cells.radices, digits)
        return cls(tuple(extents), tuple(digits), flat)


def _axes_of(dimension: Dimension) -> set[int]:
    return dimension.index.axes()


# --- which operands can be computed ---------------------------------------------------


def levels_of(value: Expression) -> dict[DType, Expression]:
    """What a factor is before it was made wider, by dtype, itself first."""
    found = {value.dtype: value}
    while (inner := _narrower(value)) is not None:
        value = inner
        found[value.dtype] = value
    return found


def _narrower(value: Expression) -> Expression | None:
    """The value that a factor was widened from, with the same zeros outside."""
    if isinstance(value, Select) and is_zero(value.outside):
        inner = _narrower(value.inside)
        if inner is None:
            return None
        return Select(value.guard, inner, literal(0, inner.dtype))
    if not isinstance(value, Compute) or value.op is not Cast:
        return None
    (inner,) = value.inputs
    alike = inner.dtype.is_floating_point is value.dtype.is_floating_point
    is_wider = alike and inner.dtype.itemsize < value.dtype.itemsize
    return inner if is_wider and not inner.dtype.is_bool else None


def filled_operand(
    kernel: Kernel, value: Expression, side: Sequence[int], depth: Sequence[int]
) -> FilledOperand | None:
    """The operand as threads compute it, if it is made of loads element by element."""
    entries = walk(value)
    loads = [entry for entry in entries if isinstance(entry, Load)]
    is_plain = all(
        isinstance(entry, Load | Compute | Select | Literal | Scalar)
        for entry in entries
    )
    if not loads or not is_plain:
        return None
    axes = {*side, *depth}
    load = max(loads, key=lambda entry: points_in(kernel, entry.free_axes & axes))
    if not load.address.is_pure():
        return None

    sides, depths = _in_order(load, side), _in_order(load, depth)
    contiguous = depths[0]
    steps = [abs(load.address.coefficient(axes[0])) for axes in (sides, depths)]
    is_flat = 0 < steps[0] < steps[1] or not steps[1]
    is_wide = points_in(kernel, sides) >= ENOUGH_NEIGHBOURS
    if is_flat and is_wide and value.dtype.itemsize == 2:
        contiguous = sides[0]
    narrow = None
    if value is not load:
        narrow = boxed_load(kernel, load, side, depth)
    if narrow is not None and set(narrow.side) | set(narrow.depth) != axes:
        narrow = None
    nbytes = _bytes(kernel, loads)
    return FilledOperand(load, sides, depths, contiguous, value, narrow, nbytes)


def _in_order(load: Expression, axes: Sequence[int]) -> tuple[int, ...]:
    """Axes in the order of memory; the load is the same along those after the first.

    What was brought for one position of such an axis is still near for the next.
    """

    def near(axis: int) -> int:
        return abs(load.address.coefficient(axis))

    first, *others = sorted(filter(near, axes), key=near) or [axes[0]]
    still = [axis for axis in axes if not near(axis) and axis != first]
    return (first, *still, *others)


def _bytes(kernel: Kernel, loads: Sequence[Expression]) -> int:
    """The bytes that all loads read, each once."""
    return sum(
        min(points_in(kernel, load.free_axes), kernel.slots[load.slot].numel)
        * load.dtype.itemsize
        for load in dict.fromkeys(loads)
    )
