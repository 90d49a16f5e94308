"""Squares turned in registers: maps read along one axis and written along another.

    tile[i, j] = source[j, i]

As many vectors as a vector has lanes are loaded, interleaved pair by pair, and stored.
After one round, vector 2n holds elements of the first halves of vectors n and n + half
in turn; after log2(lanes) rounds each vector holds one column.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tetragrad.backends.cpu.emit_expressions import Expressions, tile_form
from tetragrad.backends.cpu.emit_memory import Storage
from tetragrad.backends.cpu.vector import Builder, Value, lanes_for, memory_dtype
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Load
from tetragrad.tile.ir import Map, Space, TileLoad


@dataclass(frozen=True)
class _Side:
    """One side of a map: its memory, and elements from step to step of both axes."""

    storage: Storage
    corner: str
    steps: tuple[int, int]

    def distance(self, point: tuple[int, int]) -> int:
        """Elements from the first point to another one."""
        return self.steps[0] * point[0] + self.steps[1] * point[1]


class Turns:
    """Writes maps that turn squares."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self.builder = expressions.builder
        self.memory = expressions.memory

    def write(self, statement: Map) -> bool:
        """Write the map, if it turns squares; whether it does."""
        source, form = self._source(statement)
        target = tile_form(statement.tile, statement.indices)
        lanes = lanes_for([statement.tile.dtype], self.expressions.vector_bytes)
        if source is None or not _turns(statement, form, target, lanes):
            return False
        to_storage = self.expressions.tiles[statement.tile.name]
        rows = self._side(statement, source, form)
        columns = self._side(statement, to_storage, target)
        for square in _squares(statement, lanes):
            self._turn(rows, columns, square, lanes)
        return True

    def _source(self, statement: Map) -> tuple[Storage | None, Affine]:
        """What a map without a condition reads as it is, if it does nothing else."""
        value, tile = statement.value, statement.tile
        is_memory = memory_dtype(tile.dtype) is tile.dtype
        is_plain = not statement.guard and tile.space is not Space.REGISTER
        if is_memory and is_plain and value.dtype is tile.dtype:
            if isinstance(value, Load) and not value.guard:
                return self.expressions.slots[value.slot], value.address
            if isinstance(value, TileLoad) and value.tile.space is not Space.REGISTER:
                storage = self.expressions.tiles[value.tile.name]
                return storage, tile_form(value.tile, value.indices)
        return None, Affine(0)

    def _side(self, statement: Map, storage: Storage, form: Affine) -> _Side:
        first, second = (axis for axis, _ in statement.axes)
        with self.expressions.scopes.unrolled([first, second], [0, 0]):
            corner = self.memory.pointer(storage, form)
        steps = (form.coefficient(first), form.coefficient(second))
        return _Side(storage, corner, steps)

    def _turn(
        self, rows: _Side, columns: _Side, square: tuple[int, int], lanes: int
    ) -> None:
        """One square of vectors along the second axis, stored along the first."""
        first, second = square
        vectors = [
            self.memory.load_at(
                rows.storage,
                rows.corner,
                rows.distance((first + lane, second)),
                lanes,
            )
            for lane in range(lanes)
        ]
        for lane, vector in enumerate(turned(self.builder, vectors)):
            place = columns.distance((first, second + lane))
            self.memory.store_at(columns.storage, columns.corner, vector, place)


def turned(builder: Builder, vectors: list[Value]) -> list[Value]:
    """The columns of a square of vectors."""
    lanes = len(vectors)
    half = lanes // 2
    pairs = [(lane, lane + lanes) for lane in range(lanes)]
    low = list(itertools.chain.from_iterable(pairs[:half]))
    high = list(itertools.chain.from_iterable(pairs[half:]))
    for _ in range(lanes.bit_length() - 1):
        vectors = [
            builder.shuffle(vectors[number], vectors[number + half], places)
            for number in range(half)
            for places in (low, high)
        ]
    return vectors


def _turns(statement: Map, source: Affine, target: Affine, lanes: int) -> bool:
    """Whether vectors lie along the second axis, and belong along the first."""
    if len(statement.axes) != 2 or not (source.is_pure() and target.is_pure()):
        return False
    (first, height), (second, width) = statement.axes
    return (
        lanes > 1
        and height % lanes == 0
        and width % lanes == 0
        and source.coefficient(second) == 1
        and target.coefficient(first) == 1
        and source.coefficient(first) != 1
    )


def _squares(statement: Map, lanes: int) -> Iterator[tuple[int, int]]:
    """The first point of each square."""
    (_, height), (_, width) = statement.axes
    return itertools.product(range(0, height, lanes), range(0, width, lanes))
