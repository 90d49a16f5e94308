"""Operands that lie in memory as a bulk copy engine can bring them.

Such an operand is a plain load of a tensor with few dimensions: one of them contiguous,
the others whole multiples of 16 bytes apart. The engine takes a box of it, writes zeros
where the box overhangs an edge, and swizzles what it writes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, Load
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import Channel, Copy, Dimension, Space, Tile, box_copy
from tetragrad.tile.layout import panel_of, swizzled
from tetragrad.tile.plans.scope import Builder

#: What distances in memory must be a multiple of, and how many a tensor may have.
ALIGNMENT_BYTES = 16
MOST_DIMENSIONS = 5


@frozen
class BulkOperand:
    """One operand of a product: a tensor over its side, the depth and batches."""

    load: Expression
    side: int
    depth: int
    batch: tuple[int, ...]

    @property
    def dtype(self) -> DType:
        return self.load.dtype

    def stride(self, axis: int) -> int:
        """How far one step of a kernel axis moves through memory."""
        return int(self.load.address.coefficient(axis))

    @property
    def is_deep(self) -> bool:
        """Whether neighbours along the depth are next to one another."""
        return self.stride(self.depth) == 1

    @property
    def side_step(self) -> int:
        """What the side of a tile must be a multiple of."""
        return 8 if self.is_deep else panel_of(self.dtype)

    def tile(self, builder: Builder, name: str, depth: int, side: int) -> Tile:
        """The shared tile of a step, indexed [depth, side]."""
        contiguous = 0 if self.is_deep else 1
        layout = swizzled((depth, side), contiguous, self.dtype)
        return builder.tile(name, (depth, side), self.dtype, Space.SHARED, layout)

    def copy(
        self,
        builder: Builder,
        tile: Tile,
        channel: Channel,
        starts: Mapping[int, Affine],
    ) -> Copy:
        """Bring the box that starts where each kernel axis stands."""
        depth, side = tile.shape
        extents = ((builder.axis(depth), depth), (builder.axis(side), side))
        places = dict(starts)
        for axis, (along, _) in zip((self.depth, self.side), extents, strict=True):
            places[axis] = starts[axis] + axis_form(along)
        sizes = builder.kernel.axes
        dimensions = tuple(
            Dimension(places[axis], sizes[axis], self.stride(axis))
            for axis in self.axes_in_order()
        )
        origin = self.load.address.constant
        return box_copy(extents, tile, self.load.slot, origin, dimensions, channel)

    def axes_in_order(self) -> list[int]:
        """Kernel axes that move through the tensor: contiguous, tile's other, batch."""
        inner = [self.depth, self.side] if self.is_deep else [self.side, self.depth]
        return inner + [axis for axis in self.batch if self.stride(axis)]


def bulk_operand(
    kernel: Kernel, value: Expression, side: int, depth: int, batch: tuple[int, ...]
) -> BulkOperand | None:
    """The operand, if it is a load that the engine can do, widened or not."""
    if isinstance(value, Compute) and value.op is Cast:
        (value,) = value.inputs
    if not isinstance(value, Load) or value.guard or not value.address.is_pure():
        return None
    found = BulkOperand(value, side, depth, batch)
    if not value.address.axes() <= {side, depth, *batch}:
        return None
    if 1 not in (found.stride(side), found.stride(depth)):
        return None
    if value.dtype.itemsize != 2 and not found.is_deep:
        # The matrix unit turns around 16-bit operands only.
        return None
    _, *outer = (found.stride(axis) for axis in found.axes_in_order())
    unit = ALIGNMENT_BYTES // value.dtype.itemsize
    distances = [value.address.constant, *outer]
    is_aligned = all(step % unit == 0 for step in distances)
    if not is_aligned or min(outer) < 1 or len(outer) >= MOST_DIMENSIONS:
        return None
    return found
