"""Operands that the matrix unit reads from registers, made of narrow ones in a slot.

A thread holds pairs of neighbours along the depth. It reads them down a column of rows
that are swizzled for this, so that the threads of a warp find them in different banks.
"""

from __future__ import annotations

from tetragrad.backends.cuda.emit import small_integers
from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.forms import Lanes, Linear
from tetragrad.backends.cuda.emit.ptx import Value
from tetragrad.backends.cuda.emit.spread import Threads
from tetragrad.backends.cuda.emit.values import Points, Values
from tetragrad.core import dtypes
from tetragrad.core.errors import UnsupportedError
from tetragrad.kernel.expression import Expression, walk
from tetragrad.tile.ir import Map, TileLoad
from tetragrad.tile.layout import CHUNK_BYTES, PANEL_BYTES

Key = tuple[int, ...]


def held_words(values: Values, threads: Threads, statement: Map) -> dict[Key, str]:
    """The registers with the pairs of an operand that this thread holds."""
    assert not statement.guard, "every element of an operand counts"
    for axis, extent in statement.axes:
        values.extents[axis] = extent
    narrow = swizzled_loads(statement.value)
    words = {}
    for run in threads.on_fragments(statement.axes):
        point = values.at(run)
        for entry in narrow:
            point.give(entry, swizzled_pairs(point, entry))
        words[point.key(statement.indices, 0)] = point.word(statement.value)
    return words


def swizzled_loads(value: Expression) -> list[TileLoad]:
    """What a value is made of that lies in swizzled tiles."""
    return [
        entry
        for entry in walk(value)
        if isinstance(entry, TileLoad) and entry.tile.layout.swizzle
    ]


def swizzled_pairs(points: Points, load: TileLoad) -> Lanes:
    """Neighbours of a swizzled tile, two for each run."""
    lanes: list[Value] = []
    for element in points.at_each(points.count):
        lanes += _swizzled_pair(points, load, element)
    return tuple(lanes)


def _swizzled_pair(point: Points, load: TileLoad, element: int) -> Lanes:
    """Two neighbours of a swizzled tile."""
    tile, builder = load.tile, point.builder
    storage = point.values.storages[tile.name]
    place, offset = _swizzled(point, load, storage.base, element)
    if tile.dtype.itemsize == 2:
        pair = Storage(place, tile.dtype, "shared")
        return point.values.memory.load(pair, Linear(None, offset // 2), 2, None, True)
    if tile.dtype.itemsize != 1 or tile.dtype.is_floating_point:
        raise UnsupportedError(f"{tile.dtype} operands that are held on CUDA")
    word = builder.register("b32")
    builder.line(f"ld.shared.u16 {word}, [{place}+{offset}]")
    if not tile.dtype.is_bool:
        return tuple(small_integers.bytes_of_word(builder, word, tile.dtype, 2))
    numbers = small_integers.bytes_of_word(builder, word, dtypes.uint8, 2)
    return tuple(point.ops.cast(number, dtypes.bool_) for number in numbers)


def _swizzled(
    point: Points, load: TileLoad, base: str, element: int
) -> tuple[str, int]:
    """The address of a pair: a register, and bytes beyond it.

    Of the rows that a thread has results of, each is eight after the one before, so
    that chunks are moved alike in all of them.
    """
    tile, builder = load.tile, point.builder
    nbytes, itemsize = tile.layout.swizzle, tile.dtype.itemsize
    step, row = (point.linear(form, element) for form in load.indices)
    assert row.base is not None and step.base is not None, "a thread's own places"
    panel, column = divmod(step.offset * itemsize, nbytes)
    inside = column % CHUNK_BYTES
    rows = tile.shape[1 - tile.layout.strides.index(1)]
    first = builder.assign("b32", "mul.lo.s32", f"{row.base.text}, {nbytes}")
    turned = builder.assign("b32", "shr.u32", f"{first}, 3")
    turned = builder.assign("b32", "and.b32", f"{turned}, {nbytes - CHUNK_BYTES}")
    moved = builder.assign("b32", "xor.b32", f"{turned}, {column - inside}")
    along = builder.assign("b32", "mul.lo.s32", f"{step.base.text}, {itemsize}")
    near = builder.assign("b32", "add.s32", f"{first}, {along}")
    near = builder.assign("b32", "add.s32", f"{near}, {moved}")
    assert row.offset * nbytes % (8 * PANEL_BYTES) in (0, 8 * nbytes), "rows of eight"
    below = (panel * rows + row.offset) * nbytes + inside
    return builder.assign("b32", "add.s32", f"{base}, {near}"), below
