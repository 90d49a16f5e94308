"""Squares turned in registers: maps read along one axis and written along another.

    tile[i, j] = source[j, i]

As many vectors as a vector has lanes are loaded, interleaved pair by pair, and stored.
After one round, vector 2n holds elements of the first halves of vectors n and n + half
in turn; after log2(lanes) rounds each vector holds one column. Fewer vectors, after
fewer rounds, hold a few columns each, which is how rows are woven together:

    tile[4*i + j] = source[j, i]      j < 4

Groups of narrow elements that stay together move as one wider element.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tetragrad.backends.cpu.emit.expressions import Expressions, Recipe, tile_form
from tetragrad.backends.cpu.emit.memory import Storage
from tetragrad.backends.cpu.emit.scopes import VectorAxis
from tetragrad.backends.cpu.emit.vector import Builder, Value, register_type, type_of
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen, replace
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.tile.ir import Map, Space, Tile, TileLoad
from tetragrad.tile.plans.rewrite import Rewriter

#: What groups of elements move as, by their size in bytes.
_WIDER = {2: dtypes.uint16, 4: dtypes.uint32, 8: dtypes.uint64}


@frozen
class _Turn:
    """A map that turns squares: values along ``second``, places along ``first``.

    ``group`` elements along the last axis, ``lane``, move as one; where there are
    groups, that axis takes in the second one. ``lanes`` groups are a vector, and
    ``height`` vectors are turned together. Where they are woven, whole columns lie next
    to each other.
    """

    statement: Map
    value: Expression
    target: Affine
    first: int
    second: int
    lane: int
    group: int
    lanes: int
    height: int
    is_woven: bool

    @property
    def tile(self) -> Tile:
        return self.statement.tile


class Turns:
    """Writes maps that turn squares."""

    def __init__(self, expressions: Expressions) -> None:
        self.expressions = expressions
        self.builder = expressions.builder
        self.scopes = expressions.scopes
        self.memory = expressions.memory

    def write(self, statement: Map) -> bool:
        """Write the map, if it turns squares; whether it does."""
        lanes = self.expressions.lanes_for([statement.value])
        turn = _recognised(statement, lanes)
        if turn is None:
            return False
        down, across = self.scopes.fresh_axis(), self.scopes.fresh_axis()
        (_, height), (_, width), *_ = statement.axes
        with (
            self.scopes.loop(down, height // turn.height),
            self.scopes.loop(across, width // turn.lanes),
        ):
            self._square(_moved(turn, down, across))
        return True

    def _square(self, turn: _Turn) -> None:
        """Write one square."""
        storage = self.expressions.tiles[turn.tile.name]
        axes = [axis for axis, _ in turn.statement.axes]
        with self.scopes.unrolled(axes, [0] * len(axes)):
            corner = self.memory.pointer(storage, turn.target)
        with self.scopes.statement():
            recipe = self.expressions.prepare([turn.value], ())
            vectors = list(self._vectors(turn, recipe))
            self._store(turn, storage, corner, vectors)

    def _vectors(self, turn: _Turn, recipe: Recipe) -> Iterator[Value]:
        """The values of a square, one vector of groups for each of its rows."""
        storage = self.expressions.tiles[turn.tile.name]
        vector = VectorAxis(turn.lane, 0, turn.lanes * turn.group)
        for row in range(turn.height):
            with (
                self.scopes.unrolled([turn.first], [row]),
                self.scopes.lanes_along(vector),
            ):
                value = self.expressions.evaluate(recipe)[turn.value]
                value = self.builder.broadcast(value, vector.lanes)
            yield self._grouped(turn, self.memory.to_storage(storage, value))

    def _grouped(self, turn: _Turn, value: Value) -> Value:
        """Elements that stay together as one."""
        if turn.group == 1:
            return value
        wide = _WIDER[turn.group * turn.tile.dtype.itemsize]
        result = register_type(wide, turn.lanes)
        text = self.builder.assign(f"bitcast {type_of(value)} {value.text} to {result}")
        return Value(text, wide, turn.lanes)

    def _store(
        self,
        turn: _Turn,
        storage: Storage,
        corner: str,
        vectors: list[Value],
    ) -> None:
        """Turn a square and store its columns."""
        storage = Storage(
            storage.base, vectors[0].dtype, False, "", storage.store_access
        )
        by_second = turn.target.coefficient(turn.second) // turn.group
        step = turn.lanes if turn.is_woven else by_second
        for number, vector in enumerate(turned(self.builder, vectors)):
            self.memory.store_at(storage, corner, vector, number * step)


def turned(builder: Builder, vectors: list[Value]) -> list[Value]:
    """The columns of a square of vectors, several in each if there are few of them."""
    lanes, half = vectors[0].lanes, len(vectors) // 2
    pairs = [(lane, lane + lanes) for lane in range(lanes)]
    low = list(itertools.chain.from_iterable(pairs[: lanes // 2]))
    high = list(itertools.chain.from_iterable(pairs[lanes // 2 :]))
    for _ in range(len(vectors).bit_length() - 1):
        vectors = [
            builder.shuffle(vectors[number], vectors[number + half], places)
            for number in range(half)
            for places in (low, high)
        ]
    return vectors


def _recognised(statement: Map, most_lanes: int) -> _Turn | None:
    """How a map turns squares, if it does."""
    tile, value = statement.tile, statement.value
    target = tile_form(tile, statement.indices)
    if len(statement.axes) not in (2, 3) or tile.space is Space.REGISTER:
        return None
    if statement.guard or not target.is_pure() or value.dtype is not tile.dtype:
        return None
    if any(isinstance(e, TileLoad) and e.tile.name == tile.name for e in walk(value)):
        return None
    (first, height), (second, width), *last = statement.axes
    lane, group = last[0] if last else (second, 1)
    if group > 1 and group * tile.dtype.itemsize not in _WIDER:
        return None
    # The largest power of two that divides the width, as far as registers go.
    lanes = min(most_lanes // group, width & -width)
    if lanes < 2:
        return None
    moving = [form for form in _sources(value) if not _stays(form, second, lane)]
    runs = [_runs_along(form, first, second, lane, group) for form in moving]
    if not runs or not all(runs):
        return None
    if target.coefficient(first) != group or (last and target.coefficient(lane) != 1):
        return None
    is_woven = height & (height - 1) == 0 and (
        target.coefficient(second) == height * group
    )
    if not is_woven and height % lanes:
        return None
    rows = height if is_woven else lanes
    if last:
        value = Rewriter({second: Affine(0)}, {})(value)
    axes = (first, second, lane)
    return _Turn(statement, value, target, *axes, group, lanes, rows, is_woven)


def _runs_along(form: Affine, first: int, second: int, lane: int, group: int) -> bool:
    """Whether memory runs along the second axis, a group at a time."""
    return (
        form.moves_evenly((first, second, lane))
        and form.coefficient(lane) == 1
        and form.coefficient(second) == group
        and form.coefficient(first) != 1
    )


def _stays(form: Affine, second: int, lane: int) -> bool:
    """Whether an address is that of one element for a whole vector."""
    return form.moves_evenly((second, lane)) and not (
        form.coefficient(second) or form.coefficient(lane)
    )


def _sources(value: Expression) -> list[Affine]:
    """The addresses of what a value reads."""
    found = []
    for entry in walk(value):
        if isinstance(entry, Load):
            found.append(entry.address)
        elif isinstance(entry, TileLoad) and entry.tile.space is not Space.REGISTER:
            found.append(tile_form(entry.tile, entry.indices))
    return found


def _moved(turn: _Turn, down: int, across: int) -> _Turn:
    """The square that is so many squares down and across from the first one."""
    lanes = turn.lanes * turn.group
    rows = axis_form(down).scale(turn.height) + axis_form(turn.first)
    columns = axis_form(across).scale(turn.lanes) + axis_form(turn.second)
    vector = axis_form(across).scale(lanes) + axis_form(turn.lane)
    value = Rewriter({turn.first: rows, turn.lane: vector}, {})(turn.value)
    target = turn.target.substitute({turn.first: rows, turn.second: columns})
    return replace(turn, value=value, target=target)
