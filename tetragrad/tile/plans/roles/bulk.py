"""Operands that lie in memory as a bulk copy engine can bring them.

Such an operand is a load of a tensor with few dimensions: one of them contiguous, the
others whole multiples of 16 bytes apart. The engine takes a box of it, writes zeros
where the box overhangs an edge, and swizzles what it writes.

Which tensor that is follows from the load's address and guards. What is guarded at
both ends by forms along which the address moves is one dimension, and the engine's
zeros are those of the guard:

    x[56*(a + i - 1) + b + j - 1]   if 0 <= a + i - 1 < 56 and 0 <= b + j - 1 < 56
      ->  dimensions b + j - 1 < 56 (stride 1), a + i - 1 < 56 (stride 56)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, Guard, Load, Select
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Channel, Copy, Dimension, Extent, Space, Tile, box_copy
from tetragrad.tile.layout import panel_of, swizzled
from tetragrad.tile.plans.roles.cells import Cells, flat_position
from tetragrad.tile.plans.roles.factors import is_zero
from tetragrad.tile.plans.scope import Builder

#: What distances in memory must be a multiple of, how many dimensions a tensor may
#: have, how far apart the positions of a box may be, and how far it may reach.
ALIGNMENT_BYTES = 16
MOST_DIMENSIONS = 5
LARGEST_STEP = 8
LARGEST_REACH = 256


@frozen
class RoleOperand:
    """One operand of a product, as the matrix unit reads it from shared memory.

    Axes are in the order of memory, nearest first; ``contiguous`` is the one whose
    neighbours are next to one another.
    """

    load: Expression
    side: tuple[int, ...]
    depth: tuple[int, ...]
    contiguous: int

    @property
    def dtype(self) -> DType:
        return self.load.dtype

    @property
    def is_deep(self) -> bool:
        """Whether neighbours along the depth are next to one another."""
        return self.contiguous in self.depth

    @property
    def side_step(self) -> int:
        """What the side of a tile must be a multiple of."""
        return 8 if self.is_deep else panel_of(self.dtype)

    def tile(self, builder: Builder, name: str, depth: int, side: int) -> Tile:
        """The shared tile of a step, indexed [depth, side]."""
        contiguous = 0 if self.is_deep else 1
        layout = swizzled((depth, side), contiguous, self.dtype)
        return builder.tile(name, (depth, side), self.dtype, Space.SHARED, layout)


@frozen
class BulkOperand(RoleOperand):
    """A tensor over the axes of a side and the depth, of which boxes are brought.

    The dimensions' indices are over the kernel's axes.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def pitches(self) -> list[int]:
        """Bytes from one position to the next, of all dimensions but the first."""
        return [entry.stride * self.dtype.itemsize for entry in self.dimensions[1:]]

    @property
    def nbytes(self) -> int:
        """The bytes of the tensor."""
        count = math.prod(dimension.size for dimension in self.dimensions)
        return count * self.dtype.itemsize

    def has_plain(self, axis: int) -> bool:
        """Whether the axis is a dimension by itself, so that beyond it all is zero."""
        return any(entry.index == axis_form(axis) for entry in self.dimensions)

    def takes(self, cells: Cells) -> bool:
        """Whether boxes of these cells are boxes of the tensor, panels inside."""
        moving = {
            axis: chunk
            for axis, chunk in zip(cells.axes, cells.chunks, strict=True)
            if chunk > 1
        }
        if self.contiguous in cells.axes:
            # Rows of panels lie along one dimension.
            whole = set(moving) <= {self.contiguous}
            return whole and cells.extent % panel_of(self.dtype) == 0
        return all(is_box(entry.index, moving) for entry in self.dimensions)

    def copy(
        self,
        builder: Builder,
        tile: Tile,
        channel: Channel,
        starts: Mapping[int, Affine],
        cells: tuple[Cells, Cells],
        number: int,
    ) -> Copy:
        """Bring cell ``number`` of a block's side, for one cell of the depth.

        ``starts`` says where each kernel axis stands at the first position.
        """
        places, flat = dict(starts), []
        extents: list[Extent] = []
        for entry in cells:
            digits = []
            for axis, chunk in zip(entry.axes, entry.chunks, strict=True):
                digits.append(ZERO)
                if chunk > 1:
                    extents += builder.axes((chunk,))
                    digits[-1] = axis_form(extents[-1][0])
                places[axis] = starts[axis] + digits[-1]
            flat.append(flat_position(entry.chunks, digits))
        depth, side = flat
        indices = (depth, side.shift(number * cells[1].extent))
        dimensions = tuple(
            Dimension(entry.index.substitute(places), entry.size, entry.stride)
            for entry in self.in_order(cells)
        )
        origin = self.load.address.constant - sum(
            entry.index.constant * entry.stride for entry in self.dimensions
        )
        return box_copy(
            tuple(extents),
            tile,
            indices,
            self.load.slot,
            origin,
            dimensions,
            channel,
        )

    def in_order(self, cells: tuple[Cells, Cells]) -> list[Dimension]:
        """The dimensions as a tile has them: contiguous, others of the box, rest."""
        order = [self.contiguous]
        for entry in cells:
            pairs = zip(entry.axes, entry.chunks, strict=True)
            order += [axis for axis, chunk in pairs if chunk > 1 and axis not in order]

        def place(dimension: Dimension) -> int:
            axes = dimension.index.axes()
            found = [number for number, axis in enumerate(order) if axis in axes]
            return min(found, default=len(order))

        return sorted(self.dimensions, key=place)


