"""Tiles of registers filled and emptied: the plainest maps, and the most frequent.

A micro-tile is cleared or loaded before each product and written back after it. All
its vectors are at constants from one pointer on each side, which takes a fraction of
the work that general expressions do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from operator import mul

from tetragrad.backends.cpu.emit.expressions import Expressions, tile_form
from tetragrad.backends.cpu.emit.memory import Storage
from tetragrad.backends.cpu.emit.scopes import chunks
from tetragrad.backends.cpu.emit.vector import REGISTERS_PER_VECTOR, constant, lanes_for
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Literal
from tetragrad.tile.ir import Extent, Map, Space, Tile, TileLoad


class Moves:
    """Writes maps that move vectors between tiles as they are."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self.builder = expressions.builder
        self.scopes = expressions.scopes
        self.memory = expressions.memory

    def write(self, statement: Map) -> bool:
        """Write the map, if it is one of these; whether it was."""
        value = statement.value
        if statement.guard or not _moves_registers(statement.tile, value):
            return False
        to = tile_form(statement.tile, statement.indices)
        if isinstance(value, Literal):
            return self._fill(statement, to, value)
        assert isinstance(value, TileLoad)
        source = tile_form(value.tile, value.indices)
        forms = (source, to)
        if not all(_is_plain(form, statement.axes) for form in forms):
            return False
        from_storage = self.expressions.tiles[value.tile.name]
        to_storage = self.expressions.tiles[statement.tile.name]
        source_corner = self._corner(from_storage, source, statement.axes)
        corner = self._corner(to_storage, to, statement.axes)
        load, store = self.memory.load_at, self.memory.store_at
        for (begin, end), lanes in self._vectors(statement, forms):
            moved = load(from_storage, source_corner, begin, lanes)
            store(to_storage, corner, moved, end)
        return True

    def _fill(self, statement: Map, to: Affine, value: Literal) -> bool:
        if not _is_plain(to, statement.axes):
            return False
        storage = self.expressions.tiles[statement.tile.name]
        corner = self._corner(storage, to, statement.axes)
        scalar = constant(value.value, value.dtype)
        for (distance,), lanes in self._vectors(statement, (to,)):
            vector = self.builder.broadcast(scalar, lanes)
            self.memory.store_at(storage, corner, vector, distance)
        return True

    def _corner(self, storage: Storage, form: Affine, axes: Sequence[Extent]) -> str:
        """Where a tile's element is at the first point of all axes."""
        names = [axis for axis, _ in axes]
        with self.scopes.unrolled(names, [0] * len(names)):
            return self.memory.pointer(storage, form)

    def _vectors(
        self, statement: Map, forms: Sequence[Affine]
    ) -> Iterator[tuple[list[int], int]]:
        """How far each vector is from the corners of all forms, and its lanes."""
        *outer, (_, extent) = statement.axes
        dtypes = [statement.tile.dtype]
        lanes = lanes_for(dtypes, self.expressions.vector_bytes)
        if _registers(statement) <= self.expressions.accumulators:
            lanes *= REGISTERS_PER_VECTOR
        spans = list(chunks(0, extent, lanes))
        steps = [[form.coefficient(axis) for axis, _ in outer] for form in forms]
        for point in itertools.product(*[range(size) for _, size in outer]):
            rows = [sum(map(mul, point, row)) for row in steps]
            for start, width in spans:
                yield [row + start for row in rows], width


def _registers(statement: Map) -> set[str]:
    """The tiles in registers that a map reads or writes."""
    tiles = [statement.tile]
    if isinstance(statement.value, TileLoad):
        tiles.append(statement.value.tile)
    return {tile.name for tile in tiles if tile.space is Space.REGISTER}


def _moves_registers(tile: Tile, value: Expression) -> bool:
    """Whether one side is a tile of registers, and both have one dtype."""
    if isinstance(value, Literal):
        return tile.space is Space.REGISTER and value.dtype is tile.dtype
    if not isinstance(value, TileLoad) or value.tile.dtype is not tile.dtype:
        return False
    spaces = (tile.space, value.tile.space)
    return Space.REGISTER in spaces and value.tile.name != tile.name


def _is_plain(form: Affine, axes: Sequence[Extent]) -> bool:
    """Whether vectors along the last axis are contiguous."""
    return bool(axes) and form.is_pure() and form.coefficient(axes[-1][0]) == 1
