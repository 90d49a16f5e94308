"""Lines of numbers that the copy engine brings: one for each key, for rows to share.

The gradients of keys and values take the statistics of queries, which are the keys of
that pass. Every thread needs those of a quarter of a block's; loaded from memory they
would come late, or take registers for long.
"""

from __future__ import annotations

from collections.abc import Mapping

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Channel, Copy, Dimension, Space, Tile, box_copy, row_major
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.roles.bulk import ALIGNMENT_BYTES, dimensions_of
from tetragrad.tile.plans.scope import Builder


@frozen
class Line:
    """A load of neighbours along an axis, and the tensor that it is an element of."""

    load: Expression
    dimensions: tuple[Dimension, ...]
    axis: int

    @property
    def step(self) -> int:
        """What the length of a tile must be a multiple of."""
        return panel_of(self.load.dtype)

    def tile(self, builder: Builder, length: int) -> Tile:
        layout, dtype = row_major((length,)), self.load.dtype
        return builder.tile("line", (length,), dtype, Space.SHARED, layout)

    def copy(
        self,
        builder: Builder,
        tile: Tile,
        channel: Channel,
        starts: Mapping[int, Affine],
    ) -> Copy:
        """Fill a tile from where each axis of the kernel stands."""
        (length,) = tile.shape
        along = (builder.axis(length), length)
        place = axis_form(along[0])
        places = {**starts, self.axis: starts[self.axis] + place}
        dimensions = tuple(
            Dimension(entry.index.substitute(places), entry.size, entry.stride)
            for entry in self.dimensions
        )
        origin = self.load.address.constant - sum(
            entry.index.constant * entry.stride for entry in self.dimensions
        )
        slot = self.load.slot
        return box_copy((along,), tile, (place,), slot, origin, dimensions, channel)


def line_of(kernel: Kernel, load: Expression, axis: int) -> Line | None:
    """The line that a load is along an axis, if the engine can bring it."""
    dimensions = dimensions_of(load.address, load.guard, kernel.axes)
    if not dimensions:
        return None
    nearest, *others = sorted(dimensions, key=lambda entry: entry.stride)
    unit = ALIGNMENT_BYTES // load.dtype.itemsize
    is_even = all(entry.stride % unit == 0 for entry in others)
    if nearest.index != axis_form(axis) or nearest.stride != 1 or not is_even:
        return None
    if load.address.constant % unit:
        return None
    return Line(load, (nearest, *others), axis)
