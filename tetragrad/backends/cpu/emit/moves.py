"""Tiles of registers filled and emptied: the plainest maps, and the most frequent.

A micro-tile is cleared or loaded before each product and written back after it. All
its vectors are at constants from one pointer on each side, which takes a fraction of
the work that general expressions do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

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
        for point, lanes in self._vectors(statement):
            moved = self.memory.load_at(
                from_storage,
                source_corner,
                _distance(source, statement.axes, point),
                lanes,
            )
            distance = _distance(to, statement.axes, point)
            self.memory.store_at(to_storage, corner, moved, distance)
        return True

    def _fill(self, statement: Map, to: Affine, value: Literal) -> bool:
        if not _is_plain(to, statement.axes):
            return False
        storage = self.expressions.tiles[statement.tile.name]
        corner = self._corner(storage, to, statement.axes)
        scalar = constant(value.value, value.dtype)
        for point, lanes in self._vectors(statement):
            vector = self.builder.broadcast(scalar, lanes)
            distance = _distance(to, statement.axes, point)
            self.memory.store_at(storage, corner, vector, distance)
        return True

    def _corner(self, storage: Storage, form: Affine, axes: Sequence[Extent]) -> str:
        """Where a tile's element is at the first point of all axes."""
        names = [axis for axis, _ in axes]
        with self.scopes.unrolled(names, [0] * len(names)):
            return self.memory.pointer(storage, form)

    def _vectors(self, statement: Map) -> Iterator[tuple[tuple[int, ...], int]]:
        """The first point of each vector, and its lanes."""
        *outer, (_, extent) = statement.axes
        dtypes = [statement.tile.dtype]
        lanes = lanes_for(dtypes, self.expressions.vector_bytes)
        if _registers(statement) <= self.expressions.accumulators:
            lanes *= REGISTERS_PER_VECTOR
        spans = list(chunks(0, extent, lanes))
        for point in itertools.product(*(range(size) for _, size in outer)):
            for start, width in spans:
                yield (*point, start), width


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


def _distance(form: Affine, axes: Sequence[Extent], point: Sequence[int]) -> int:
    """Elements from the first point to another one."""
    return sum(
        form.coefficient(axis) * place
        for (axis, _), place in zip(axes, point, strict=True)
    )
