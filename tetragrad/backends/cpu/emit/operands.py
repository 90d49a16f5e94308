"""Where the operands of a product lie, and how they are fetched ahead."""

from __future__ import annotations

from tetragrad.backends.cpu.emit.expressions import Expressions
from tetragrad.backends.cpu.emit.memory import Storage
from tetragrad.backends.cpu.emit.vector import scalar_type
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine
from tetragrad.tile.ir import Fetch, Tile
from tetragrad.tile.layout import CACHE_LINE_BYTES


@frozen
class ProductOperand:
    """An operand in memory: elements or groups from step to step, and side to side."""

    storage: Storage
    by_step: int
    by_side: int

    @property
    def element_type(self) -> str:
        """LLVM's type of an element or group."""
        return scalar_type(self.storage.element)

    def form(
        self, offset: tuple[Affine, Affine], depth: Affine, side: Affine
    ) -> Affine:
        """The place of [depth, side] of a region."""
        step = (offset[0] + depth).scale(self.by_step)
        return step + (offset[1] + side).scale(self.by_side)


def operand_of(expressions: Expressions, tile: Tile, group: int) -> ProductOperand:
    """An operand's memory, by elements or by groups of them."""
    storage = expressions.tiles[tile.name]
    by_step, by_side = tile.layout.strides[:2]
    if group > 1:
        assert group * tile.dtype.itemsize == dtypes.int32.itemsize
        storage = Storage(storage.base, dtypes.int32)
    return ProductOperand(storage, by_step // group, by_side // group)


def emit_fetch(expressions: Expressions, fetch: Fetch) -> None:
    """Write one Fetch statement: every line of memory is asked for once."""
    if isinstance(fetch.source, int):
        storage = expressions.slots[fetch.source]
    else:
        storage = expressions.tiles[fetch.source.name]
    expressions.evaluate(expressions.prepare([], [fetch.address]))
    first = expressions.memory.pointer(storage, fetch.address)
    line = CACHE_LINE_BYTES // storage.element.itemsize
    for offset in range(0, fetch.count, line):
        expressions.memory.fetch(storage, first, offset)