def is_box(index: Affine, moving: Mapping[int, int]) -> bool:
    """Whether an index moves along one of the axes at most, in steps of a few."""
    found = [(axis, step) for axis, step in index.terms if axis in moving]
    if len(found) > 1:
        return False
    return all(
        1 <= step <= LARGEST_STEP and (moving[axis] - 1) * step < LARGEST_REACH
        for axis, step in found
    )


# --- which tensor an operand is ------------------------------------------------------


def bulk_operand(
    kernel: Kernel, value: Expression, side: Sequence[int], depth: Sequence[int]
) -> BulkOperand | None:
    """The operand, if it is a load that the engine can do, widened or not."""
    load = plain_load(value)
    found = None if load is None else boxed_load(kernel, load, side, depth)
    if found is not None and found.dtype.itemsize != 2 and not found.is_deep:
        # The matrix unit turns around 16-bit operands only.
        return None
    return found


def boxed_load(
    kernel: Kernel, load: Expression, side: Sequence[int], depth: Sequence[int]
) -> BulkOperand | None:
    """A load that the engine can do, in whatever order it lies."""
    dimensions = dimensions_of(load.address, load.guard, kernel.axes)
    if dimensions is None or not 2 <= len(dimensions) <= MOST_DIMENSIONS:
        return None
    dimensions = sorted(dimensions, key=lambda entry: entry.stride)
    contiguous = _contiguous_axis(dimensions[0], kernel, {*side, *depth})
    length = 0 if contiguous is None else kernel.axes[contiguous]
    if contiguous is None or not _is_aligned(load, dimensions, length):
        return None

    def near(axis: int) -> int:
        return abs(load.address.coefficient(axis))

    return BulkOperand(
        load,
        tuple(sorted(side, key=near)),
        tuple(sorted(depth, key=near)),
        contiguous,
        tuple(dimensions),
    )


def plain_load(value: Expression) -> Expression | None:
    """The load that a value is, widened or not, with zeros outside its guard."""
    guard: Guard = ()
    while True:
        if isinstance(value, Compute) and value.op is Cast:
            (value,) = value.inputs
        elif isinstance(value, Select) and is_zero(value.outside):
            guard, value = (*guard, *value.guard), value.inside
        else:
            break
    is_guarded_alike = isinstance(value, Load) and set(guard) <= set(value.guard)
    return value if is_guarded_alike else None


def dimensions_of(
    address: Affine, guard: Guard, sizes: Sequence[int]
) -> list[Dimension] | None:
    """The tensor that an address walks through, if every index is its own dimension."""
    if not address.is_pure() or not all(form.is_pure() for form in guard):
        return None
    free = dict(address.terms)
    found = []
    by_axes: dict[frozenset[int], list[Affine]] = {}
    for form in guard:
        by_axes.setdefault(frozenset(form.axes()), []).append(form)
    for axes, forms in by_axes.items():
        dimension = _guarded_dimension(address, forms, sizes)
        if dimension is None or not axes <= free.keys():
            return None
        free = {axis: step for axis, step in free.items() if axis not in axes}
        found.append(dimension)
    for axis, step in free.items():
        index = axis_form(axis)
        if step < 0:
            index = index.scale(-1).shift(sizes[axis] - 1)
        found.append(Dimension(index, sizes[axis], abs(step)))
    return found


def _guarded_dimension(
    address: Affine, forms: Sequence[Affine], sizes: Sequence[int]
) -> Dimension | None:
    """The dimension whose index the forms limit, if the address moves along it."""
    first = forms[0]
    steps = {address.coefficient(axis) * 1.0 / part for axis, part in first.terms}
    if len(steps) != 1:
        return None
    stride = int(abs(steps.pop()))
    if not stride or any(address.coefficient(axis) % stride for axis in first.axes()):
        return None
    index = Affine(
        0, tuple((axis, address.coefficient(axis) // stride) for axis, _ in first.terms)
    )
    low, high = index.range(sizes)
    for form in forms:
        if form.terms == index.terms:
            low = max(low, -form.constant)
        elif form.terms == index.scale(-1).terms:
            high = min(high, form.constant)
        else:
            return None
    if high < low:
        return None
    return Dimension(index.shift(-low), high - low + 1, stride)


def _contiguous_axis(
    dimension: Dimension, kernel: Kernel, axes: set[int]
) -> int | None:
    """The longest of the axes that walk through neighbours in memory."""
    if dimension.stride != 1:
        return None
    found = [axis for axis, step in dimension.index.terms if step == 1 and axis in axes]
    return max(found, key=lambda axis: kernel.axes[axis], default=None)


def _is_aligned(load: Expression, dimensions: Sequence[Dimension], length: int) -> bool:
    """Whether the engine can find every row of the tensor, and begin boxes there.

    A window that moves along neighbours begins between whole chunks: on an H200 such
    boxes ended in an illegal instruction. Parts of a row, of some ``length``, may begin
    at whole chunks.
    """
    unit = ALIGNMENT_BYTES // load.dtype.itemsize
    nearest = dimensions[0].index
    _, *moving = sorted(abs(step) for _, step in nearest.terms)
    if nearest.constant % unit or any(step % unit or step < length for step in moving):
        return False
    origin = load.address.constant - sum(
        entry.index.constant * entry.stride for entry in dimensions
    )
    strides = [entry.stride for entry in dimensions[1:]]
    return min(strides) > 0 and all(step % unit == 0 for step in (origin, *strides))
