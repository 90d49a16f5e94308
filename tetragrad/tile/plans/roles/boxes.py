"""Boxes of a pass over rows: channels for them, and the copies that fill them."""

from __future__ import annotations

from collections.abc import Mapping

from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.tile.ir import (
    Acquire,
    Channel,
    Commit,
    Layout,
    Space,
    Statement,
    Tile,
)
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.roles.bulk import BulkOperand
from tetragrad.tile.plans.roles.cells import Cells
from tetragrad.tile.plans.scope import Builder

#: What the sides of a product's results are multiples of, and its depth.
COLUMN_STEP = 8
DEPTH_STEP = 16


def rounded(size: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-size // step) * step


def turned(builder: Builder, tile: Tile) -> Tile:
    """The same box with its sides exchanged: depth for one product, side for another.

    Panels lie along what is contiguous in memory, so nothing moves.
    """
    shape, layout = tile.shape[::-1], tile.layout
    layout = Layout(layout.strides[::-1], layout.swizzle)
    return builder.tile("turned", shape, tile.dtype, Space.SHARED, layout)


@frozen
class Boxes:
    """Copies of so many positions of some axes, and of all of the others."""

    builder: Builder
    chunks: Mapping[int, int]

    def channel(self, name: str, operand: BulkOperand, stages: int) -> Channel:
        """A channel for the boxes of an operand."""
        depth, side = self.cells(operand)
        tile = operand.tile(self.builder, name, depth.extent, side.extent)
        return Channel(tile.name, (tile,), stages)

    def cells(self, operand: BulkOperand) -> tuple[Cells, Cells]:
        """What is brought at once: a block of rows or keys, with all features."""
        sizes = self.builder.kernel.axes

        def cells(axis: int) -> Cells:
            chunk = self.chunks.get(axis)
            if chunk is None:
                chunk = rounded(sizes[axis], panel_of(operand.dtype))
            return Cells((axis,), (sizes[axis],), (chunk,))

        (depth,), (side,) = operand.depth, operand.side
        return cells(depth), cells(side)

    def copy(
        self, channel: Channel, operand: BulkOperand, starts: Mapping[int, Affine]
    ) -> list[Statement]:
        """Fill one slot of a channel."""
        (tile,) = channel.tiles
        zeros = dict.fromkeys((*operand.depth, *operand.side), ZERO)
        places = {**zeros, **starts}
        copy = operand.copy(self.builder, tile, channel, places, self.cells(operand), 0)
        return [Acquire(channel), copy, Commit(channel)]
