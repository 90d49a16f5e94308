"""Operands that threads compute into a channel's slot, as the matrix unit reads them.

Threads write through the ordinary path, the unit reads through another one: a fence in
every thread, then a barrier among them, and one arrival says that the slot is full.
PTX ISA, "Async proxy".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tetragrad.backends.cuda.emit.access import Storage
from tetragrad.backends.cuda.emit.forms import Lanes, Linear
from tetragrad.backends.cuda.emit.matrix_unit.holding import swizzled_loads
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.emit.spread import Threads
from tetragrad.backends.cuda.emit.values import Points, Values
from tetragrad.core.errors import UnsupportedError
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Guard, Load, Select, walk
from tetragrad.tile.ir import (
    Acquire,
    Map,
    Role,
    Space,
    Statement,
    Tile,
    TileLoad,
    every_statement,
)
from tetragrad.tile.layout import CHUNK_BYTES, PANEL_BYTES, panel_of

#: Elements of a thread that are computed before the first of them is stored.
ELEMENTS_TOGETHER = 64
#: Fewer bytes are not worth it to be loaded at once; neighbours are paired then.
VECTOR_BYTES = 8
PAIR = 2
#: Eight rows of a panel, in which chunks are moved in the same way.
_PATTERN_BYTES = 8 * PANEL_BYTES


def filled_tiles(body: Sequence[Statement]) -> dict[str, Tile]:
    """The tiles of channels that statements compute, by name."""
    held = {
        tile.name: tile
        for statement in every_statement(body)
        if isinstance(statement, Acquire)
        for tile in statement.channel.tiles
    }
    return {
        statement.tile.name: statement.tile
        for statement in every_statement(body)
        if isinstance(statement, Map) and statement.tile.name in held
    }


def fills(role: Role) -> bool:
    """Whether a role computes what others multiply."""
    return bool(filled_tiles(role.body))


def fill(
    values: Values, threads: Threads, statements: Sequence[Map], places: Sequence[str]
) -> None:
    """Compute tiles that begin at ``places``: some runs first, then their stores.

    So many loads of a thread are under way before it waits for the first one.
    """
    computed: list[tuple[Points, Map, str, Lanes]] = []
    elements = 0
    for statement, place in zip(statements, places, strict=True):
        for axis, extent in statement.axes:
            values.extents[axis] = extent
        width = width_of(values, statement, threads.width)
        some = replace(threads, width=width)
        guard = guard_of_scratch(statement.value)
        for sweep in range(some.flat_runs(statement.axes)):
            if elements + width > ELEMENTS_TOGETHER:
                _write_all(computed)
                elements = 0
            point = Points(values, (some.flat_run(statement.axes, sweep),), guard)
            for entry in swizzled_loads(statement.value):
                point.give(entry, _read(point, entry))
            lanes = point.evaluate(statement.value)
            computed.append((point, statement, place, lanes))
            elements += width
    _write_all(computed)


def _write_all(computed: list[tuple[Points, Map, str, Lanes]]) -> None:
    """Store what was computed, and forget it."""
    for entry in computed:
        _write(*entry)
    computed.clear()


def width_of(values: Values, statement: Map, most: int) -> int:
    """Neighbours that a thread takes: pairs where no more are loaded together.

    Then the threads of a warp load from one line, whatever begins where.
    """
    lane = statement.axes[-1][0]
    width = most
    for entry in walk(statement.value):
        if isinstance(entry, Load):
            address, itemsize = entry.address, entry.dtype.itemsize
        elif isinstance(entry, TileLoad) and entry.tile.space is Space.GLOBAL:
            address, itemsize = entry.indices[0], entry.tile.dtype.itemsize
        else:
            continue
        others = [factor for atom, factor in address.terms if atom != lane]
        together = math.gcd(most, address.constant, *others)
        if address.coefficient(lane) == 1 and together * itemsize < VECTOR_BYTES:
            width = min(width, PAIR)
    return width


def guard_of_scratch(value: Expression) -> Guard:
    """What must hold where tiles in memory are read: their loads have no guards."""
    reads = any(
        isinstance(entry, TileLoad) and entry.tile.space is Space.GLOBAL
        for entry in walk(value)
    )
    guard: Guard = ()
    while reads and isinstance(value, Select):
        guard, value = (*guard, *value.guard), value.inside
    if any(isinstance(entry, Select) for entry in walk(value)) and reads:
        raise UnsupportedError("a stored operand that is chosen after it is computed")
    return guard


def _read(point: Points, load: TileLoad) -> Lanes:
    """Load a run of neighbours from where the swizzle has them."""
    storage = point.values.storages[load.tile.name]
    address, offset = _swizzled(point, load.tile, load.indices, storage.base)
    source = Storage(address, load.tile.dtype, "shared")
    first = Linear(None, offset // load.tile.dtype.itemsize)
    return point.values.memory.load(source, first, point.run.width, None, True)


def _write(point: Points, statement: Map, place: str, lanes: Lanes) -> None:
    """Store a run of neighbours where the swizzle has them."""
    tile, width = statement.tile, point.run.width
    nbytes = width * tile.dtype.itemsize
    assert nbytes <= CHUNK_BYTES, "a chunk at most"
    address, offset = _swizzled(point, tile, statement.indices, place)
    storage = Storage(address, tile.dtype, "shared")
    whole = tuple(lanes[element % len(lanes)] for element in range(width))
    has_point = point.mask(())
    memory = point.values.memory
    together = memory.widest(storage, width)
    for first in range(0, width, together):
        target = Linear(None, offset // tile.dtype.itemsize + first)
        memory.store(storage, target, whole[first : first + together], has_point)


def _swizzled(
    point: Points, tile: Tile, indices: Sequence[Affine], place: str
) -> tuple[str, int]:
    """The address of a run's first element: a register, and bytes beyond it.

    In each row of a panel, chunk c of row r is at chunk c XOR r.
    """
    builder, itemsize = point.builder, tile.dtype.itemsize
    contiguous = tile.layout.strides.index(1)
    rows = tile.shape[1 - contiguous]
    along, row = (
        point.linear(indices[contiguous]),
        point.linear(indices[1 - contiguous]),
    )
    panels = tile.shape[contiguous] // panel_of(tile.dtype)
    column, first = _times(builder, along, itemsize)
    down, below = _times(builder, row, PANEL_BYTES)
    if panels > 1:
        # The number of the panel is what lies above the bytes of one row.
        column = _sum(builder, column, first)
        panel = builder.assign("b32", "shr.u32", f"{column}, 7")
        column = builder.assign("b32", "and.b32", f"{column}, {PANEL_BYTES - 1}")
        far = f"{panel}, {rows * PANEL_BYTES}, {column}"
        column, first = builder.assign("b32", "mad.lo.u32", far), 0
    if below % _PATTERN_BYTES:
        down, below = _sum(builder, down, below), 0
    inside = builder.assign("b32", "add.s32", f"{_sum(builder, column, first)}, {down}")
    turned = builder.assign("b32", "shr.u32", f"{down}, 3")
    turned = builder.assign("b32", "and.b32", f"{turned}, {PANEL_BYTES - CHUNK_BYTES}")
    inside = builder.assign("b32", "xor.b32", f"{inside}, {turned}")
    return builder.assign("b32", "add.s32", f"{place}, {inside}"), below


def _times(builder: Builder, linear: Linear, factor: int) -> tuple[str, int]:
    """A position times a constant: a register, and what is to be added."""
    if linear.base is None:
        return "0", linear.offset * factor
    text = f"{linear.base.text}, {factor}"
    return builder.assign("b32", "mul.lo.s32", text), linear.offset * factor


def _sum(builder: Builder, register: str, amount: int) -> str:
    if not amount:
        return register
    return builder.assign("b32", "add.s32", f"{register}, {amount}")


def hand_on(builder: Builder, full: str, group: str, threads: int, index: str) -> None:
    """All threads of a group have written: their slot is full."""
    builder.line("fence.proxy.async.shared::cta")
    builder.line(f"bar.sync {group}, {threads}")
    speaks = builder.assign("pred", "setp.eq.u32", f"{index}, 0")
    builder.line(f"@{speaks} mbarrier.arrive.shared::cta.b64 _, [{full}]")
